"""The distributions of TensorFlow Probability on JAX."""

from __future__ import annotations

from typing import Any

import jax

from svijax.distributions import constraints
from svijax.transforms import Constraint

from ._families import support_by_name
from ._foreign import ForeignDistribution
from ._unknown import unknown_support


class TFPDistribution(ForeignDistribution):
    """A distribution of ``tensorflow_probability.substrates.jax``."""

    def _draw(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return self.object.sample(sample_shape, seed=key)

    def _translated_support(self) -> Constraint:
        support = _support(self.object)
        return unknown_support(self.object) if support is None else support

    def _is_pathwise(self) -> bool:
        return "FULLY" in repr(self.object.reparameterization_type)


def _support(obj: Any) -> Constraint | None:
    if type(obj).__name__ in ("Independent", "Sample"):
        return _support(obj.distribution)
    bijector = getattr(obj, "experimental_default_event_space_bijector", lambda: None)()
    image = None if bijector is None or isinstance(bijector, str) else _image(bijector, constraints.real)
    if image is not None:
        return image
    if type(obj).__name__ == "MixtureSameFamily":
        return _support(obj.components_distribution)
    return support_by_name(obj)


def _image(bijector: Any, of: Constraint) -> Constraint | None:
    """The set onto which a bijector takes ``of``; None where that is not known."""
    name = type(bijector).__name__
    if name == "Chain":
        image: Constraint | None = of
        for part in reversed(bijector.bijectors):
            image = None if image is None else _image(part, image)
        return image
    if name == "Identity":
        return of
    if of == constraints.real:
        return _image_of_reals(name, bijector)
    if of == constraints.positive and name == "Shift":
        return constraints.greater_than(bijector.shift)
    if name == "CholeskyOuterProduct":
        return {
            constraints.lower_cholesky: constraints.positive_definite,
            constraints.corr_cholesky: constraints.corr_matrix,
        }.get(of)
    return None


def _image_of_reals(name: str, bijector: Any) -> Constraint | None:
    if name == "Sigmoid":
        if bijector.low is None or bijector.high is None:
            return constraints.unit_interval
        return constraints.interval(bijector.low, bijector.high)
    if name == "Softplus" and getattr(bijector, "low", None) is not None:
        return constraints.greater_than(bijector.low)
    return {
        "Shift": constraints.real,
        "Scale": constraints.real,
        "Softplus": constraints.positive,
        "Exp": constraints.positive,
        "SoftmaxCentered": constraints.simplex,
        "IteratedSigmoidCentered": constraints.simplex,
        "Ascending": constraints.ordered_vector,
        "FillScaleTriL": constraints.lower_cholesky,
        "CorrelationCholesky": constraints.corr_cholesky,
    }.get(name)

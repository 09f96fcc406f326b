"""The supports of families by the names that they have in all libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from svijax.distributions import constraints
from svijax.transforms import Constraint


def _first(obj: Any, *names: str) -> Any:
    return next(getattr(obj, name) for name in names if hasattr(obj, name))


def _categories(obj: Any) -> int:
    if hasattr(obj, "num_categories"):
        return int(obj.num_categories)
    table = obj.logits if getattr(obj, "probs", None) is None else obj.probs
    return int(table.shape[-1])


def _inner(*names: str) -> Callable[[Any], Constraint | None]:
    return lambda obj: support_by_name(_first(obj, *names))


def _fixed(constraint: Constraint) -> Callable[[Any], Constraint]:
    return lambda obj: constraint


_SUPPORTS: dict[str, Callable[[Any], Constraint | None]] = {
    **dict.fromkeys(("Normal", "LogStddevNormal", "Laplace", "Logistic", "Gumbel"), _fixed(constraints.real)),
    **dict.fromkeys(
        (
            "MultivariateNormalDiag",
            "MultivariateNormalDiagPlusLowRank",
            "MultivariateNormalFromBijector",
            "MultivariateNormalFullCovariance",
            "MultivariateNormalTri",
        ),
        _fixed(constraints.real_vector),
    ),
    "Beta": _fixed(constraints.unit_interval),
    "Gamma": _fixed(constraints.positive),
    "Dirichlet": _fixed(constraints.simplex),
    "VonMises": _fixed(constraints.circular),
    "VonMisesFisher": _fixed(constraints.sphere),
    "Uniform": lambda obj: constraints.interval(obj.low, obj.high),
    "Bernoulli": _fixed(constraints.boolean),
    "ProbitBernoulli": _fixed(constraints.boolean),
    "Categorical": lambda obj: constraints.integer_interval(0, _categories(obj) - 1),
    "OneHotCategorical": _fixed(constraints.one_hot),
    **dict.fromkeys(
        ("Poisson", "Geometric", "NegativeBinomial", "Zipf", "PoissonLogNormalQuadratureCompound"),
        _fixed(constraints.nonnegative_integer),
    ),
    **dict.fromkeys(
        ("Binomial", "BetaBinomial"), lambda obj: constraints.integer_interval(0, obj.total_count)
    ),
    **dict.fromkeys(
        ("Multinomial", "DirichletMultinomial"), lambda obj: constraints.multinomial(obj.total_count)
    ),
    "Independent": _inner("distribution"),
    "Sample": _inner("distribution"),
    "MixtureSameFamily": _inner("components_distribution"),
}


def support_by_name(obj: Any) -> Constraint | None:
    """The support of one event or of its entries; None for a family that is not in the list."""
    rule = _SUPPORTS.get(type(obj).__name__)
    return None if rule is None else rule(obj)


_PATHWISE = frozenset(
    [
        "Normal",
        "LogStddevNormal",
        "Laplace",
        "Logistic",
        "Gumbel",
        "Uniform",
        "Beta",
        "Gamma",
        "Dirichlet",
        "MultivariateNormalDiag",
        "MultivariateNormalDiagPlusLowRank",
        "MultivariateNormalFromBijector",
        "MultivariateNormalFullCovariance",
        "MultivariateNormalTri",
    ]
)


def pathwise_by_name(obj: Any) -> bool:
    """Whether the draws of a family of Distrax or Distreqx have pathwise derivatives in all parameters."""
    name = type(obj).__name__
    if name in ("Independent", "Transformed"):
        return pathwise_by_name(obj.distribution)
    return name in _PATHWISE

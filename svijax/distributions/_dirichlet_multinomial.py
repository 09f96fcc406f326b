"""Multinomial counts with Dirichlet-distributed probabilities."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.transforms import Constraint, constraints

from ._counts import log_polya_class, log_polya_total, products_apart, wide
from ._distribution import Distribution
from ._gamma import log_gamma_draw
from ._logits import cumulative
from ._multinomial import check_total_count_max, multinomial_draw
from ._parameters import parameters


class DirichletMultinomial(Distribution):
    """p(k) = n! Gamma(A) / Gamma(n + A) prod_i Gamma(k_i + a_i) / (k_i! Gamma(a_i)), A = sum_i a_i: Pólya's urn.

    Counts k (…, m) of n = total_count draws with probabilities from Dirichlet(a), a = concentration (…, m) > 0.

    :param total_count_max: an upper bound of total_count, where that is traced; it makes draws of small counts cheap.
    """

    arg_constraints = parameters(
        concentration=constraints.independent(constraints.positive, 1),
        total_count=constraints.nonnegative_integer,
    )
    _static = ("total_count_max", "_detached")
    _keep_dtype = ("total_count",)
    concentration: jax.Array
    total_count: jax.Array
    total_count_max: int | None

    def __init__(
        self,
        concentration: Any,
        total_count: Any = 1,
        *,
        total_count_max: int | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._assign(total_count_max=total_count_max)
        self._init(validate_args, concentration=concentration, total_count=total_count)
        if validate_args is not False:
            check_total_count_max(self, total_count_max)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.shape(self.concentration)[-1:]

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.multinomial(self.total_count)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        key_probs, key_counts = jax.random.split(key)
        concentration = wide(self.concentration, self.concentration.dtype)
        log_draws = log_gamma_draw(key_probs, concentration, self.shape(sample_shape))
        sums = cumulative(jax.nn.softmax(log_draws, axis=-1))
        return multinomial_draw(key_counts, self, sums, (*sample_shape, *self.batch_shape))

    def log_prob(self, value: Any) -> Any:
        dtype = self.concentration.dtype
        inside = self.support(value)
        k = jnp.where(inside[..., None], wide(value, dtype), 0.0)
        n = jnp.where(inside, wide(self.total_count, dtype), 0.0)
        a = wide(self.concentration, dtype)
        total, each = jnp.sum(a, axis=-1), n[..., None]
        whole = total[..., None]
        classes = log_polya_class(k, a, each, whole, products_apart(k, whole, each, a))
        log_mass = log_polya_total(n, total) + jnp.sum(classes, axis=-1)
        return jnp.where(inside, log_mass, -jnp.inf).astype(dtype)

    @property
    def _share(self) -> Any:
        return self.concentration / self.concentration.sum(axis=-1, keepdims=True)

    @property
    def mean(self) -> Any:
        return self.total_count[..., None] * self._share

    @property
    def variance(self) -> Any:
        share, total = self._share, self.concentration.sum(axis=-1, keepdims=True)
        n = self.total_count[..., None]
        return n * share * (1 - share) * ((n + total) / (1 + total))

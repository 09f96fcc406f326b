"""The LKJ distributions of correlation matrices and of their Cholesky factors."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln

from svijax.base import ArgumentError, cholesky_or_eye, diagonal_of, gram, log_beta, log_sigmoid, message
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._gamma import log_gamma_draw
from ._parameters import parameters

_LOG_2 = math.log(2.0)


class LKJCholesky(Distribution):
    """p(L) ∝ prod_i L_ii^(2 c - 2 + n - i), i = 2, …, n: the Cholesky factor of a matrix with ``LKJ(n, c)``.

    c = concentration > 0, n = dimension >= 2. ``sample_method`` "onion" adds rows, each a point of a ball;
    "cvine" draws partial correlations. Both give the same law, and pathwise derivatives in the concentration.
    Lewandowski, Kurowicka and Joe (2009), sections 3.2 and 2.4.
    """

    arg_constraints = parameters(concentration=constraints.positive)
    support: Constraint = constraints.corr_cholesky
    _static = ("_detached", "dimension", "sample_method")
    _pathwise = True
    _of_matrix: ClassVar[bool] = False
    concentration: jax.Array
    dimension: int
    sample_method: Literal["onion", "cvine"]

    def __init__(
        self,
        dimension: int,
        concentration: Any = 1.0,
        sample_method: Literal["onion", "cvine"] = "onion",
        *,
        validate_args: bool | None = None,
    ) -> None:
        owner = type(self).__name__
        if not isinstance(dimension, (int, np.integer)) or dimension < 2:
            raise ArgumentError(message(f"{owner}: dimension is an integer of at least 2.", got=dimension))
        if sample_method not in ("onion", "cvine"):
            raise ArgumentError(
                message(
                    f"{owner}: there is no such sample_method.",
                    expected="'onion' or 'cvine'",
                    got=repr(sample_method),
                )
            )
        self._assign(dimension=int(dimension), sample_method=sample_method)
        self._init(validate_args, concentration=concentration)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.dimension, self.dimension)

    # Row k = 1, …, n - 1 of L, but for its diagonal, is a point w of the ball of dimension k, with a density
    # proportional to (1 - |w|^2)^(b_k - 1): |w|^2 ~ Beta(k / 2, b_k), and L_kk^2 = 1 - |w|^2.

    def _sizes(self) -> Any:
        """k."""
        return np.arange(1, self.dimension, dtype=self.dtype)

    def _tails(self) -> Any:
        """b_k = c + (n - 1 - k) / 2, (…, n - 1)."""
        return self.concentration[..., None] + 0.5 * (self.dimension - 1 - self._sizes())

    # Draws

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        shape = (*sample_shape, *self.batch_shape)
        factor = (self._onion if self.sample_method == "onion" else self._cvine)(key, shape)
        if not self._of_matrix:
            return factor
        return jnp.where(np.eye(self.dimension, dtype=bool), 1.0, gram(factor)).astype(factor.dtype)

    def _onion(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        key_beta, key_normal = jax.random.split(key)
        half = 0.5 * self._sizes()
        log_odds = _log_odds(key_beta, half, self._tails(), (*shape, self.dimension - 1))
        count = self.dimension * (self.dimension - 1) // 2
        normal = _as_tril(jax.random.normal(key_normal, (*shape, count), self.dtype), self.dimension - 1)
        log_length = 0.5 * (log_sigmoid(log_odds) - jnp.log(jnp.sum(normal * normal, axis=-1)))
        return self._join(normal * jnp.exp(log_length)[..., None], 0.5 * log_sigmoid(-log_odds))

    def _cvine(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        # The partial correlations in column j = k - 1 are tanh of half of the log odds of Beta(b_k, b_k).
        n = self.dimension - 1
        tails = _tril_of_columns(self._tails(), n)
        log_odds = _as_tril(_log_odds(key, tails, tails, (*shape, n * (n + 1) // 2)), n)
        partial = jnp.tanh(0.5 * log_odds)
        # 1 - tanh(t / 2)^2 = 4 sigmoid(t) sigmoid(-t): the rest of the row's length after each entry.
        log_left = _LOG_2 + 0.5 * (log_sigmoid(log_odds) + log_sigmoid(-log_odds))
        log_left = jnp.cumsum(log_left, axis=-1)
        before = jnp.pad(log_left[..., :-1], [(0, 0)] * (log_left.ndim - 1) + [(1, 0)])
        return self._join(partial * jnp.exp(before), diagonal_of(log_left))

    def _join(self, rows: Any, log_diagonal: Any) -> Any:
        """The factor of the rows below its first, and of the logarithms of its diagonal there."""
        tiny = jnp.finfo(rows.dtype).tiny
        pads = [(0, 0)] * (rows.ndim - 2)
        diagonal = jnp.pad(jnp.maximum(jnp.exp(log_diagonal), tiny), [*pads, (1, 0)], constant_values=1.0)
        below = jnp.pad(rows, [*pads, (1, 0), (0, 1)])
        return jnp.where(np.eye(self.dimension, dtype=bool), diagonal[..., None], below)

    # Densities

    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        if self._of_matrix:
            factor, inside = cholesky_or_eye(value)
        else:
            inside = constraints.lower_cholesky(value)
            factor = jnp.where(inside[..., None, None], value, np.eye(self.dimension, dtype=value.dtype))
        log_diagonal = jnp.log(diagonal_of(factor)[..., 1:])
        log_prob = jnp.sum(self._powers() * log_diagonal, axis=-1) - self._log_norm()
        return jnp.where(inside, log_prob, -jnp.inf)

    def _powers(self) -> Any:
        """Of L_ii in the density."""
        return 2.0 * (self.concentration[..., None] - 1 if self._of_matrix else self._tails() - 1)

    def _log_norm(self) -> Any:
        half = 0.5 * self._sizes()
        spheres = half * math.log(math.pi) - gammaln(half)
        return jnp.sum(spheres + log_beta(half, self._tails()), axis=-1)

    def entropy(self) -> Any:
        tails = self._tails()
        log_diagonal = 0.5 * (digamma(tails) - digamma(tails + 0.5 * self._sizes()))
        return self._log_norm() - jnp.sum(self._powers() * log_diagonal, axis=-1)

    def _entry_variance(self) -> Any:
        """Of each entry below the diagonal, of the matrix and of its factor alike."""
        return (1 / (2 * self.concentration + (self.dimension - 1)))[..., None, None]

    @property
    def mean(self) -> Any:
        return self._mean_diagonal()[..., None] * np.eye(self.dimension, dtype=self.dtype)

    def _mean_diagonal(self) -> Any:
        half, tails = 0.5 * self._sizes(), self._tails()
        mean = jnp.exp(log_beta(half, tails + 0.5) - log_beta(half, tails))
        return jnp.concatenate([jnp.ones_like(mean[..., :1]), mean], axis=-1)

    @property
    def variance(self) -> Any:
        tails, sizes = self._tails(), np.arange(self.dimension, dtype=self.dtype)
        second = jnp.concatenate([jnp.ones_like(tails[..., :1]), tails / (tails + 0.5 * sizes[1:])], axis=-1)
        diagonal = second - self._mean_diagonal() ** 2
        below = np.tril(np.ones(self.event_shape, self.dtype), -1)
        return self._entry_variance() * below + diagonal[..., None] * np.eye(self.dimension, dtype=self.dtype)


class LKJ(LKJCholesky):
    """p(R) ∝ det(R)^(c - 1) on correlation matrices R of dimension n; c = concentration > 0, 1 being uniform.

    Each entry r off the diagonal has (r + 1) / 2 ~ Beta(c + n / 2 - 1, c + n / 2 - 1). ``sample_method`` as of
    ``LKJCholesky``, which is better conditioned: of a nearly singular R, the factor has lost digits.
    """

    support = constraints.corr_matrix
    _of_matrix = True

    @property
    def mean(self) -> Any:
        eye = np.eye(self.dimension, dtype=self.dtype)
        return jnp.broadcast_to(eye, self.shape())

    @property
    def variance(self) -> Any:
        return self._entry_variance() * (1 - np.eye(self.dimension, dtype=self.dtype))


def _log_odds(key: jax.Array, a: Any, b: Any, shape: tuple[int, ...]) -> jax.Array:
    """log(y / (1 - y)) of y ~ Beta(a, b), exact where y or 1 - y would round."""
    key_a, key_b = jax.random.split(key)
    return log_gamma_draw(key_a, a, shape) - log_gamma_draw(key_b, b, shape)


def _as_tril(entries: Any, n: int) -> jax.Array:
    """The n (n + 1) / 2 entries in the lower triangle, row by row."""
    place = np.zeros((n, n), int)
    place[np.tril_indices(n)] = np.arange(n * (n + 1) // 2)
    return jnp.where(np.tril(np.ones((n, n), bool)), entries[..., place], 0.0).astype(entries.dtype)


def _tril_of_columns(values: Any, n: int) -> Any:
    """The values of the columns j, for each entry of the lower triangle, row by row."""
    return values[..., np.tril_indices(n)[1]]

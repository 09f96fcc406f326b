"""The multivariate normal distribution with a circulant covariance."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ShapeError, array_module, as_array, cast, float_dtype, message, widened
from svijax.transforms import constraints

from ._distribution import Distribution
from ._logits import take_one
from ._parameters import check, parameters
from ._scale_tril import as_vectors

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class CirculantNormal(Distribution):
    """N(x; loc, C) with C_ij = c_((i - j) mod n), c = covariance_row: densities and draws cost O(n log n).

    loc (…, n); exactly one of covariance_row (…, n) and covariance_rfft (…, n // 2 + 1) > 0, the real Fourier
    transform of the row, which holds C's eigenvalues; the latter is kept. Those of a row are no smaller than
    rounding, eps times the largest. Wood and Chan (1994).
    """

    arg_constraints = parameters(
        loc=constraints.real_vector,
        covariance_row=constraints.positive_definite_circulant_vector,
        covariance_rfft=constraints.independent(constraints.positive, 1),
    )
    support = constraints.real_vector
    _fields = ("loc", "covariance_rfft")
    _noise_kind = "normal"
    loc: jax.Array
    covariance_rfft: jax.Array

    def __init__(
        self,
        loc: Any,
        covariance_row: Any = None,
        covariance_rfft: Any = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        owner = type(self).__name__
        take_one(owner, covariance_row=covariance_row, covariance_rfft=covariance_rfft)
        loc = as_array(loc)
        if covariance_row is not None:
            row = as_array(covariance_row)
            row = cast(row, float_dtype(row))
            if validate_args is not False:
                check(owner, "covariance_row", row, self.arg_constraints["covariance_row"])
            loc = as_vectors(owner, "loc", loc, np.shape(row)[-1])
            covariance_rfft = _rfft(row)
        _need_sizes(owner, loc, covariance_rfft)
        # A row that is positive definite up to rounding was checked as such.
        checked = validate_args if covariance_row is None else False
        self._init(checked, loc=loc, covariance_rfft=covariance_rfft)
        if validate_args is not False:
            check(owner, "loc", self.loc, constraints.real_vector)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.shape(self.loc)[-1:]

    def _counts(self) -> Any:
        """How often each eigenvalue occurs: twice but for the first, and for the last where n is even."""
        n = self.event_shape[0]
        counts = np.full(n // 2 + 1, 2.0, self.dtype)
        counts[0] = 1
        if n % 2 == 0:
            counts[-1] = 1
        return counts

    def from_noise(self, noise: Any) -> Any:
        n = self.event_shape[0]
        half, single = n // 2 + 1, self._counts() == 1
        noise = widened(noise)
        # The imaginary parts of the eigenvectors that occur once are 0.
        lead = [(0, 0)] * (noise.ndim - 1)
        imaginary = jnp.pad(noise[..., half:], [*lead, (1, 2 * half - 1 - n)])
        size = jnp.sqrt(widened(self.covariance_rfft) * np.where(single, n, 0.5 * n).astype(noise.dtype))
        spectrum = jax.lax.complex(size * noise[..., :half], size * imaginary)
        return self.loc + jnp.fft.irfft(spectrum, n, axis=-1).astype(self.dtype)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        return self.from_noise(noise), -0.5 * jnp.sum(noise * noise, axis=-1) - self._log_norm()

    def log_prob(self, value: Any) -> Any:
        gap = jnp.asarray(value - self.loc)
        spectrum = jnp.fft.rfft(widened(gap), axis=-1)
        powers = (spectrum.real**2 + spectrum.imag**2) / (self.event_shape[0] * self.covariance_rfft)
        squares = jnp.sum(self._counts() * powers, axis=-1).astype(gap.dtype)
        return -0.5 * squares - self._log_norm()

    def _log_norm(self) -> Any:
        log_det = jnp.sum(self._counts() * jnp.log(self.covariance_rfft), axis=-1)
        return 0.5 * log_det + self.event_shape[0] * _HALF_LOG_2PI

    @property
    def covariance_row(self) -> Any:
        """The first row of the covariance."""
        return _irfft(self.covariance_rfft, self.event_shape[0])

    @property
    def covariance_matrix(self) -> Any:
        """C_ij = covariance_row[(i - j) mod n]."""
        return _circulant(self.covariance_row)

    @property
    def precision_matrix(self) -> Any:
        """The inverse of the covariance, circulant too."""
        return _circulant(_irfft(1 / self.covariance_rfft, self.event_shape[0]))

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        return jnp.broadcast_to(self.covariance_row[..., :1], np.shape(self.loc))

    def entropy(self) -> Any:
        return 0.5 * self.event_shape[0] + self._log_norm()


def _rfft(row: Any) -> Any:
    xp = array_module(row)
    eigenvalues = xp.fft.rfft(widened(row), axis=-1).real
    # Below this they are rounding, and may be negative.
    least = float(jnp.finfo(row.dtype).eps) * xp.max(eigenvalues, axis=-1, keepdims=True)
    return cast(xp.maximum(eigenvalues, least), row.dtype)


def _irfft(eigenvalues: Any, n: int) -> Any:
    return jnp.fft.irfft(jnp.asarray(widened(eigenvalues)), n, axis=-1).astype(eigenvalues.dtype)


def _circulant(row: Any) -> Any:
    n = np.arange(np.shape(row)[-1])
    return row[..., (n[:, None] - n) % len(n)]


def _need_sizes(owner: str, loc: Any, covariance_rfft: Any) -> None:
    sizes = np.shape(loc)[-1:], np.shape(covariance_rfft)[-1:]
    if not all(sizes) or sizes[1][0] != sizes[0][0] // 2 + 1:
        raise ShapeError(
            message(
                f"{owner}: loc and covariance_rfft are of unlike size.",
                expected="loc (…, n) and covariance_rfft (…, n // 2 + 1)",
                got=f"loc {np.shape(loc)} and covariance_rfft {np.shape(covariance_rfft)}",
            )
        )

"""Two dependent angles: the sine model."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import i0e, i1e

from svijax.base import array_module, as_array
from svijax.transforms import constraints

from ._distribution import Distribution
from ._logits import take_one
from ._parameters import parameters
from ._sine_skewed import wrap

# Points on half a circle.
_POINTS = 256


class SineBivariateVonMises(Distribution):
    """p(f, s) = exp(k1 cos(f - m1) + k2 cos(s - m2) + c sin(f - m1) sin(s - m2)) / Z; a draw is (f, s), radians.

    k1 = phi_concentration and k2 = psi_concentration > 0; m1 = phi_loc, m2 = psi_loc in [-pi, pi]; exactly one
    of c = correlation and weighted_correlation = c / sqrt(k1 k2) is given, and c is kept. With c^2 < k1 k2 there
    is one mode, with larger c there can be two. Singh, Hnizdo and Demchuk, Probabilistic model for two dependent
    circular variables (2002). Z is a trapezoidal sum over f, the angle s being integrated out: exact to rounding
    with one mode, and with two for concentrations up to about 3000. ``mean`` is the mean direction of each angle.
    """

    arg_constraints = parameters(
        phi_loc=constraints.circular,
        psi_loc=constraints.circular,
        phi_concentration=constraints.positive,
        psi_concentration=constraints.positive,
        correlation=constraints.real,
    )
    support = constraints.independent(constraints.circular, 1)
    phi_loc: jax.Array
    psi_loc: jax.Array
    phi_concentration: jax.Array
    psi_concentration: jax.Array
    correlation: jax.Array

    def __init__(
        self,
        phi_loc: Any,
        psi_loc: Any,
        phi_concentration: Any,
        psi_concentration: Any,
        correlation: Any = None,
        weighted_correlation: Any = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        take_one("SineBivariateVonMises", correlation=correlation, weighted_correlation=weighted_correlation)
        if correlation is None:
            k1, k2, weight = map(as_array, (phi_concentration, psi_concentration, weighted_correlation))
            # By two roots: the product could overflow.
            xp = array_module(k1, k2, weight)
            correlation = weight * xp.sqrt(k1) * xp.sqrt(k2)
        self._init(
            validate_args,
            phi_loc=phi_loc,
            psi_loc=psi_loc,
            phi_concentration=phi_concentration,
            psi_concentration=psi_concentration,
            correlation=correlation,
        )

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (2,)

    def log_prob(self, value: Any) -> Any:
        phi, psi = value[..., 0] - self.phi_loc, value[..., 1] - self.psi_loc
        alone = self.phi_concentration * _versine(phi) + self.psi_concentration * _versine(psi)
        together = self.correlation * jnp.sin(phi) * jnp.sin(psi)
        return together - alone - self._log_norm()

    def _log_marginal(self, versine: Any, sine: Any) -> Any:
        """log of the density of phi, up to a constant: the angle psi is integrated out."""
        k1, k2, c = self.phi_concentration, self.psi_concentration, self.correlation
        pull = c * sine
        length = jnp.sqrt(k2 * k2 + pull * pull)
        return jnp.log(i0e(length)) + pull * pull / (length + k2) - k1 * versine

    def _points(self, u: Any) -> tuple[Any, Any, Any]:
        """phi > 0, its 1 - cos, and d phi / d u of tan(phi / 2) = a tan(u / 2), which is dense where the mode is."""
        k1, k2, c = (jax.lax.stop_gradient(jnp.asarray(x)) for x in (self._k1, self._k2, self.correlation))
        peak = k1 - c * (c / k2) * i1e(k2) / i0e(k2)
        a = jnp.minimum(4.0 / jnp.sqrt(jnp.maximum(peak, 1.0)), 1.0)
        u = u.reshape((-1, *(1,) * a.ndim)).astype(a.dtype)
        up, along = a * jnp.sin(0.5 * u), jnp.cos(0.5 * u)
        square = up * up + along * along
        return 2.0 * jnp.arctan2(up, along), 2.0 * up * up / square, a / square

    @property
    def _k1(self) -> Any:
        return self.phi_concentration

    @property
    def _k2(self) -> Any:
        return self.psi_concentration

    def _log_norm(self) -> Any:
        """log Z - k1 - k2."""
        phi, versine, slope = self._points(np.pi * (np.arange(_POINTS) + 0.5) / _POINTS)
        terms = self._log_marginal(versine, jnp.sin(phi)) + jnp.log(slope)
        # Twice for phi < 0, and 2 pi for psi.
        return jax.nn.logsumexp(terms, axis=0) + math.log(4.0 * math.pi**2 / _POINTS)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        first, second = jax.random.split(key)
        phi = self._phi(first, sample_shape)
        pull = self.correlation * jnp.sin(phi)
        # Given phi, psi is a von Mises angle.
        psi = jnp.arctan2(pull, self._k2) + _von_mises(second, jnp.sqrt(self._k2**2 + pull**2))
        draw = jnp.stack([wrap(phi + self.phi_loc), wrap(psi + self.psi_loc)], axis=-1)
        return jax.lax.stop_gradient(draw.astype(self.dtype))

    def _phi(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        """Draws of phi by rejection from a density that is constant on each of many cells of (0, pi)."""
        edges, versine, _ = self._points(np.pi * np.arange(_POINTS + 1) / _POINTS)
        log_density = self._log_marginal(versine, jnp.sin(edges))
        width = jnp.diff(edges, axis=0)
        # Around a mode the curvature is at most k1 + |c|, and the mode is half a cell from an edge at most.
        bound = jnp.maximum(log_density[:-1], log_density[1:])
        bound = bound + (self._k1 + jnp.abs(self.correlation)) * width**2 / 8.0
        mass = jnp.cumsum(jax.nn.softmax(bound + jnp.log(width), axis=0), axis=0)
        # One row for each entry of the batch, one column for each draw.
        rows = self._flat(self)
        tables = tuple(x.reshape((len(x), -1)).T for x in (mass, edges[:-1], width, bound))
        count = math.prod(sample_shape)
        draws = _reject(key, rows, tables, count)
        return draws.T.reshape((*sample_shape, *self.batch_shape))

    @staticmethod
    def _flat(dist: SineBivariateVonMises) -> Any:
        return jax.tree.map(lambda leaf: jnp.reshape(jnp.asarray(leaf), (-1, 1)), dist)

    @property
    def mean(self) -> Any:
        return jnp.stack([wrap(jnp.asarray(self.phi_loc)), wrap(jnp.asarray(self.psi_loc))], axis=-1)


@partial(jax.jit, static_argnums=3)
def _reject(key: jax.Array, rows: Any, tables: Any, count: int) -> Any:
    """``count`` draws of phi for each row: trials of all, until the last is accepted."""
    mass, left, width, bound = tables
    pick = jax.vmap(lambda table, cell: table[cell])

    def trial(state: Any) -> Any:
        key, phi, done = state
        key, *keys = jax.random.split(key, 4)
        u, place, level = (jax.random.uniform(k, phi.shape, phi.dtype) for k in keys)
        # The last sum may have been rounded to less than u.
        cell = jnp.minimum(jax.vmap(jnp.searchsorted)(mass, u), mass.shape[-1] - 1)
        at = pick(left, cell) + place * pick(width, cell)
        log_ratio = rows._log_marginal(_versine(at), jnp.sin(at)) - pick(bound, cell)
        accepted = ~done & (jnp.log1p(-level) <= log_ratio)
        return key, jnp.where(accepted, at, phi), done | accepted

    shape = (len(mass), count)
    start = key, jnp.zeros(shape, mass.dtype), jnp.zeros(shape, bool)
    key, phi, _ = jax.lax.while_loop(lambda state: ~jnp.all(state[2]), trial, start)
    return jnp.where(jax.random.bernoulli(jax.random.fold_in(key, 1), 0.5, shape), phi, -phi)


@jax.jit
def _von_mises(key: jax.Array, k: Any) -> Any:
    """Draws with density exp(k cos x) / (2 pi I_0(k)), one for each k.

    By rejection from the angular central Gaussian distribution of half the angle (Kent, Ganeiber and Mardia, A new
    unified approach for the simulation of a wide class of directional distributions, 2018).
    """
    steep = 2.0 * k
    b = 1.0 + 1.0 / (jnp.sqrt(1.0 + steep * steep) + steep)
    scale = jax.lax.rsqrt(1.0 + 2.0 * steep / b)
    top = 1.0 - 0.5 * b + jnp.log(0.5 * b)

    def trial(state: Any) -> Any:
        key, half, done = state
        key, first, second = jax.random.split(key, 3)
        x, y = jax.random.normal(first, (2, *half.shape), half.dtype)
        y = scale * y
        square = steep * y * y / (x * x + y * y)
        log_ratio = top - square + jnp.log1p(2.0 * square / b)
        accepted = ~done & (jnp.log1p(-jax.random.uniform(second, half.shape, half.dtype)) <= log_ratio)
        return key, jnp.where(accepted, jnp.arctan(y / x), half), done | accepted

    start = key, jnp.zeros_like(k), jnp.zeros(k.shape, bool)
    return 2.0 * jax.lax.while_loop(lambda state: ~jnp.all(state[2]), trial, start)[1]


def _versine(x: Any) -> Any:
    """1 - cos x, without cancellation near 0."""
    half = jnp.sin(0.5 * x)
    return 2.0 * half * half

"""Checks of draws against the density, and of the mass of the density."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import SupportError, gammainc
from svijax.transforms import Transform, biject_to

from ._check_case import Case
from ._check_report import Fault, Unseen

_SIGMAS = 6.0  # of a check's statistic: a right distribution fails once in some 10^8
_MASS = 4e-3  # by which quadrature may miss 1
_REACH = 15.0  # of the grid: sinh(15) spreads


def _density_fault(expected: str, got: str) -> Fault:
    return Fault(expected, got, "correct the sampler or the density: they are not of one distribution.")


def _mass_fault(mass: float, error: float) -> Fault:
    fix = "correct the normalising constant of log_prob."
    return Fault("a density of mass 1", f"{mass:.4f} ± {error:.4f}", fix)


def _bijection(case: Case) -> Transform:
    try:
        return biject_to(case.d.support)
    except SupportError as error:
        raise Unseen("no bijection leads onto the support") from error


def mass(case: Case) -> str:
    """Continuous numbers by quadrature; discrete values and vectors with the draws."""
    if case.is_discrete:
        return _mass_of_counts(case)
    if case.event:
        return _mass_by_draws(case)
    with jax.enable_x64(True):
        _, _, below = _quadrature(case)
    total = np.ravel(below[-1])
    middle = np.ravel(below[int(0.9 * len(below))] - below[int(0.1 * len(below))])
    off = np.abs(total - 1) > _MASS
    if np.any(off & (np.abs(total - middle) < 1e-3 * total)):
        raise _mass_fault(float(total[np.argmax(np.abs(total - 1))]), 1e-3)
    if np.any(off):
        raise Unseen("quadrature does not reach the ends of the support")
    return "by quadrature"


def _quadrature(case: Case) -> tuple[np.ndarray, Any, np.ndarray]:
    """Nodes t, the map from a value to its t, and the distribution function at the nodes: (nodes, *batch).

    The unconstrained value is centre + spread * sinh(t), so that tails of any weight are reached.
    """
    bijection = _bijection(case)
    free = np.asarray(bijection.inv(jnp.asarray(case.draws.astype(np.float64))))
    free = np.where(np.isfinite(free), free, np.nan)
    centre = np.nanmedian(free, axis=0)
    low, high = np.nanquantile(free, [0.25, 0.75], axis=0)
    spread = np.where(high > low, high - low, 1.0)
    count = max(2_001, min(40_001, 4_000_000 // max(1, math.prod(case.batch))))
    t = np.linspace(-_REACH, _REACH, count)
    column = t.reshape((-1, *(1,) * len(case.batch)))
    u = centre + spread * np.sinh(column)
    x = bijection(jnp.asarray(u))
    log_density = case.cast(np.float64).log_prob(x) + bijection.log_abs_det_jacobian(jnp.asarray(u), x)
    log_density = np.asarray(log_density, np.float64) + np.log(spread * np.cosh(column))
    known = np.isfinite(np.asarray(x)) & np.isfinite(log_density)
    density = np.where(known, np.exp(np.where(known, log_density, 0.0)), 0.0)
    step = t[1] - t[0]
    steps = 0.5 * step * (density[1:] + density[:-1])
    below = np.concatenate([np.zeros((1, *density.shape[1:])), np.cumsum(steps, axis=0)])
    return t, np.arcsinh((free - centre) / spread), below


def draws(case: Case) -> str:
    """Hold draws against the density: scalars by its integral, vectors by Stein's identity, counts by their masses."""
    if case.is_discrete:
        return _counts(case)
    if case.event:
        return _stein(case)
    with jax.enable_x64(True):
        t, places, below = _quadrature(case)
    below = below / np.where(below[-1] > 0, below[-1], 1.0)
    cells = math.prod(case.batch)
    below, places = below.reshape((len(t), cells)), places.reshape((-1, cells))
    for cell in range(min(cells, 16)):
        u = np.interp(places[:, cell], t, below[:, cell])
        u = u[np.isfinite(u)]
        _uniform(u)
    return "Kolmogorov-Smirnov and smooth tests"


def _uniform(u: np.ndarray) -> None:
    """Hold probabilities against the uniform distribution: Kolmogorov-Smirnov, and Neyman's smooth test."""
    n, u = len(u), np.sort(u)
    ranks = np.arange(1, n + 1) / n
    gap = max(np.max(ranks - u), np.max(u - ranks + 1 / n))
    limit = 3.2 / math.sqrt(n) + 1e-3  # P(gap > 3.2 / sqrt(n)) = 2e-9; and the error of the quadrature
    if not gap < limit:
        raise _density_fault(f"a distribution function within {limit:.4f} of the draws'", f"{gap:.4f}")
    legendre = [
        np.polynomial.legendre.Legendre.basis(k)(2 * u - 1) * math.sqrt(2 * k + 1) for k in range(1, 5)
    ]
    means = np.array([values.mean() for values in legendre])
    worst = np.max(np.abs(means))
    limit = _SIGMAS / math.sqrt(n) + 1e-3
    if not worst < limit:
        expected = f"moments of the draws' probabilities within {limit:.4f} of those of a uniform"
        raise _density_fault(expected, f"{worst:.4f}")


def _table(case: Case, cell: int) -> tuple[np.ndarray, np.ndarray, int]:
    """The distinct values that were drawn in one batch entry, how often, and the number of draws."""
    rows = case.draws.reshape((len(case.draws), math.prod(case.batch), -1))[:, cell]
    values, counts = np.unique(rows, axis=0, return_counts=True)
    return values, counts, len(rows)


def _log_masses(case: Case, values: np.ndarray, cell: int) -> np.ndarray:
    shaped = values.reshape((len(values), *(1,) * len(case.batch), *case.event))
    shaped = np.broadcast_to(shaped, (len(values), *case.shape))
    log_masses = np.asarray(case.cast(np.float64).log_prob(jnp.asarray(shaped)), np.float64)
    return log_masses.reshape((len(values), -1))[:, cell]


def _counts(case: Case) -> str:
    for cell in range(min(math.prod(case.batch), 16)):
        values, counts, n = _table(case, cell)
        with jax.enable_x64(True):
            expected = n * np.exp(_log_masses(case, values, cell))
        often = expected >= 20
        if not often.any():
            raise Unseen("no value is drawn often enough")
        # What is rare, or was not drawn, is one class.
        observed = np.append(counts[often], n - counts[often].sum())
        expected = np.append(expected[often], n - expected[often].sum())
        rest = max(expected[-1], 1.0)
        terms = (observed - expected) ** 2 / np.append(expected[:-1], rest)
        k = len(terms)
        # Wilson and Hilferty's normal form of a chi-square.
        z = ((terms.sum() / k) ** (1 / 3) - (1 - 2 / (9 * k))) / math.sqrt(2 / (9 * k))
        if not z < _SIGMAS:
            worst = int(np.argmax(terms))
            what = "the rest" if worst == k - 1 else np.array2string(values[often][worst])
            raise _density_fault(f"{expected[worst]:.0f} draws of {what} in {n}", f"{observed[worst]:.0f}")
    return "chi-square over the values drawn"


def _mass_of_counts(case: Case) -> str:
    for cell in range(min(math.prod(case.batch), 16)):
        values, counts, n = _table(case, cell)
        with jax.enable_x64(True):
            masses = np.exp(_log_masses(case, values, cell))
        # Values drawn twice or more hold all but some n^-1 of the mass, unless there are too many of them.
        unseen = np.sum(counts == 1) / n
        if masses.sum() > 1 + 1e-4 or masses.sum() < 1 - 3 * unseen - 2e-3:
            raise _mass_fault(float(masses.sum()), unseen)
    return "over the values drawn"


def _free_draws(case: Case) -> tuple[np.ndarray, Any, Any]:
    """Unconstrained draws (n, k) of the first batch entry, their log density there, and its gradient."""
    bijection = _bijection(case)
    wide = case.cast(np.float64)
    lead: tuple[Any, ...] = (0,) * len(case.batch)
    n = min(len(case.draws), 50_000)
    values = case.draws[:n].astype(np.float64)
    free = np.asarray(bijection.inv(jnp.asarray(values)))
    event = free.shape[1 + len(lead) :]

    def log_density(u: Any) -> Any:
        # Of the first batch entry; the others stay at their first draw.
        full = jnp.asarray(free[0]).at[lead].set(u.reshape(event)) if lead else u.reshape(event)
        x = bijection(full)
        return (wide.log_prob(x) + bijection.log_abs_det_jacobian(full, x))[lead]

    first = free.reshape((n, math.prod(case.batch), -1))[:, 0]
    return first, *jax.jit(jax.vmap(jax.value_and_grad(log_density)))(first)


def _stein(case: Case) -> str:
    """E[(u - m) grad log p(u)^T] = -I and E[grad log p(u)] = 0 in the unconstrained space."""
    with jax.enable_x64(True):
        u, _, score = (np.asarray(part) for part in _free_draws(case))
    centred = (u - np.median(u, axis=0)) / u.std(axis=0)
    score = score * u.std(axis=0)
    tested = np.concatenate([np.ones((len(u), 1)), centred], axis=1)
    size = u.shape[1]
    want = np.concatenate([np.zeros((1, size)), -np.eye(size)])
    mean = tested.T @ score / len(u)
    error = np.sqrt(np.maximum((tested**2).T @ score**2 / len(u) - mean**2, 0.0) / len(u)) + 1e-6
    z = np.abs(mean - want) / error
    if not np.max(z) < _SIGMAS:
        place = np.unravel_index(np.argmax(z), z.shape)
        what = "the mean of the score" if place[0] == 0 else "the mean of (u - centre) times the score"
        raise _density_fault(
            f"{what}, over draws, {want[place]:.0f} ± {error[place]:.3g}", f"{mean[place]:.4f}"
        )
    return f"Stein's identity in {size} unconstrained dimensions"


def _mass_by_draws(case: Case) -> str:
    """E[r(u) / p(u)] = 1 for a normal density r cut off where the draws become few."""
    with jax.enable_x64(True):
        u, log_p, _ = (np.asarray(part) for part in _free_draws(case))
    n, size = u.shape
    if size > 6:
        raise Unseen("more than six dimensions")
    covariance = np.atleast_2d(np.cov(u.T))
    tril = np.linalg.cholesky(covariance) * 0.8
    z = np.linalg.solve(tril, (u - u.mean(axis=0)).T).T
    squares = (z**2).sum(axis=1)
    radius = math.sqrt(size) + 1.0
    log_norm = np.log(np.diag(tril)).sum() + 0.5 * size * math.log(2 * math.pi)
    kept = float(gammainc(0.5 * size, 0.5 * radius**2))
    ratio = np.where(squares < radius**2, np.exp(-0.5 * squares - log_norm - log_p) / kept, 0.0)
    mean, error = ratio.mean(), ratio.std() / math.sqrt(n)
    if error > 0.01:
        raise Unseen("the draws do not tell")
    if abs(mean - 1) > _SIGMAS * error + 2e-3:
        raise _mass_fault(1 / mean, error)
    return "by importance weights"

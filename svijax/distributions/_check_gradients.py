"""Checks of derivatives: of the log density against differences, of draws against differences or the score."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import draw_noise

from ._check_case import Case
from ._check_report import Fault, Unseen

_STEP = 1e-6


def _against_differences(
    f: Callable[[Any], Any], x: np.ndarray, what: str, fix: str, size: Any = math.inf
) -> None:
    """Hold the derivative of f at x along one direction, no longer than ``size``, against a difference."""
    rng = np.random.default_rng(0)
    size = np.minimum(np.maximum(np.abs(x), 0.1), size)
    direction = rng.choice([-1.0, 1.0], x.shape) * rng.uniform(0.5, 1.0, x.shape) * size
    value, slope = jax.jvp(f, (jnp.asarray(x),), (jnp.asarray(direction),))
    slope = np.asarray(slope)
    if not np.isfinite(slope).all():
        raise Fault(
            f"finite derivatives {what}", "nan or inf", "guard the branch not taken: where inside where."
        )
    wide = np.asarray(value).dtype == np.float64
    step = _STEP if wide else 3e-3
    difference = np.asarray(f(x + step * direction) - f(x - step * direction), np.float64) / (2 * step)
    scale = np.maximum(1.0, np.maximum(np.abs(difference), np.abs(np.asarray(value))))
    error = np.abs(slope - difference) / scale
    # A few entries may lie on a kink.
    if np.quantile(error, 0.9) > (1e-4 if wide else 3e-2):
        place = np.unravel_index(np.argmax(error), error.shape)
        raise Fault(f"{what}: {difference[place]:.6g} by differences", f"{slope[place]:.6g}", fix)


def log_prob(case: Case) -> str:
    """Hold the derivatives of ``log_prob`` in the value and in each parameter against differences."""
    fix = "write log_prob in jnp, without stop_gradient, rounding or host callbacks."
    with jax.enable_x64(True):
        wide = case.cast(np.float64)
        values = case.draws[:20] if case.is_discrete else case.wide_values(20)
        if not case.is_discrete and not case.event:
            low, high = np.quantile(case.draws, [0.25, 0.75], axis=0)
            _against_differences(wide.log_prob, values, "derivatives in the value", fix, high - low)
        leaves, tree = jax.tree.flatten(wide) if case.is_tree else ([], None)
        for place in case.float_leaves:

            def moved(x: Any, place: int = place) -> Any:
                new = [x if i == place else leaf for i, leaf in enumerate(leaves)]
                return jax.tree.unflatten(tree, new).log_prob(values)

            what = f"derivatives in {case.leaf_name(place)}"
            _against_differences(moved, np.asarray(leaves[place]), what, fix)
    return f"{len(case.float_leaves)} parameters" if case.is_tree else "in the value only"


def pathwise(case: Case) -> str:
    """Hold the derivatives of draws in the parameters against differences, or where they have no noise, the score."""
    if not case.has_rsample:
        raise Unseen("has_rsample is False")
    if not case.is_tree or not case.float_leaves:
        raise Unseen("there are no parameters to move")
    spec = getattr(case.d, "noise_spec", None)
    return _by_score(case) if spec is None else _by_noise(case)


def _by_noise(case: Case) -> str:
    fix = "draw by from_noise alone; has_rsample only if all parameters have their derivatives."
    with jax.enable_x64(True):
        wide = case.cast(np.float64)
        leaves, tree = jax.tree.flatten(wide)
        spec = wide.noise_spec
        if spec is None or spec.size == 0:
            raise Unseen("draws are made of no noise")
        noise = draw_noise(case.subkey(3), spec, (20,))
        for place in case.float_leaves:

            def moved(x: Any, place: int = place) -> Any:
                new = [x if i == place else leaf for i, leaf in enumerate(leaves)]
                return jax.tree.unflatten(tree, new).from_noise(noise)

            what = f"derivatives of draws in {case.leaf_name(place)}"
            _against_differences(moved, np.asarray(leaves[place]), what, fix)
    return "against differences under the same noise"


def _by_score(case: Case) -> str:
    """d/dtheta E f(X) from the draws and from the score: E f'(X) dX/dtheta = E f(X) d log p(X)/dtheta."""
    fix = "set has_rsample False (_pathwise), or make draws differentiable in all parameters."
    leaves, tree = jax.tree.flatten(case.d)
    count = min(len(case.draws), 50_000)
    draws = jnp.asarray(case.draws[:count])
    centre, spread = jnp.median(draws, axis=0), jnp.std(draws, axis=0) + 1e-30

    def tested(x: Any) -> Any:
        # Bounded and odd-even mixed, so that location and scale both show, and heavy tails do no harm.
        z = (x - centre) / spread
        f = jnp.tanh(z) + jnp.tanh(z) ** 2
        return jnp.sum(f, axis=tuple(range(f.ndim - len(case.event), f.ndim)))

    for place in case.float_leaves:
        x = jnp.asarray(leaves[place])
        direction = jnp.ones_like(x) * jnp.maximum(jnp.abs(x), 0.1)

        def rebuilt(x: Any, place: int = place) -> Any:
            return jax.tree.unflatten(tree, [x if i == place else leaf for i, leaf in enumerate(leaves)])

        def drawn(x: Any) -> Any:
            return tested(rebuilt(x).sample(case.subkey(4), (count,)))

        path = np.asarray(jax.jvp(drawn, (x,), (direction,))[1], np.float64)
        score = jax.jvp(lambda x: rebuilt(x).log_prob(draws), (x,), (direction,))[1]
        other = np.asarray((tested(draws) - tested(draws).mean(axis=0)) * score, np.float64)
        gap = path.mean(axis=0) - other.mean(axis=0)
        error = np.sqrt((path.var(axis=0) + other.var(axis=0)) / count) + 1e-6
        worst = np.unravel_index(np.argmax(np.abs(gap) / error), np.shape(gap))
        if not (np.abs(gap)[worst] < 6.0 * error[worst]):
            raise Fault(
                f"derivatives of draws in {case.leaf_name(place)}: "
                f"{other.mean(axis=0)[worst]:.4g} ± {error[worst]:.2g} by the score",
                f"{path.mean(axis=0)[worst]:.4g}",
                fix,
            )
    return "against the score"

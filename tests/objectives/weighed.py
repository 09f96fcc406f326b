"""Bounds of K particles by quadrature, written out by hand: what the objectives that weigh particles must give."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from exact_expectations import Expectation

from svijax.density import run_guide, run_model
from svijax.effects import Factor, Sample
from svijax.handlers import substitute, supply


def log_weight(case: Expectation, params: Any, values: Any, noise: Any, keep: Any) -> tuple[Any, Any]:
    """(log w by slice, raw log q of the values) at one point. ``keep``: which dims are slices."""
    key, put_in = jax.random.key(0), {**values, **case.rows}
    guide = supply(case.guide, params)
    guide = substitute(guide, put_in) if put_in else guide
    g = run_guide(guide, case.args, {}, key=key, noise_values=noise)
    m = run_model(supply(case.model, params), case.args, {}, g, key=key)
    total = jnp.zeros(())
    for sign, sites in ((1, m), (-1, g)):
        for site in sites.values():
            if isinstance(site, Sample | Factor):
                value = site.value if isinstance(site, Factor) else site.fn.log_prob(site.value)
                value = jnp.where(True if site.mask is None else site.mask, value, 0.0)
                value = sign * (1.0 if site.scale is None else site.scale) * value
                axes = tuple(a for a in range(-value.ndim, 0) if a not in keep)
                total = total + jnp.sum(value, axis=axes)
    raw = sum(jnp.sum(g[n].fn.log_prob(g[n].value)) for n in values)
    return total, raw


def bound(log_w: Any, alpha: float, scale: float = 1.0) -> Any:
    """−scale Σ_slices 1/(1 − α) log mean_k (w_k^(1/scale))^(1 − α)."""
    power = 1 - alpha
    mean = jax.nn.logsumexp(power * log_w / scale, axis=0) - np.log(log_w.shape[0])
    return -scale * jnp.sum(mean) / power


def expected_bound(
    case: Expectation, params: Any, alpha: float, count: int, keep: Any = (), scale: float = 1.0
) -> Any:
    """E of the loss over independent particles at all nodes: differentiable as it stands."""
    values, noise, weights = case._nodes()
    grid = np.array(list(itertools.product(range(len(weights)), repeat=count)))

    def at(values: Any, noise: Any) -> Any:
        return log_weight(case, params, values, noise, keep)

    log_w, raw = jax.vmap(at)(values, noise)

    def one(index: Any) -> Any:
        weight = jnp.prod(weights[index]) * jnp.exp(jnp.sum((raw + jnp.zeros(len(weights)))[index]))
        return weight * bound(log_w[index], alpha, scale)

    return jnp.sum(jax.vmap(one)(grid))

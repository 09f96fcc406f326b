"""Exact expectations of estimators that run the programs again.

A draw is a step function of one uniform, in every run of the programs. So the expectation over the uniforms is a finite
sum: the cube is cut where a draw changes, in whatever state the draws before it are, and where a coin of DisARM does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_expectations import Expectation, evaluate_at

from svijax.density import run_guide
from svijax.effects import Handler, Sample, Site
from svijax.handlers import substitute, supply
from svijax.objectives._finite import family, log_table
from svijax.objectives._rerun import Place

Params = Mapping[str, Any]

UNIFORMS: dict[str, Any] = {}
"""What ``Place.uniforms`` gives while a test holds them here, by site; else one half."""


@contextmanager
def holding(uniforms: Params) -> Iterator[None]:
    """Estimators take these for uniforms of their own."""
    UNIFORMS.update(uniforms)
    try:
        yield
    finally:
        UNIFORMS.clear()


def _held(place: Place, shape: tuple[int, ...], purpose: str = "") -> Any:
    return UNIFORMS[place.name].reshape(shape) if place.name in UNIFORMS else jnp.full(shape, 0.5)


@pytest.fixture
def given_uniforms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimators take their own uniforms from the test."""
    monkeypatch.setattr(Place, "uniforms", _held)


class by_uniform(Handler):
    """Draws of finitely many values are the quantiles of given uniforms."""

    def __init__(self, fn: Any, uniforms: Params) -> None:
        super().__init__(fn)
        self.uniforms = uniforms

    def process(self, site: Site) -> Site:
        if not isinstance(site, Sample) or site.value is not None or site.name not in self.uniforms:
            return site
        steps = jnp.cumsum(jnp.exp(log_table(site)), axis=0)[:-1]
        chosen = jnp.sum(self.uniforms[site.name] > steps, axis=0)
        if family(site.fn).event_shape:
            return site.having(value=jax.nn.one_hot(chosen, len(steps) + 1, dtype=site.fn.dtype))
        return site.having(value=chosen.astype(site.fn.dtype))


def pieces(case: Expectation, params: Params, coins: tuple[str, ...] = ()) -> tuple[Params, Params, Any]:
    """(uniforms of the draws, uniforms of the estimators at ``coins``, weights): where nothing changes between them."""
    tables = _tables(case, params)
    edges = {(name, False): np.cumsum(table, axis=1)[:, :-1] for name, table in tables.items()}
    for name in coins:
        p = tables[name][:, 1:]
        edges[name, True] = np.concatenate([(2 * p - 1) / p, p / (1 - p)], axis=1)
    cuts = [
        (key, [_cut(e.reshape(len(e), e.shape[1], -1)[:, :, i]) for i in range(e[0, 0].size)])
        for key, e in edges.items()
    ]
    flat = [cut for _, parts in cuts for cut in parts]
    points = np.array(list(itertools.product(*(middles for middles, _ in flat))))
    weights = np.array([np.prod(w) for w in itertools.product(*(lengths for _, lengths in flat))])
    draws, own, start = {}, {}, 0
    for (name, is_coin), parts in cuts:
        values = points[:, start : start + len(parts)].reshape(-1, *edges[name, is_coin].shape[2:])
        (own if is_coin else draws)[name] = jnp.asarray(values)
        start += len(parts)
    return draws, own, jnp.asarray(weights)


def _tables(case: Expectation, params: Params) -> dict[str, np.ndarray]:
    """q of each site (in every state of all draws, values, elements)."""

    def one(values: Params, noise: Params) -> dict[str, Any]:
        guide = substitute(supply(case.guide, params), {**values, **case.rows})
        sites = run_guide(guide, case.args, {}, key=jax.random.key(0), noise_values=noise)
        return {name: jnp.exp(log_table(sites[name])) for name in values}  # type: ignore[arg-type]

    found = jax.jit(jax.vmap(one))(*case._nodes()[:2])
    return {name: np.asarray(x) for name, x in found.items()}


def _cut(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(middles, lengths) of the parts that the edges cut the unit interval into."""
    inside = np.unique(edges[(edges > 0) & (edges < 1)].round(14))
    ends = np.concatenate([[0.0], inside, [1.0]])
    return (ends[1:] + ends[:-1]) / 2, np.diff(ends)


def expected(
    case: Expectation,
    objective: Any,
    params: Params,
    coins: tuple[str, ...] = (),
    derivative: Callable[..., Any] = jax.grad,
    nodes: tuple[Params, Params, Any] | None = None,
) -> tuple[Any, Any, Any]:
    """(E[loss], E[derivative of the loss], E[its square]) over draws and the estimators' own uniforms."""
    draws, own, weights = pieces(case, params, coins) if nodes is None else nodes
    noise = case._nodes()[1]
    first = jax.tree.map(lambda x: x[0], noise)  # programs with noise give nodes that hold it
    particles = objective.count

    def one(draws: Params, own: Params) -> Any:
        guide = by_uniform(case.guide, draws)
        guide = substitute(guide, case.rows) if case.rows else guide

        def loss(p: Params) -> Any:
            return evaluate_at(objective, case.model, guide, p, [({}, first)] * particles, *case.args).loss

        with holding(own):
            return loss(params), derivative(loss)(params)

    def run(draws: Params, own: Params, weights: Any) -> Any:
        loss, found = jax.lax.map(lambda x: one(*x), (draws, own), batch_size=2048)
        mean = lambda x: jnp.tensordot(weights, x, 1)  # noqa: E731
        return mean(loss), jax.tree.map(mean, found), jax.tree.map(lambda x: mean(x**2), found)

    return jax.jit(run)(draws, own, weights)


def wanted(case: Expectation, params: Params, derivative: Callable[..., Any] = jax.grad) -> tuple[Any, Any]:
    """(E[loss], its derivative), by enumeration of the draws."""
    return jax.jit(lambda p: (case.loss(p), derivative(case.loss)(p)))(params)


def assert_exact(
    case: Expectation, objective: Any, params: Params, coins: tuple[str, ...] = (), rtol: float = 1e-9
) -> Any:
    """The expected loss and gradient are those of enumeration; returns the second moments of the gradient."""
    loss, got, square = expected(case, objective, params, coins)
    want_loss, want = wanted(case, params)
    np.testing.assert_allclose(loss, want_loss, rtol=rtol)
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=rtol, atol=rtol)
    return square

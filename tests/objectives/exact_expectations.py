"""Expectations over a guide's draws, computed and not sampled.

Discrete draws are enumerated and put in by ``substitute``, normal noise lies on Gauss-Hermite nodes, minibatches are
listed. So both sides of E[∇ surrogate] = ∇ E[loss] are numbers, and a bias of one per cent is a wrong digit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from svijax import Trace_ELBO
from svijax.density import NoiseLayout, noise_layout
from svijax.effects import Sample
from svijax.handlers import substitute, supply
from svijax.objectives import ParticleObjective, Run


class Nodes(NamedTuple):
    """Points and weights of an expectation: values put in by name, noise by name."""

    values: Mapping[str, Any]
    noise: Mapping[str, Any]
    weight: Any


def enumerated(shapes: Mapping[str, tuple[int, ...]], sizes: int | Mapping[str, int] = 2) -> Nodes:
    """All values of discrete latents of these shapes; they weigh what the guide says."""
    count = {name: sizes if isinstance(sizes, int) else sizes[name] for name in shapes}
    entries = [range(count[n]) for n, shape in shapes.items() for _ in range(int(np.prod(shape)))]
    table = np.array(list(itertools.product(*entries)), np.int32)
    values, start = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        values[name] = table[:, start : start + size].reshape(-1, *shape)
        start += size
    return Nodes(values, {}, np.ones(len(table)))


def gauss_hermite(shapes: Mapping[str, tuple[int, ...]], degree: int = 5) -> Nodes:
    """Nodes of independent standard normals: exact for polynomials of degree 2 degree − 1 in each."""
    points, weights = np.polynomial.hermite_e.hermegauss(degree)
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    grid = np.array(list(itertools.product(points, repeat=sum(sizes))))
    weight = np.array([np.prod(w) for w in itertools.product(weights / weights.sum(), repeat=sum(sizes))])
    noise, start = {}, 0
    for (name, shape), size in zip(shapes.items(), sizes, strict=True):
        noise[name] = grid[:, start : start + size].reshape(-1, *shape)
        start += size
    return Nodes({}, noise, weight)


def product(a: Nodes, b: Nodes) -> Nodes:
    """Every point of one with every point of the other."""
    n, m = len(a.weight), len(b.weight)
    first = lambda x: np.repeat(x, m, axis=0)  # noqa: E731
    second = lambda x: np.tile(x, (n, *(1,) * (x.ndim - 1)))  # noqa: E731
    values = {**{k: first(v) for k, v in a.values.items()}, **{k: second(v) for k, v in b.values.items()}}
    noise = {**{k: first(v) for k, v in a.noise.items()}, **{k: second(v) for k, v in b.noise.items()}}
    return Nodes(values, noise, first(a.weight) * second(b.weight))


Params = Mapping[str, Any]


class Expectation:
    """E over the nodes of a pair of programs; ``args`` go to both. The objective's number of particles is 1."""

    objective: ParticleObjective = Trace_ELBO()

    def __init__(
        self,
        model: Any,
        guide: Any,
        nodes: Nodes,
        *args: Any,
        objective: ParticleObjective | None = None,
    ) -> None:
        self.model, self.guide, self.nodes, self.args = model, guide, nodes, args
        if objective is not None:
            self.objective = objective
        self.rows: Params = {}

    def under(self, objective: ParticleObjective) -> Expectation:
        """The same of another objective."""
        return Expectation(self.model, self.guide, self.nodes, *self.args, objective=objective)

    def at(self, params: Params, values: Params, noise: Params) -> tuple[Any, Any, Any]:
        """(loss with its surrogate, the same without, log q of the values that were put in, raw) at one point."""
        key = jax.random.key(0)
        put_in = {**values, **self.rows}
        guide = substitute(supply(self.guide, params), put_in) if put_in else supply(self.guide, params)
        model, o = supply(self.model, params), self.objective
        nothing = NoiseLayout((), (), ())
        run = Run(model, guide, self.args, {}, {}, nothing, noise, key, key, pathwise=o.pathwise)
        result = o.combine(jax.tree.map(lambda x: jnp.asarray(x)[None], o.one(run)), {})
        g = run.guide_trace()
        plain = sum(jnp.sum(x) for x in result.log_q.values()) - sum(
            jnp.sum(x) for x in result.log_p.values()
        )
        raw = jnp.zeros(())
        for name in values:
            site = g[name]
            assert isinstance(site, Sample)
            raw = raw + jnp.sum(site.fn.log_prob(site.value))
        return result.loss, plain, raw

    def loss(self, params: Params) -> Any:
        """E[loss], to be differentiated as it stands: the weights depend on the parameters."""

        def one(values: Params, noise: Params, weight: Any) -> Any:
            _, plain, raw = self.at(params, values, noise)
            return weight * jnp.exp(raw) * plain

        return jnp.sum(jax.vmap(one)(*self._nodes()))

    def of_derivative(self, params: Params, derivative: Callable[..., Any] = jax.grad) -> Any:
        """E[derivative of one evaluation of the objective]."""

        def one(values: Params, noise: Params, weight: Any) -> Any:
            _, _, raw = self.at(params, values, noise)
            found = derivative(lambda p: self.at(p, values, noise)[0])(params)
            return jax.tree.map(lambda x: weight * jnp.exp(raw) * x, found)

        return jax.tree.map(lambda x: jnp.sum(x, axis=0), jax.vmap(one)(*self._nodes()))

    def _nodes(self) -> Any:
        cast = lambda x: jnp.asarray(x, jnp.result_type(float) if x.dtype.kind == "f" else None)  # noqa: E731
        return jax.tree.map(cast, (dict(self.nodes.values), dict(self.nodes.noise), self.nodes.weight))


def compare(expectation: Expectation, params: Params, *, hessian: bool = False) -> tuple[Any, Any, Any]:
    """(E[loss], E[∇ surrogate], ∇ E[loss]); second derivatives if asked for. One compilation."""
    derivative = jax.hessian if hessian else jax.grad

    def both(p: Params) -> Any:
        return expectation.loss(p), expectation.of_derivative(p, derivative), derivative(expectation.loss)(p)

    return jax.jit(both)(params)


def over_minibatches(
    expectation: Expectation, params: Params, plate: str, size: int, batch: int
) -> tuple[Any, Any]:
    """Mean of (E[loss], E[∇ surrogate]) over all minibatches of a plate."""

    def one(rows: Any) -> Any:
        expectation.rows = {plate: rows}
        return expectation.loss(params), expectation.of_derivative(params)

    rows = np.array(list(itertools.combinations(range(size), batch)))
    return jax.tree.map(lambda x: jnp.mean(x, axis=0), jax.jit(jax.vmap(one))(rows))


def assert_unbiased(
    expectation: Expectation, params: Params, *, rtol: float = 1e-9, hessian: bool = False
) -> Any:
    """E[∇ surrogate] = ∇ E[loss]; returns (E[loss], the gradient)."""
    loss, got, want = compare(expectation, params, hessian=hessian)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    return loss, got


def evaluate_at(
    objective: Any,
    model: Any,
    guide: Any,
    params: Params,
    points: list[tuple[Params, Params]],
    *args: Any,
    mutable: Params | None = None,
    step: Any = 0,
) -> Any:
    """The evaluation of an objective whose particles are at these points: (values put in, noise), each by name."""
    key = jax.random.key(0)
    bound = supply(model, params), supply(guide, params)
    found = []
    for values, noise in points:
        one_guide = substitute(bound[1], dict(values)) if values else bound[1]
        layout = noise_layout(one_guide, args, {})
        run = Run(
            bound[0], one_guide, args, {}, mutable or {}, layout, noise, key, key, step, objective.pathwise
        )
        found.append(objective.one(run))
    particles = jax.tree.map(lambda *x: jnp.stack([jnp.asarray(y) for y in x]), *found)
    return objective.combine(particles, mutable or {})


def expected_derivative(
    objective: Any, case: Expectation, params: Params, derivative: Callable[..., Any] = jax.grad
) -> tuple[Any, Any]:
    """(E[loss], E[derivative of the loss]) over independent particles, as many as the objective has, at all nodes."""
    values, noise, weights = case._nodes()
    count = objective.count
    grid = np.array(list(itertools.product(range(len(weights)), repeat=count)))

    def one(index: Any) -> Any:
        points = [
            jax.tree.map(lambda x: x[index[k]], (values, noise))  # noqa: B023
            for k in range(count)
        ]
        raw = sum(case.at(params, *point)[2] for point in points)
        weight = jnp.prod(weights[index]) * jnp.exp(raw)
        loss = lambda p: evaluate_at(objective, case.model, case.guide, p, points, *case.args).loss  # noqa: E731
        return jax.tree.map(lambda x: weight * x, (loss(params), derivative(loss)(params)))

    return jax.tree.map(lambda x: jnp.sum(x, axis=0), jax.jit(jax.vmap(one))(grid))

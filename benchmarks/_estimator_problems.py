"""The fixed problems whose gradients ``benchmarks.estimators`` measures, and the estimators that apply to each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import svijax
import svijax.distributions as dist
from svijax import Trace_ELBO
from svijax.density import Antithetic, Sobol
from svijax.handlers import estimator
from svijax.objectives import (
    ClosedFormEntropy,
    DisARM,
    DReG,
    Enumerate,
    ImportanceWeightedELBO,
    Learned,
    LeaveOneOut,
    MeasureValued,
    NoBaseline,
    PathDerivative,
    Rebar,
    Relax,
    RunningMean,
    ScoreFunction,
)

sample, plate, param = svijax.sample, svijax.plate, svijax.param

OWN = "own_"
"""How the names of parameters begin that belong to an estimator, and not to the guide."""

Inner = Callable[..., Any]
"""What makes an estimator out of the arguments that a guide hands it: draws before, data."""


@dataclass(frozen=True)
class Contender:
    """An estimator. ``at_site``: set in the guide, with parameters of its own, from what the guide hands it."""

    label: str
    objective: Any
    at_site: Inner | None = None


@dataclass(frozen=True)
class Problem:
    """A pair of programs. ``fit``: steps before the second look; ``plain``: what variances are compared with.

    ``guide(at_site)``: the guide, with an estimator of its own at the discrete site.
    """

    name: str
    model: Callable[..., Any]
    guide: Callable[[Inner | None], Callable[..., Any]]
    args: tuple[Any, ...]
    contenders: tuple[Contender, ...]
    reference: Any
    plain: str
    fit: int = 300
    rate: float = 0.05
    samples: int = 20_000
    start: dict[str, Any] = field(default_factory=dict)


def _around(at_site: Inner | None, *inputs: Any) -> Any:
    return nullcontext() if at_site is None else estimator(estimator=at_site(*inputs))


# One layer of coins behind images


def _layer_model(x: Any) -> None:
    rng = np.random.default_rng(0)
    weights = param("decoder", jnp.asarray(rng.normal(size=(6, 16)), jnp.result_type(float)))
    with plate("images", x.shape[0]):
        z = sample("z", dist.Bernoulli(0.5).expand([6]).to_event(1))
        sample("x", dist.Bernoulli(logits=z @ weights - 0.5 * weights.sum(0)).to_event(1), obs=x)


def _layer_guide(at_site: Inner | None) -> Callable[..., Any]:
    def guide(x: Any) -> None:
        rng = np.random.default_rng(1)
        weights = param("encoder", jnp.asarray(0.3 * rng.normal(size=(16, 6)), jnp.result_type(float)))
        with plate("images", x.shape[0]), _around(at_site, x):
            sample("z", dist.Bernoulli(logits=(x - 0.5) @ weights).to_event(1))

    return guide


def _images() -> jax.Array:
    """Eight images of two overlapping patterns each."""
    rng = np.random.default_rng(2)
    parts = rng.random((6, 16)) < 0.3
    chosen = rng.random((8, 6)) < 0.4
    return jnp.asarray(((chosen @ parts) > 0) ^ (rng.random((8, 16)) < 0.05), jnp.result_type(float))


def _learned(x: Any) -> Any:
    weights, bias = param(OWN + "w", jnp.zeros(16)), param(OWN + "b", jnp.zeros(()))
    return ScoreFunction(Learned(lambda x: (x - 0.5) @ weights + bias, x))


def _rebar(x: Any) -> Any:
    temperature = param(OWN + "temperature", 0.5, constraint=dist.constraints.positive)
    return Rebar(temperature, param(OWN + "scale", 0.5))


def _relax(x: Any) -> Any:
    rng = np.random.default_rng(3)
    first = param(OWN + "first", jnp.asarray(0.2 * rng.normal(size=(22, 16)), jnp.result_type(float)))
    last = param(OWN + "last", jnp.asarray(0.2 * rng.normal(size=16), jnp.result_type(float)))
    temperature = param(OWN + "temperature", 0.5, constraint=dist.constraints.positive)

    def control(z: Any, x: Any) -> Any:
        return jnp.tanh(jnp.concatenate([jnp.tanh(z), x], axis=-1) @ first) @ last

    return Relax(control, x, temperature=temperature)


_SCORES = (
    Contender("score, no baseline (2)", Trace_ELBO(2, estimator=ScoreFunction(NoBaseline()))),
    Contender("score, running mean (2)", Trace_ELBO(2, estimator=ScoreFunction(RunningMean()))),
    Contender("score, leave one out (2)", Trace_ELBO(2, estimator=ScoreFunction(LeaveOneOut()))),
)

LAYER = Problem(
    "bernoulli layer",
    _layer_model,
    _layer_guide,
    (_images(),),
    (
        *_SCORES,
        Contender("score, learned (2)", Trace_ELBO(2), _learned),
        Contender("DisARM (1)", Trace_ELBO(estimator=DisARM())),
        Contender("MeasureValued (1)", Trace_ELBO(estimator=MeasureValued())),
        Contender("Rebar (1)", Trace_ELBO(estimator=Rebar())),
        Contender("Rebar, learned (1)", Trace_ELBO(), _rebar),
        Contender("Relax (1)", Trace_ELBO(), _relax),
    ),
    Trace_ELBO(32),
    "score, no baseline (2)",
)


# Counts behind counts


def _counts_model(y: Any) -> None:
    with plate("days", y.shape[0]):
        z = sample("z", dist.Poisson(5.0))
        sample("y", dist.Poisson(0.8 * z + 0.2), obs=y)


def _counts_guide(at_site: Inner | None) -> Callable[..., Any]:
    def guide(y: Any) -> None:
        with plate("days", y.shape[0]), _around(at_site, y):
            sample("z", dist.Poisson(jnp.exp(param("log_rate", jnp.full(y.shape[0], 1.2)))))

    return guide


def _count_learned(y: Any) -> Any:
    slope, bias = param(OWN + "slope", 0.0), param(OWN + "bias", 0.0)
    return ScoreFunction(Learned(lambda y: slope * y + bias, y))


COUNTS = Problem(
    "poisson counts",
    _counts_model,
    _counts_guide,
    (jnp.array([3, 5, 2, 9, 4, 0, 7, 4]),),
    (*_SCORES, Contender("score, learned (2)", Trace_ELBO(2), _count_learned)),
    Trace_ELBO(32),
    "score, no baseline (2)",
)


# Components of a mixture, and where they are


def _mixture_model(x: Any) -> None:
    with plate("components", 3):
        loc = sample("loc", dist.Normal(0.0, 3.0))
    with plate("points", x.shape[0]):
        k = sample("k", dist.Categorical(probs=jnp.array([0.3, 0.4, 0.3])))
        sample("x", dist.Normal(loc[k], 1.0), obs=x)


def _mixture_guide(at_site: Inner | None) -> Callable[..., Any]:
    def guide(x: Any) -> None:
        scale = param("loc_scale", jnp.full(3, 0.5), constraint=dist.constraints.positive)
        with plate("components", 3):
            sample("loc", dist.Normal(param("loc_loc", jnp.array([-1.0, 0.0, 1.0])), scale))
        with plate("points", x.shape[0]), _around(at_site, x):
            sample("k", dist.Categorical(logits=param("logits", jnp.zeros((x.shape[0], 3)))))

    return guide


MIXTURE = Problem(
    "categorical mixture",
    _mixture_model,
    _mixture_guide,
    (jnp.array([-3.1, -2.4, -2.9, -0.4, 0.3, 0.1, 0.6, 2.2, 2.9, 3.4, 3.1, 1.4]),),
    (
        *_SCORES,
        Contender("MeasureValued (1)", Trace_ELBO(estimator=MeasureValued())),
        Contender("Enumerate (1)", Trace_ELBO(estimator=Enumerate())),
    ),
    Trace_ELBO(32, estimator=Enumerate()),
    "score, no baseline (2)",
)


# The importance-weighted toy


def _toy_model() -> None:
    z = sample("z", dist.Normal(0.0, 1.0))
    sample("x", dist.Normal(z, 1.0), obs=2.0)


def _toy_guide(at_site: Inner | None) -> Callable[..., Any]:
    def guide() -> None:
        loc, log_scale = param("loc", 0.0), param("log_scale", 0.0)
        sample("z", dist.Normal(loc, jnp.exp(log_scale)))

    return guide


TOY = Problem(
    "importance weights, K = 8",
    _toy_model,
    _toy_guide,
    (),
    (
        Contender("plain", ImportanceWeightedELBO(8)),
        Contender("DReG", ImportanceWeightedELBO(8, estimator=DReG())),
    ),
    ImportanceWeightedELBO(8, estimator=DReG()),
    "plain",
    fit=0,
    samples=200_000,
)


# A guide that is the posterior


def _landing_model(y: Any) -> None:
    mu = sample("mu", dist.Normal(0.0, 1.0))
    with plate("data", y.shape[0]):
        sample("y", dist.Normal(mu, 1.0), obs=y)


def _landing_guide(at_site: Inner | None) -> Callable[..., Any]:
    def guide(y: Any) -> None:
        n = y.shape[0]
        scale = param("scale", (n + 1.0) ** -0.5, constraint=dist.constraints.positive)
        sample("mu", dist.Normal(param("loc", y.sum() / (n + 1.0)), scale))

    return guide


LANDING = Problem(
    "exact guide",
    _landing_model,
    _landing_guide,
    (jnp.array([0.3, -0.2, 1.5, 2.0, 0.7]),),
    (
        Contender("pathwise (2)", Trace_ELBO(2)),
        Contender("closed-form entropy (2)", Trace_ELBO(2, estimator=ClosedFormEntropy())),
        Contender("antithetic (2)", Trace_ELBO(2, noise=Antithetic())),
        Contender("Sobol (2)", Trace_ELBO(2, noise=Sobol())),
        Contender("sticking the landing (2)", Trace_ELBO(2, estimator=PathDerivative())),
    ),
    Trace_ELBO(2, estimator=PathDerivative()),
    "pathwise (2)",
    fit=0,
)

PROBLEMS = (LAYER, COUNTS, MIXTURE, TOY, LANDING)

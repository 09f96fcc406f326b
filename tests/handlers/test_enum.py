"""Runs that enumerate: dims and their owners, and draws of what was enumerated from its posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import svijax
import svijax.distributions as dist
from svijax import SVI, TraceEnum_ELBO, infer_discrete, markov
from svijax.base import ArgumentError, MissingKeyError, ModelError
from svijax.effects import Handler, MarkovStep
from svijax.guides import AutoDiagonalNormal, AutoNormal
from svijax.handlers import Standing, condition, config_enumerate, enum, seed, substitute, trace


def test_config_enumerate_marks_latents_with_finitely_many_values():
    @config_enumerate
    def model():
        svijax.sample("a", dist.Bernoulli(0.3))
        svijax.sample("b", dist.Poisson(1.0))
        svijax.sample("c", dist.Bernoulli(0.3), obs=1)
        svijax.sample("d", dist.Bernoulli(0.3), infer={"enumerate": None})
        svijax.sample("e", dist.Categorical(jnp.ones(3) / 3), infer={"other": 1})

    sites = trace(seed(model, 0)).get_trace()
    marks = {name: site.infer.get("enumerate", "-") for name, site in sites.items()}
    assert marks == {"a": "parallel", "b": "-", "c": "-", "d": None, "e": "parallel"}
    assert sites["e"].infer["other"] == 1
    expanded = config_enumerate(expand=True)(model.fn)
    assert trace(seed(expanded, 0)).get_trace()["a"].infer["expand"]
    with pytest.raises(ArgumentError, match="no such way to enumerate"):
        config_enumerate(model, "sequential")


def dims_of(program, nesting=0):
    """The dims that enumerated sites get, by name."""
    standing = Standing(nesting, {})
    return {
        n: s.enumeration.dim for n, s in trace(_shapes_unknown(enum(program, standing))).get_trace().items()
    }


def _shapes_unknown(handler):
    handler.standing = Standing(handler.standing.nesting, _Any())
    return handler


class _Any(dict):
    def get(self, key, default=None):
        return default

    def __missing__(self, key):
        return ((), ())


@pytest.mark.parametrize(("history", "most"), [(0, 2), (1, 3), (2, 4)])
def test_dims_of_a_chain_are_used_again(history, most):
    def model():
        for t in markov(range(9), history=history):
            svijax.sample(f"x{t}", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})

    dims = dims_of(model, nesting=2)
    assert max(dims.values()) == -3 and len(set(dims.values())) == most
    for t in range(
        9
    ):  # those that can be read together, and the one that just cannot be read any more, differ
        assert len({dims[f"x{u}"] for u in range(max(0, t - history - 1), t + 1)}) == min(t, history + 1) + 1


def test_dims_after_and_around_a_loop():
    def model():
        svijax.sample("before", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
        for t in markov(range(5)):
            svijax.sample(f"x{t}", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
        svijax.sample("after", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})

    dims = dims_of(model)
    assert dims["before"] == -1 and all(dims[f"x{t}"] != -1 for t in range(5))
    assert dims["after"] not in (dims["before"], dims["x4"])


def test_functions_are_steps_too():
    @markov(history=1)
    def step(t):
        svijax.sample(f"x{t}", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})

    assert len(set(dims_of(lambda: [step(t) for t in range(8)]).values())) == 3


def test_markov_arguments():
    seen = []

    class watch(Handler):
        def process(self, site):
            seen.append((site.history, site.ends))
            return site

    with watch():
        assert list(markov(iter("ab"), history=2)) == ["a", "b"]
    assert seen == [(2, False), (2, False), (2, True)] and MarkovStep
    with pytest.raises(ArgumentError, match="history must be an int of at least 0"):
        markov(range(3), history=-1)
    with pytest.raises(ArgumentError, match="markov takes an iterable or a function"):
        markov(3)


DATA = np.array([[0.3, -1.2], [1.5, 0.1]])


@config_enumerate
def nested():
    g = svijax.sample("g", dist.Bernoulli(0.4))
    with svijax.plate("A", 2, dim=-2):
        a = svijax.sample("a", dist.Categorical(jnp.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])[g]))
        with svijax.plate("B", 2, dim=-1):
            b = svijax.sample("b", dist.Bernoulli(0.2 + 0.25 * a))
            svijax.sample("y", dist.Normal(b + 0.5 * g, 1.0), obs=DATA)


def test_joint_posterior_draws():
    """Every joint outcome as often as its exact probability says, by a chi-square."""
    names, shapes = ("g", "a", "b"), {"g": (), "a": (2, 1), "b": (2, 2)}
    grid = (
        np.array(np.meshgrid(*[range(2)], *[range(3)] * 2, *[range(2)] * 4, indexing="ij")).reshape(7, -1).T
    )
    values = {"g": grid[:, 0], "a": grid[:, 1:3].reshape(-1, 2, 1), "b": grid[:, 3:].reshape(-1, 2, 2)}

    def log_joint(v):
        sites = trace(substitute(nested, v)).get_trace()
        return sum(jnp.sum(s.fn.log_prob(s.value)) for s in sites.values() if hasattr(s, "fn"))

    probs = np.asarray(jax.nn.softmax(jax.jit(jax.vmap(log_joint))(jax.tree.map(jnp.asarray, values))), float)

    def draw(key):
        sites = trace(infer_discrete(nested, rng_key=key)).get_trace()
        assert {n: sites[n].value.shape for n in names} == shapes
        return jnp.concatenate([jnp.ravel(sites[n].value) for n in names])

    count = 40_000
    draws = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), count)))
    place = {tuple(row): i for i, row in enumerate(grid)}
    counts = np.bincount([place[tuple(row)] for row in draws], minlength=len(grid))
    expected = count * probs
    big = expected >= 5
    chi2 = (
        np.sum((counts - expected)[big] ** 2 / expected[big])
        + (counts - expected)[~big].sum() ** 2 / expected[~big].sum()
    )
    assert chi2 < big.sum() + 4 * np.sqrt(2 * big.sum())
    best = trace(infer_discrete(nested, temperature=0)).get_trace()
    found = np.concatenate([np.ravel(best[n].value) for n in names])
    assert place[tuple(found)] == int(np.argmax(probs))


def test_values_from_handlers_inside_and_outside():
    @config_enumerate
    def model():
        m = svijax.sample("m", dist.Normal(0.0, 1.0))
        z = svijax.sample("z", dist.Bernoulli(0.5))
        svijax.sample("y", dist.Normal(m * z, 0.1), obs=3.0)

    inside = infer_discrete(substitute(model, {"m": 3.0}), temperature=0)
    outside = substitute(infer_discrete(model, temperature=0), {"m": 3.0})
    for program in (inside, outside, seed(infer_discrete(substitute(model, {"m": 3.0})), 0)):
        assert trace(program).get_trace()["z"].value == 1
    assert trace(substitute(infer_discrete(model, temperature=0), {"m": -3.0})).get_trace()["z"].value == 0
    fixed = trace(
        infer_discrete(condition(substitute(model, {"m": 3.0}), {"z": 0}), temperature=0)
    ).get_trace()
    assert fixed["z"].value == 0 and fixed["z"].observed
    drawn = trace(seed(infer_discrete(model), 7)).get_trace()
    assert drawn["m"].value == trace(seed(model, 7)).get_trace()["m"].value


def test_errors():
    with pytest.raises(
        MissingKeyError, match="infer_discrete draws the enumerated sites and has no random key"
    ):
        infer_discrete(nested)()
    with pytest.raises(ModelError, match="temperature is neither 0 nor 1"):
        infer_discrete(nested, temperature=0.5)
    with svijax.plate("N", 3), pytest.raises(ModelError, match="called inside a plate"):
        infer_discrete(nested, temperature=0)()


@pytest.mark.parametrize("kind", [AutoNormal, AutoDiagonalNormal])
def test_autoguides_leave_enumerated_sites_out(kind):
    """A latent whose prior reads the enumerated one is among the guide's."""

    @config_enumerate
    def model():
        with svijax.plate("N", 2):
            z = svijax.sample("z", dist.Categorical(jnp.array([0.2, 0.8])))
            x = svijax.sample("x", dist.Normal(jnp.array([-2.0, 2.0])[z], 1.0))
            svijax.sample("y", dist.Normal(x, 1.0), obs=DATA[0])

    guide = kind(model)
    sites = trace(seed(guide, 0)).get_trace()
    assert "x" in sites and "z" not in sites
    svi = SVI(model, guide, optax.adam(0.1), TraceEnum_ELBO())
    state = svi.init(jax.random.key(0))
    assert np.isfinite(svi.evaluate(state))
    with pytest.raises(ModelError, match="'z' is marked to be enumerated, which this objective does not do"):
        SVI(model, guide, optax.adam(0.1)).init(jax.random.key(0))


def test_start_where_a_value_is_impossible():
    """The draw of the prior at ``init`` has density 0 there; the sum over all values has not."""

    @config_enumerate
    def model():
        z = svijax.sample("z", dist.Categorical(jnp.array([0.999, 0.001])))
        p = svijax.param("p", 0.3)
        svijax.sample("y", dist.Categorical(jnp.array([[1.0, 0.0, 0.0], [0.0, p, 1 - p]])[z]), obs=1)

    svi = SVI(model, lambda: None, optax.adam(0.01), TraceEnum_ELBO())
    fit = svi.run(jax.random.key(0), 3, progress_bar=False)
    np.testing.assert_allclose(fit.losses[0], -np.log(0.001 * 0.3), rtol=1e-5)


def test_several_draws_of_a_site_are_not_enumerated() -> None:
    def model() -> None:
        svijax.sample("z", dist.Bernoulli(0.3), infer={"enumerate": "parallel", "num_samples": 10})

    with pytest.raises(ModelError) as error:
        svijax.TraceEnum_ELBO().loss(jax.random.key(0), {}, model, lambda: None)
    assert "site 'z': several draws of one site are not enumerated." in str(error.value)
    assert "num_samples=10" in str(error.value) and "raise num_particles" in str(error.value)


def test_data_that_were_taken_away():
    @config_enumerate
    def model(y):
        z = svijax.sample("z", dist.Bernoulli(0.3))
        svijax.sample("y", dist.Normal(4.0 * z, 1.0), obs=y)

    predictive = svijax.Predictive(infer_discrete(model), num_samples=3)
    with pytest.raises(ModelError) as error:
        predictive(jax.random.key(0), 4.0)
    text = str(error.value)
    assert "site 'y': without its data infer_discrete would draw from the prior." in text
    assert "fit.posterior.sample(deterministic=True)" in text

"""``cond``: one site for both branches, with the law of the branch that is taken."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax
import svijax.distributions as dist
from svijax.base import ModelError, ShapeError
from svijax.density import log_density
from svijax.handlers import (
    condition,
    do,
    mask,
    noise,
    replay,
    scale,
    seed,
    substitute,
    trace,
    uncondition,
)

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(5)
Normal, sample = dist.Normal, svijax.sample
Y = np.array([0.4, -0.3, 1.2])


def branches(y: Any = None) -> tuple[Any, Any]:
    def one(z: Any) -> Any:
        x = sample("x", Normal(z, 1.0))
        with mask(mask=np.array([True, False, True])):
            sample("y", Normal(x, 0.5), obs=y)
        svijax.factor("f", 0.3 * x)
        return svijax.deterministic("d", x + 1.0)

    def other(z: Any) -> Any:
        rate = svijax.param("rate", 2.0)
        x = sample("x", Normal(rate * z, 2.0))
        with scale(scale=3.0):
            sample("y", Normal(-x, 1.5), obs=None if y is None else 2.0 * y)
        svijax.factor("f", 0.0)
        return svijax.deterministic("d", 2.0 * x)

    return one, other


def model(pred: Any, y: Any = None) -> Any:
    z = sample("z", Normal(0.5, 1.0))
    with svijax.plate("N", 3):
        return svijax.cond(pred, *branches(y), z)


def alone(pred: bool, y: Any = None) -> Any:
    """The branch that is taken, as the program."""
    z = sample("z", Normal(0.5, 1.0))
    with svijax.plate("N", 3):
        return branches(y)[0 if pred else 1](z)


def sites_of(fn: Any, *args: Any) -> Any:
    return trace(seed(fn, KEY)).get_trace(*args)


def density(fn: Any, values: Any, *args: Any) -> Any:
    return log_density(trace(substitute(fn, values)).get_trace(*args))


@pytest.mark.parametrize("pred", [True, False])
def test_densities_and_gradients_are_those_of_the_branch(pred: bool) -> None:
    values = {"z": jnp.array(0.7), "x": jnp.array([0.2, -1.0, 0.5])}
    want = jax.value_and_grad(lambda v: sum(density(alone, v, pred, Y).values()))(values)
    for chosen in (pred, jnp.array(pred)):
        got = jax.value_and_grad(lambda v, p=chosen: sum(density(model, v, p, Y).values()))(values)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), got, want)
    traced = jax.jit(lambda p: density(model, values, p, Y))(pred)
    for name, value in density(alone, values, pred, Y).items():
        np.testing.assert_allclose(traced[name], value, rtol=1e-12)
    both = jax.vmap(lambda p: density(model, values, p, Y)["y"])(jnp.array([True, False]))
    np.testing.assert_allclose(both[0 if pred else 1], density(alone, values, pred, Y)["y"], rtol=1e-12)


@pytest.mark.parametrize("pred", [True, False])
def test_records_and_draws(pred: bool) -> None:
    out: list[Any] = []
    sites, want = sites_of(lambda: out.append(model(pred, Y))), sites_of(alone, pred, Y)
    assert list(sites) == ["z", "N", "rate", "x", "y", "f", "d"]
    for name in ("x", "y", "f", "d"):
        np.testing.assert_allclose(sites[name].value, want[name].value, rtol=1e-12)
    np.testing.assert_allclose(out[0], want["d"].value)
    x, y = sites["x"], sites["y"]
    assert type(x.fn) is Normal and x.fn.batch_shape == (3,) and x.latent and y.observed and not x.ahead
    assert [(f.name, f.dim) for f in x.plates] == [("N", -1)] and x.mask is None and x.scale is None
    np.testing.assert_array_equal(y.mask, [True, not pred, True])
    np.testing.assert_array_equal(y.scale, [1.0 if pred else 3.0] * 3)


def test_handlers_act_once() -> None:
    x = np.array([0.2, -1.0, 0.5])
    for handler in (substitute, condition, do):
        sites = sites_of(handler(model, {"x": x}), False, Y)
        np.testing.assert_array_equal(sites["y"].fn.loc, -x)
        np.testing.assert_array_equal(sites["d"].value, 2 * x)
        assert sites["x"].observed == (handler is condition)
    assert np.abs(sites["x"].value - x).min() > 0  # under do the node itself is drawn
    weight = np.array([2.0, 1.0, 0.5])

    def weighed() -> None:
        with svijax.plate("N", 3), scale(scale=weight), mask(mask=np.array([True, True, False])):
            svijax.cond(False, *branches(Y), sample("z", Normal(0.5, 1.0), obs=np.zeros(3)))

    site = sites_of(weighed)["y"]
    got = log_density({"y": site})["y"]
    assert site.shape == (3,)
    each = site.fn.log_prob(site.value) * 3.0 * weight * np.array([1, 1, 0])
    np.testing.assert_allclose(got, np.sum(each), rtol=1e-12)
    again = trace(replay(model, trace=sites_of(model, True))).get_trace(False, Y)
    np.testing.assert_array_equal(again["x"].value, sites_of(model, True)["x"].value)
    e = {"z": np.array(0.1), "x": np.array([1.0, -1.0, 0.5])}
    drawn = trace(noise(model, e)).get_trace(False, Y)["x"]
    np.testing.assert_allclose(drawn.value, 2.0 * 0.6 + 2.0 * e["x"], rtol=1e-12)
    np.testing.assert_allclose(drawn.log_prob, drawn.fn.log_prob(drawn.value), rtol=1e-12)
    free = sites_of(uncondition(model), False, Y)["y"]
    np.testing.assert_array_equal(free.infer["obs"], 2.0 * Y)
    assert not free.observed and np.abs(free.value - 2 * Y).min() > 0


def test_numbers_of_several_dtypes_and_nested_choices() -> None:
    def inner(p: Any) -> Any:
        one = lambda _: sample("x", Normal(0, 1))  # noqa: E731
        other = lambda _: sample("x", Normal(jnp.float64(2.0), jnp.float64(1.0)))  # noqa: E731
        return svijax.cond(p, one, other)

    def outer(p: Any, q: Any) -> Any:
        return svijax.cond(p, lambda _: inner(q), lambda _: inner(~q))

    for p, q in ((True, True), (True, False), (False, True), (False, False)):
        site = trace(substitute(outer, {"x": jnp.array(0.3)})).get_trace(jnp.array(p), jnp.array(q))["x"]
        want = 0.0 if p == q else 2.0
        np.testing.assert_allclose(site.fn.loc, want)


def test_in_a_scan_the_choice_is_of_the_step() -> None:
    def program(z: Any) -> Any:
        def step(c: Any, x: Any) -> Any:
            new = svijax.cond(
                x > 0, lambda c: sample("s", Normal(c, 1.0)), lambda c: sample("s", Normal(-c, 2.0)), c
            )
            return new, new

        return svijax.scan(step, 1.0, z)

    xs = jnp.array([1.0, -1.0, 1.0])
    sites = sites_of(program, xs)
    before = jnp.concatenate([jnp.ones(1), sites["s"].value[:-1]])
    np.testing.assert_allclose(sites["s"].fn.loc, xs * before)
    np.testing.assert_allclose(sites["s"].fn.scale, [1.0, 2.0, 1.0])


@pytest.mark.parametrize("pred", [True, False])
def test_a_scan_in_a_branch(pred: bool) -> None:
    def program(pred: Any, y: Any) -> None:
        def loop(rate: float) -> Any:
            def step(c: Any, y_t: Any) -> Any:
                c = sample("x", Normal(rate * c, 1.0))
                sample("y", Normal(c, rate), obs=y_t)
                return c, None

            return lambda first: svijax.scan(step, first, y)[0]

        with svijax.plate("N", 3, 2):
            last = svijax.cond(pred, loop(0.5), loop(2.0), jnp.ones(2))
            svijax.deterministic("last", last)

    y = np.arange(8.0).reshape(4, 2)
    sites = sites_of(program, jnp.array(pred), y)
    x, rate = sites["x"], 0.5 if pred else 2.0
    assert [s.length for s in x.steps] == [4] and x.scale == 1.5 and x.fn.batch_shape == (4, 2)
    before = jnp.concatenate([jnp.ones((1, 2)), x.value[:-1]])
    np.testing.assert_allclose(x.fn.loc, rate * before)
    np.testing.assert_allclose(sites["last"].value, x.value[-1])
    want = 1.5 * np.sum(Normal(x.value, rate).log_prob(y))
    np.testing.assert_allclose(log_density(sites)["y"], want, rtol=1e-12)


def test_keys_inside() -> None:
    draw = lambda _: (sample("x", Normal()), jax.random.normal(svijax.prng_key()))  # noqa: E731
    with seed(rng_seed=0), trace() as sites:
        x, other = svijax.cond(jnp.array(False), draw, draw, None)
    np.testing.assert_array_equal(x, sites["x"].value)
    np.testing.assert_array_equal(x, sites_of_plain()["x"].value)
    assert x != other


def sites_of_plain() -> Any:
    """A site inside is drawn with the key that it would have outside."""
    with seed(rng_seed=0), trace() as sites:
        sample("x", Normal())
    return sites


def test_transformations() -> None:
    def total(key: Any, pred: Any) -> Any:
        return sum(log_density(trace(seed(model, key)).get_trace(pred, Y)).values())

    keys = jax.random.split(KEY, 2)
    with jax.checking_leaks():
        rows = jax.vmap(total)(keys, jnp.array([True, False]))
        one = jax.jit(total)(jax.random.key_data(keys[1]), False)
    np.testing.assert_allclose(one, rows[1], rtol=1e-12)
    with jax.enable_x64(False):
        site = sites_of(model, True, Y.astype(np.float32))["y"]
        assert site.value.dtype == site.fn.loc.dtype == site.scale.dtype == jnp.float32


def choice(one: Any, other: Any, pred: Any = True) -> Any:
    return lambda: svijax.cond(pred, lambda _: one(), lambda _: other(), None)


def of(name: str, fn: Any, **kwargs: Any) -> Any:
    return lambda: sample(name, fn, **kwargs)


def in_plate() -> Any:
    with svijax.plate("N", 2):
        return jnp.sum(sample("x", Normal()))


N = Normal()
ERRORS = {
    "missing in false": (choice(of("x", N), lambda: 0.0), r"site 'x' is stated by true_fun only"),
    "missing in true": (choice(lambda: 0.0, of("x", N)), r"site 'x' is stated by false_fun only"),
    "order": (
        choice(lambda: [of("x", N)(), of("w", N)()], lambda: [of("w", N)(), of("x", N)()]),
        r"stated in two orders",
    ),
    "class": (
        choice(of("x", N), of("x", dist.Laplace())),
        r"two classes[\s\S]*true_fun: Normal[\s\S]*false_fun: Laplace",
    ),
    "shape": (
        choice(of("x", N.expand([2])), of("x", N.expand([2]).to_event(1))),
        r"two classes",
    ),
    "batch": (
        choice(of("x", N.expand([2])), of("x", N.expand([3]))),
        r"two shapes[\s\S]*batch \(2,\)[\s\S]*batch \(3,\)",
    ),
    "parameters": (
        choice(of("x", dist.Bernoulli(0.3)), of("x", dist.Bernoulli(logits=0.3))),
        r"holds its parameters in two ways[\s\S]*probs[\s\S]*logits",
    ),
    "observed": (choice(of("x", N), of("x", N, obs=0.0)), r"is observed in one branch only"),
    "kind": (choice(of("x", N), lambda: svijax.factor("x", 1.0)), r"is of two kinds"),
    "plates": (choice(in_plate, of("x", N.expand([2]))), r"different plates"),
    "mutable": (
        choice(lambda: svijax.mutable("m", {"a": 1.0}), lambda: 0.0),
        r"mutable 'm' is stated inside svijax.cond",
    ),
    "twice": (choice(lambda: [of("x", N)(), of("x", N)()], of("x", N)), r"two sites are named 'x'"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    program, text = ERRORS[name]
    with pytest.raises(ModelError, match=text):
        sites_of(program)


def test_one_boolean_is_needed() -> None:
    with pytest.raises(ShapeError, match=r"pred is one boolean[\s\S]*jnp.where"):
        sites_of(choice(of("x", N), of("x", N), np.array([True, False])))

"""``scan``: its sites are those of the unrolled program, under every handler, in plates, nested."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax
import svijax.distributions as dist
from svijax import handlers
from svijax.base import ArgumentError, MissingKeyError, ModelError, ShapeError, UnknownNameError, site_key
from svijax.density import log_density
from svijax.effects import Handler, Sample
from svijax.handlers import (
    block,
    condition,
    do,
    infer_config,
    lift,
    mask,
    noise,
    replay,
    scale,
    scope,
    seed,
    substitute,
    trace,
    uncondition,
)

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(3)
T = 4
Y = np.array([0.3, -1.2, 0.8, 0.1])
Normal, sample = dist.Normal, svijax.sample


def walk(y: Any = None, reverse: bool = False, length: int | None = T) -> Any:
    def step(x: Any, y_t: Any) -> Any:
        decay = svijax.param("decay", 0.9)
        x = sample("x", Normal(decay * x, 0.7))
        twice = svijax.deterministic("twice", 2.0 * x)
        svijax.factor("pull", -0.1 * x**2)
        sample("y", Normal(twice, 0.5), obs=y_t)
        return x, x + 1.0

    first = sample("first", Normal(0.0, 1.0))
    return svijax.scan(step, first, y, length=length, reverse=reverse)


def unrolled(y: Any = None, reverse: bool = False) -> Any:
    x, decay = sample("first", Normal(0.0, 1.0)), svijax.param("decay", 0.9)
    for t in reversed(range(T)) if reverse else range(T):
        x = sample(f"x_{t}", Normal(decay * x, 0.7))
        svijax.factor(f"pull_{t}", -0.1 * x**2)
        sample(f"y_{t}", Normal(2.0 * x, 0.5), obs=None if y is None else y[t])


def sites_of(fn: Any, *args: Any, **kwargs: Any) -> Any:
    return trace(seed(fn, KEY)).get_trace(*args, **kwargs)


def density(fn: Any, values: Any, *args: Any) -> Any:
    return sum(log_density(trace(substitute(fn, values)).get_trace(*args)).values())


def apart(values: Any) -> Any:
    """Values of the unrolled program."""
    out = {k: v for k, v in values.items() if jnp.ndim(v) == 0}
    return out | {f"{k}_{t}": v[t] for k, v in values.items() if jnp.ndim(v) for t in range(T)}


@pytest.mark.parametrize("reverse", [False, True])
def test_log_density_and_gradient_are_those_of_the_unrolled_program(reverse: bool) -> None:
    values = {"first": jnp.array(0.4), "x": jnp.array([0.2, -0.5, 1.1, 0.3]), "decay": jnp.array(0.8)}
    got = jax.value_and_grad(lambda v: density(lambda: walk(Y, reverse), v))(values)
    want = jax.value_and_grad(lambda v: density(lambda: unrolled(Y, reverse), apart(v)))(values)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), got[1], want[1])


def test_records_carry_and_outputs() -> None:
    out: list[Any] = []
    sites = sites_of(lambda: out.append(walk(Y)))
    assert list(sites) == ["first", "decay", "x", "twice", "pull", "y"]
    x = sites["x"]
    assert x.latent and x.fn.batch_shape == x.value.shape == (T,) and type(x.fn) is Normal
    assert [s.length for s in x.steps] == [T] and not x.ahead
    assert len({sites[n].steps[0] for n in ("x", "twice", "pull", "y")}) == 1
    np.testing.assert_allclose(x.fn.loc[1:], 0.9 * x.value[:-1])
    np.testing.assert_allclose(sites["twice"].value, 2 * x.value)
    assert sites["y"].observed
    np.testing.assert_array_equal(sites["y"].value, Y)
    (last, ys) = out[0]
    np.testing.assert_allclose(last, x.value[-1])
    np.testing.assert_allclose(ys, x.value + 1)


def test_draws_follow_the_law_and_differ_by_step() -> None:
    x = jax.jit(jax.vmap(lambda key: trace(seed(walk, key)).get_trace()["x"].value))(
        jax.random.split(KEY, 20_000)
    )
    variance, want = 1.0, []
    for _ in range(T):
        variance = 0.81 * variance + 0.49
        want.append(variance)
    np.testing.assert_allclose(x.var(axis=0), want, rtol=0.05)
    np.testing.assert_allclose(
        np.mean(x[:, 1:] * x[:, :-1], axis=0), 0.9 * np.array(want[:-1]), rtol=0.07, atol=0.02
    )


def test_without_xs_and_without_handlers() -> None:
    last, ys = svijax.scan(lambda c, _: (c + 1, sample("x", Normal(), obs=c)), 0.0, None, length=3)
    assert last == 3.0
    np.testing.assert_array_equal(ys, [0.0, 1.0, 2.0])
    with pytest.raises(MissingKeyError, match="site 'x' needs a random key"):
        svijax.scan(lambda c, _: (c, sample("x", Normal())), 0.0, None, length=3)


def in_plates(rows: int | None = None, outer: bool = True, data: Any = None) -> Any:
    """Elements around the scan or inside it, and states and outputs of each."""

    def step(x: Any, y: Any) -> Any:
        if outer:
            return inner_step(x, y)
        with svijax.plate("N", 5, rows):
            return inner_step(x, y)

    def inner_step(x: Any, y: Any) -> Any:
        offset = svijax.param("offset", np.arange(5.0), event_dim=0)
        x = sample("x", Normal(0.5 * x + offset, 1.0))
        with svijax.plate("M", 2):
            seen = None if y is None else svijax.subsample(y)
            sample("y", Normal(x, 1.0), obs=seen)
        return x, None

    size = 5 if rows is None else rows
    xs = (None, T) if data is None else (data, None)
    if outer:
        with svijax.plate("N", 5, rows):
            return svijax.scan(step, jnp.zeros(size), xs[0], length=xs[1])
    return svijax.scan(step, jnp.zeros(size), xs[0], length=xs[1])


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("rows", [None, 3])
def test_plates_keep_their_dims(outer: bool, rows: int | None) -> None:
    data = np.random.default_rng(0).normal(size=(T, 2, 5))
    sites = sites_of(in_plates, rows, outer, data)
    n = rows or 5
    x, y, at = sites["x"], sites["y"], sites["N"].value
    assert x.value.shape == x.fn.batch_shape == (T, n) and y.value.shape == (T, 2, n)
    assert [(f.name, f.dim) for f in x.plates] == [("N", -1)]
    assert [(f.name, f.dim) for f in y.plates] == [("N", -1), ("M", -2)]
    np.testing.assert_array_equal(y.value, data[:, :, at])
    assert x.scale == (None if rows is None else 5 / 3) and y.scale == x.scale
    before = jnp.concatenate([jnp.zeros((1, n)), x.value[:-1]])
    np.testing.assert_allclose(x.fn.loc, 0.5 * before + at)
    want = np.sum(Normal(x.fn.loc, 1.0).log_prob(x.value)) * 5 / n
    np.testing.assert_allclose(log_density(sites)["x"], want, rtol=1e-12)


def test_the_rows_of_a_plate_are_those_of_a_replay() -> None:
    there = sites_of(in_plates, 3)
    known = {name: there[name] for name in ("N", "x")}
    here = trace(seed(replay(in_plates, trace=known), jax.random.key(9))).get_trace(3)
    np.testing.assert_array_equal(here["N"].value, there["N"].value)
    np.testing.assert_array_equal(here["x"].value, there["x"].value)
    assert np.abs(here["y"].value - there["y"].value).min() > 0


def nested(y: Any = None) -> None:
    def outer(c: Any, y_t: Any) -> Any:
        a = sample("a", Normal(c, 1.0))

        def inner(d: Any, y_u: Any) -> Any:
            b = sample("b", Normal(d, 0.5))
            sample("y", Normal(b, 1.0), obs=y_u)
            return b, None

        last, _ = svijax.scan(inner, a, y_t, length=3)
        return last, None

    svijax.scan(outer, 0.0, y, length=2)


def nested_density(a: Any, b: Any, y: Any) -> Any:
    total, c = 0.0, 0.0
    for t in range(2):
        total, c = total + Normal(c, 1.0).log_prob(a[t]), a[t]
        for u in range(3):
            total = total + Normal(c, 0.5).log_prob(b[t, u]) + Normal(b[t, u], 1.0).log_prob(y[t, u])
            c = b[t, u]
    return total


def test_nested_scans() -> None:
    rng = np.random.default_rng(1)
    a, b, y = jnp.array(rng.normal(size=2)), jnp.array(rng.normal(size=(2, 3))), rng.normal(size=(2, 3))
    got = jax.value_and_grad(lambda v: density(nested, v, y))({"a": a, "b": b})
    want = jax.value_and_grad(lambda v: nested_density(v["a"], v["b"], y))({"a": a, "b": b})
    np.testing.assert_allclose(got[0], want[0], rtol=1e-12)
    jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, rtol=1e-11), got[1], want[1])
    sites = trace(noise(nested, {"a": a, "b": b})).get_trace(y)
    c = 0.0
    for t in range(2):
        c = c + a[t]
        np.testing.assert_allclose(sites["a"].value[t], c)
        for u in range(3):
            c = c + 0.5 * b[t, u]
            np.testing.assert_allclose(sites["b"].value[t, u], c)
    assert [s.length for s in sites["y"].steps] == [2, 3]
    free = sites_of(uncondition(nested), y)
    np.testing.assert_array_equal(free["y"].infer["obs"], y)
    assert free["y"].value.shape == (2, 3) and np.abs(free["y"].value - y).min() > 0


# Handlers


def test_substitute_replay_and_condition_act_by_step() -> None:
    x = np.array([0.2, -0.5, 1.1, 0.3])
    for handler in (lambda f: substitute(f, {"x": x}), lambda f: condition(f, {"x": x})):
        sites = sites_of(handler(walk), Y)
        np.testing.assert_array_equal(sites["x"].value, x)
        np.testing.assert_allclose(sites["x"].fn.loc[1:], 0.9 * x[:-1])
        np.testing.assert_allclose(sites["y"].fn.loc, 2 * x)
    assert sites["x"].observed
    again = trace(replay(walk, trace=sites_of(walk))).get_trace(Y)
    np.testing.assert_array_equal(again["x"].value, sites_of(walk)["x"].value)
    np.testing.assert_array_equal(sites_of(condition(walk, {"y": 2 * Y}), Y)["y"].value, 2 * Y)
    assert sites_of(substitute(walk, {"twice": Y}), Y)["y"].fn.loc[2] == Y[2]
    assert sites_of(substitute(walk, {"decay": 0.25}), Y)["x"].fn.loc[3] == pytest.approx(
        0.25 * sites_of(substitute(walk, {"decay": 0.25}), Y)["x"].value[2]
    )
    with pytest.raises(UnknownNameError, match="no site"):
        sites_of(substitute(walk, {"x_0": 1.0}), Y)


def test_uncondition_keeps_the_data() -> None:
    site = sites_of(uncondition(walk), Y)["y"]
    assert not site.observed and site.infer["was_observed"]
    np.testing.assert_array_equal(site.infer["obs"], Y)
    assert np.abs(site.value - Y).min() > 0


def test_do_cuts_each_step() -> None:
    forced = np.arange(4.0)
    plain, sites = sites_of(walk), sites_of(do(walk, {"x": forced}))
    np.testing.assert_allclose(sites["x"].fn.loc[1:], 0.9 * forced[:-1])
    np.testing.assert_allclose(sites["y"].fn.loc, 2 * forced)
    np.testing.assert_allclose(
        sites["x"].value - sites["x"].fn.loc, plain["x"].value - plain["x"].fn.loc, rtol=1e-12
    )


@pytest.mark.parametrize("by", ["mask", "scale"])
def test_masks_and_scales_act_once(by: str) -> None:
    rng = np.random.default_rng(2)
    inner = rng.random(T) > 0.4 if by == "mask" else rng.random(T) + 0.5
    outer = rng.random((T, 1)) > 0.3 if by == "mask" else rng.random((T, 1)) + 0.5
    elements = rng.random(3) > 0.4 if by == "mask" else rng.random(3) + 0.5
    act: Any = mask if by == "mask" else scale

    def model() -> None:
        def step(x: Any, weight: Any) -> Any:
            with svijax.plate("N", 3):
                x = sample("x", Normal(x, 1.0))
                with act(None, weight):
                    sample("y", Normal(x, 2.0), obs=jnp.ones(3))
                    svijax.factor("f", x)
            return x, None

        svijax.scan(step, jnp.zeros(3), inner)

    sites = sites_of(act(act(model, outer), elements))
    got = log_density(sites)
    x = sites["x"].value
    weight = outer * elements
    np.testing.assert_allclose(got["x"], np.sum(weight * sites["x"].fn.log_prob(x)), rtol=1e-12)
    weight = weight * inner[:, None]
    np.testing.assert_allclose(got["y"], np.sum(weight * Normal(x, 2.0).log_prob(1.0)), rtol=1e-12)
    np.testing.assert_allclose(got["f"], np.sum(weight * x), rtol=1e-12)
    assert getattr(sites["y"], by).shape == (T, 3) and getattr(sites["x"], by).shape == (T, 3)


def test_a_mask_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ShapeError, match=r"site 'x': the mask does not fit the batch shape"):
        sites_of(mask(stating(lambda _: sample("x", Normal()), length=4), np.ones(3, bool)))


def test_names_hidden_sites_and_options() -> None:
    plain = sites_of(walk, Y)
    sites = sites_of(scope(walk, "a"), Y)
    assert list(sites) == ["a/first", "a/decay", "a/x", "a/twice", "a/pull", "a/y"]
    sites = sites_of(block(walk, hide=["x", "twice"]), Y)
    assert list(sites) == ["first", "decay", "pull", "y"]
    np.testing.assert_array_equal(sites["y"].fn.loc, plain["y"].fn.loc)  # a hidden site is drawn alike
    sites = sites_of(infer_config(walk, lambda s: {"kind": s.name}), Y)
    assert sites["x"].infer == {"kind": "x"}

    def inside() -> None:
        def step(c: Any, _: Any) -> Any:
            with scope(None, "in"), block(None, hide=["h"]):
                sample("h", Normal())
                return sample("x", Normal(c, 1.0)), None

        svijax.scan(step, 0.0, None, length=3)

    assert list(sites_of(inside)) == ["in/x"]


def test_lift_draws_once() -> None:
    sites = sites_of(lift(walk, {"decay": Normal(0.5, 0.1)}), Y)
    assert isinstance(sites["decay"], Sample) and sites["decay"].value.shape == ()
    np.testing.assert_allclose(sites["x"].fn.loc[1:], sites["decay"].value * sites["x"].value[:-1])


def test_noise_makes_the_draws() -> None:
    e = np.array([0.5, -1.0, 0.2, 1.5])
    sites = sites_of(noise(walk, {"x": e}), Y)
    x = sites["first"].value
    for t in range(T):
        x = 0.9 * x + 0.7 * e[t]
        np.testing.assert_allclose(sites["x"].value[t], x, rtol=1e-12)
    np.testing.assert_allclose(sites["x"].log_prob, sites["x"].fn.log_prob(sites["x"].value), rtol=1e-12)


def test_another_site_changes_no_draw() -> None:
    def model(more: bool) -> None:
        def step(c: Any, _: Any) -> Any:
            if more:
                sample("w", Normal())
            return sample("x", Normal(c, 1.0)), None

        svijax.scan(step, 0.0, None, length=3)

    np.testing.assert_array_equal(sites_of(model, True)["x"].value, sites_of(model, False)["x"].value)


def test_keys_masks_and_own_values_inside() -> None:
    def model() -> Any:
        def step(c: Any, t: Any) -> Any:
            key = svijax.prng_key()
            assert svijax.get_mask() is False
            fixed = sample("fixed", Normal(), rng_key=jax.random.key(1))
            with substitute(data={"own": 2.0 * t}):
                sample("own", Normal())
            return c, (jax.random.normal(key), fixed)

        return svijax.scan(step, 0.0, jnp.arange(3.0))

    with trace() as sites, seed(rng_seed=0), mask(mask=False):
        _, (drawn, fixed) = model()
    assert len(set(map(float, drawn))) == 3 and len(set(map(float, fixed))) == 1
    np.testing.assert_array_equal(sites["own"].value, [0.0, 2.0, 4.0])
    assert sum(log_density(sites).values()) == 0.0


def test_draws_along_sample_axes() -> None:
    def model() -> None:
        def step(c: Any, _: Any) -> Any:
            x = sample("x", Normal(c, 1.0).expand([2]), sample_shape=(3,))
            return jnp.mean(x, axis=0), None

        svijax.scan(step, jnp.zeros(2), None, length=T)

    site = sites_of(model)["x"]
    assert site.value.shape == site.shape == (3, T, 2)
    np.testing.assert_allclose(site.fn.loc[1:], site.value.mean(axis=0)[:-1], rtol=1e-12)
    again = trace(substitute(model, {"x": site.value})).get_trace()["x"]
    np.testing.assert_allclose(again.fn.loc, site.fn.loc, rtol=1e-12)


def test_a_handler_may_change_what_the_body_goes_on_with() -> None:
    class doubled(Handler):
        sees_inside = True

        def post(self, site: Any) -> Any:
            return site.having(value=2.0 * site.value) if isinstance(site, Sample) else site

    def model() -> Any:
        return svijax.scan(lambda c, _: (sample("x", Normal(c, 1.0)), None), 1.0, None, length=2)[0]

    with seed(rng_seed=0), trace() as sites, doubled():
        model()
    np.testing.assert_allclose(sites["x"].fn.loc, [1.0, sites["x"].value[0]], rtol=1e-12)
    drawn = jax.random.normal(jax.random.fold_in(site_key(jax.random.key(0), "x"), 0))
    np.testing.assert_allclose(sites["x"].value[0], 2.0 * (1.0 + drawn), rtol=1e-12)


# Transformations


def test_jit_vmap_and_leaks() -> None:
    def total(key: Any) -> Any:
        return sum(log_density(trace(seed(walk, key)).get_trace(Y)).values())

    keys = jax.random.split(KEY, 3)
    with jax.checking_leaks():
        rows = jax.vmap(total)(keys)
        one = jax.jit(total)(keys[1])
        jax.jit(jax.grad(lambda v: density(walk, v, Y)))({"x": jnp.zeros(T), "first": 0.0})
    np.testing.assert_allclose(one, rows[1], rtol=1e-12)
    np.testing.assert_allclose(total(keys[1]), rows[1], rtol=1e-12)
    raw = jax.random.key_data(keys[1])
    np.testing.assert_allclose(total(raw), rows[1], rtol=1e-12)


def test_single_precision() -> None:
    with jax.enable_x64(False):
        sites = sites_of(walk, Y.astype(np.float32))
        assert sites["x"].value.dtype == sites["y"].fn.loc.dtype == jnp.float32


def test_what_the_rehearsal_computes_is_compiled_away() -> None:
    def program(y: Any) -> Any:
        return sum(log_density(trace(seed(walk, KEY)).get_trace(y)).values())

    def by_hand(y: Any) -> Any:
        first = jax.random.normal(KEY)

        def step(x: Any, inputs: Any) -> Any:
            _, t = inputs
            e = jax.random.normal(jax.random.fold_in(KEY, t))
            new = 0.9 * x + 0.7 * e
            return new, (0.9 * x, new)

        _, (loc, x) = jax.lax.scan(step, first, (y, jnp.arange(T)))
        terms = Normal(loc, 0.7).log_prob(x) - 0.1 * x**2 + Normal(2 * x, 0.5).log_prob(y)
        return jnp.sum(terms) + Normal(0.0, 1.0).log_prob(first)

    flops = [jax.jit(f).lower(Y).compile().cost_analysis()["flops"] for f in (program, by_hand)]
    assert flops[0] < 1.3 * flops[1]


# Errors


def test_the_stack_is_restored_after_an_error() -> None:
    def model() -> None:
        def step(c: Any, _: Any) -> Any:
            raise RuntimeError("no")

        svijax.scan(step, 0.0, None, length=2)

    with pytest.raises(RuntimeError, match="no"):
        sites_of(model)
    assert "x" in sites_of(walk, Y)


class Plain:
    """The protocol of a distribution and no pytree."""

    batch_shape: tuple[int, ...] = ()
    event_shape: tuple[int, ...] = ()
    support = Normal.support

    def sample(self, key: Any, sample_shape: Any = ()) -> Any:
        return jax.random.normal(key, sample_shape)

    def log_prob(self, value: Any) -> Any:
        return -value


def stating(statement: Any, xs: Any = None, length: int | None = 3) -> Any:
    def model() -> None:
        svijax.scan(lambda c, x: (c, statement(x)), 0.0, xs, length=length)

    return model


ERRORS = {
    "mutable": (
        stating(lambda _: svijax.mutable("m", {"a": 0.0})),
        ModelError,
        r"mutable 'm' is stated inside svijax.scan[\s\S]*carry what changes",
    ),
    "twice": (
        stating(lambda _: [sample("x", Normal()), sample("x", Normal())]),
        ModelError,
        r"two sites are named 'x' inside svijax.scan",
    ),
    "again": (
        lambda: [sample("x", Normal()), walk()],
        ModelError,
        r"two sites are named 'x'",
    ),
    "empty": (stating(lambda _: sample("x", Normal()), length=0), ArgumentError, r"there are no steps"),
    "history": (
        lambda: svijax.scan(lambda c, x: (c, x), 0.0, None, 3, False, -1),
        ArgumentError,
        r"history is a number of steps",
    ),
    "unknown": (stating(lambda _: 0.0, length=None), ArgumentError, r"nothing says how many steps"),
    "lengths": (
        stating(lambda _: 0.0, (np.zeros(3), np.zeros(2)), None),
        ArgumentError,
        r"two lengths[\s\S]*\[2, 3\]",
    ),
    "number": (stating(lambda _: 0.0, 1.0), ShapeError, r"an entry of xs is one number"),
    "plain": (
        stating(lambda _: sample("x", Plain())),
        ModelError,
        r"site 'x': its distribution cannot be used inside svijax.scan[\s\S]*Plain",
    ),
    "observation": (
        stating(lambda y: sample("y", Normal(), obs=y), np.zeros((3, 2))),
        ShapeError,
        r"site 'y': the shape of the observation",
    ),
    "substitute": (
        substitute(walk, {"x": np.zeros(3)}),
        ShapeError,
        r"site 'x': the value given for it[\s\S]*\(4,\)[\s\S]*all steps at once",
    ),
    "do": (do(walk, {"x": np.zeros(3)}), ShapeError, r"site 'x': the shape of the intervention"),
    "plate": (
        stating(lambda _: sample("x", Normal(np.zeros(2), 1.0))),
        None,
        "",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    model, kind, text = ERRORS[name]
    if kind is None:
        assert sites_of(model)["x"].value.shape == (3, 2)
        with pytest.raises(ShapeError, match=r"site 'x' does not fit its plate 'N'"), svijax.plate("N", 3):
            sites_of(model)
        return
    with pytest.raises(kind, match=text):
        sites_of(model)


def test_handlers_room_is_whole() -> None:
    assert handlers.both(None, True) is True and handlers.both(False, None) is False

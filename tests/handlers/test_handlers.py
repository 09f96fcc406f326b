"""Handlers one by one, as functions and as contexts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax
import svijax.distributions as dist
from svijax.base import (
    ArgumentError,
    MissingKeyError,
    ModelError,
    ShapeError,
    UnknownNameError,
    name_hash,
    site_key,
)
from svijax.distributions import constraints
from svijax.effects import Handler, Param, Sample
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

KEY = jax.random.key(0)
N01 = dist.Normal(0.0, 1.0)


def model() -> Any:
    w = svijax.param("w", 1.0)
    z = svijax.sample("z", N01)
    y = svijax.sample("y", dist.Normal(z * w, 1.0), obs=0.5)
    return w, z, y


def sites_of(fn: Any, *args: Any) -> Any:
    return trace(seed(fn, KEY)).get_trace(*args)


def draw(name: str, fn: Any = N01, key: jax.Array = KEY) -> Any:
    """What the site of this name draws under ``seed``."""
    return fn.sample(site_key(key, name))


BOTH_WAYS = [
    (condition, {"data": {"z": 3.0}}, lambda s: s["z"].observed and s["z"].value == 3),
    (condition, {"condition_fn": lambda s: 3.0 if s.name == "z" else None}, lambda s: s["z"].value == 3),
    (uncondition, {}, lambda s: s["y"].latent and s["y"].infer["obs"] == 0.5 and s["y"].value != 0.5),
    (
        substitute,
        {"data": {"z": 3.0, "w": 2.0}},
        lambda s: s["z"].latent and s["z"].value == 3 and s["w"].value == 2,
    ),
    (substitute, {"substitute_fn": lambda s: 3.0 if s.name == "z" else None}, lambda s: s["z"].value == 3),
    (block, {"hide": ["z"]}, lambda s: list(s) == ["w", "y"]),
    (mask, {"mask": False}, lambda s: s["z"].mask is False and s["y"].mask is False),
    (scale, {"scale": 2.0}, lambda s: s["z"].scale == s["y"].scale == 2.0),
    (do, {"data": {"z": 3.0}}, lambda s: list(s) == ["w", "z", "y"] and s["y"].fn.loc == 3),
    (lift, {"prior": {"w": N01}}, lambda s: isinstance(s["w"], Sample) and s["w"].latent),
    (scope, {"prefix": "a"}, lambda s: list(s) == ["a/w", "a/z", "a/y"]),
    (infer_config, {"config_fn": lambda s: {"k": s.name}}, lambda s: s["z"].infer == {"k": "z"}),
    (noise, {"data": {"z": jnp.array(0.25)}}, lambda s: s["z"].value == 0.25),
    (seed, {"rng_seed": 7}, lambda s: s["z"].value == draw("z", key=jax.random.key(7))),
    (replay, {"trace": {"z": Sample(name="z", fn=N01, value=jnp.array(4.0))}}, lambda s: s["z"].value == 4),
]


@pytest.mark.parametrize("as_context", [False, True], ids=["function", "context"])
@pytest.mark.parametrize(
    ("handler", "options", "holds"),
    BOTH_WAYS,
    ids=[f"{h.__name__}-{next(iter(o), '')}" for h, o, _ in BOTH_WAYS],
)
def test_as_a_function_and_as_a_context(handler: Any, options: Any, holds: Any, as_context: bool) -> None:
    def inside() -> None:
        with handler(**options):
            model()

    program = inside if as_context else handler(model, **options)
    for _ in range(2):  # nothing of a first call is left for the second
        assert holds(sites_of(program))


# seed


def test_one_more_site_changes_no_other_draw() -> None:
    def longer() -> None:
        svijax.sample("before", N01)
        svijax.plate("p", 5, 2)
        svijax.param("q", lambda key: jax.random.normal(key))
        model()

    assert sites_of(longer)["z"].value == sites_of(model)["z"].value == draw("z")


def test_the_innermost_seed_counts_and_the_same_key_draws_the_same() -> None:
    inner = seed(model, 3)
    assert seed(inner, 4)()[1] == inner()[1] == inner()[1] == draw("z", key=jax.random.key(3))
    assert seed(model, np.int64(3))()[1] == inner()[1] == seed(model, jax.random.PRNGKey(3))()[1]


def test_plates_may_have_a_key_of_their_own() -> None:
    def program() -> Any:
        with svijax.plate("p", 100, 5) as i:
            return i, svijax.sample("x", N01)

    rows, x = zip(*(seed(program, k, plate_key=KEY)() for k in (1, 2)), strict=True)
    np.testing.assert_array_equal(rows[0], rows[1])
    assert not np.array_equal(x[0], x[1])


def test_hide_types_get_no_key() -> None:
    hidden = seed(lambda: svijax.plate("p", 5, 2), 0, hide_types=["plate"])
    with pytest.raises(MissingKeyError):
        hidden()
    assert seed(hidden, 1)().subsample_size == 2
    with pytest.raises(MissingKeyError):
        seed(block(lambda: svijax.plate("p", 5, 2)), 0, hide_types=["plate"])()


def test_seed_without_a_key() -> None:
    with pytest.raises(MissingKeyError) as caught:
        seed(model)
    assert str(caught.value) == (
        "program: seed needs a random key.\n"
        "  fix:      write svijax.handlers.seed(fn, rng_seed=jax.random.key(0))."
    )
    with pytest.raises(ArgumentError, match="a random key is needed"):
        seed(model, 0.5)  # type: ignore[arg-type]


# trace


def test_a_trace_is_in_order_and_starts_anew() -> None:
    recorder = trace(seed(model, KEY))
    assert list(recorder.get_trace()) == ["w", "z", "y"] and recorder.sites == {}
    for _ in range(2):
        recorder()
        assert list(recorder.sites) == ["w", "z", "y"]


@pytest.mark.parametrize(
    ("first", "second", "got"),
    [
        (lambda: svijax.sample("x", N01), lambda: svijax.sample("x", N01), "sample 'x' and sample 'x'"),
        (lambda: svijax.sample("x", N01), lambda: svijax.param("x", 1.0), "sample 'x' and param 'x'"),
        (
            lambda: svijax.deterministic("x", 1),
            lambda: svijax.deterministic("x", 1),
            "deterministic 'x' and det",
        ),
        (lambda: svijax.factor("x", 1), lambda: svijax.sample("x", N01), "factor 'x' and sample 'x'"),
        (lambda: svijax.plate("x", 2), lambda: svijax.param("x", 1.0), "plateindices 'x' and param 'x'"),
        (lambda: svijax.param("x", 1.0), lambda: svijax.mutable("x", {}), "param 'x' and mutable 'x'"),
    ],
)
def test_duplicate_names(first: Any, second: Any, got: str) -> None:
    with pytest.raises(ModelError) as caught:
        sites_of(lambda: (first(), second()))
    lines = str(caught.value).split("\n")
    assert lines[0] == "program: two sites are named 'x'."
    assert lines[1] == "  expected: a name of its own for each"
    assert lines[2].startswith(f"  got:      {got}")
    assert lines[3] == (
        "  fix:      rename one; in a loop put the index into the name; svijax.handlers.scope adds a prefix."
    )


def test_names_that_would_share_a_key() -> None:
    assert name_hash("plumless") == name_hash("buckeroo")

    def program() -> None:
        svijax.sample("plumless", N01)
        svijax.sample("buckeroo", N01)

    with pytest.raises(ModelError) as caught:
        sites_of(program)
    assert str(caught.value) == (
        "program: the names 'plumless' and 'buckeroo' have the same crc32, so that the two sites would be "
        "drawn with the same random key.\n"
        "  fix:      rename one of them."
    )
    # No random draw depends on these names.
    assert len(sites_of(lambda: (svijax.param("plumless", 1.0), svijax.sample("buckeroo", N01)))) == 2


# condition, uncondition, substitute


@pytest.mark.parametrize("handler", [condition, substitute])
def test_a_name_that_no_site_has(handler: Any) -> None:
    with pytest.raises(UnknownNameError) as caught:
        seed(handler(model, {"zz": 1.0}), KEY)()
    assert str(caught.value) == f"{handler.__name__}: no site is named 'zz'.\n  fix:      did you mean 'z'?"
    with pytest.raises(UnknownNameError, match=r"fix:      the names are \['"):
        seed(handler(model, {"unlike": 1.0}), KEY)()


def test_condition_does_not_know_params_and_do_no_observer() -> None:
    with pytest.raises(UnknownNameError, match="condition: no site is named 'w'"):
        seed(condition(model, {"w": 1.0}), KEY)()
    with pytest.raises(UnknownNameError, match="do: no site is named 'w'"):
        seed(do(model, {"w": 1.0}), KEY)()


def test_an_exception_is_not_covered_by_an_unknown_name() -> None:
    def bad() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        condition(bad, {"z": 1.0})()


def test_names_met_before_an_exception_are_forgotten() -> None:
    handler = condition(data={"z": 1.0})
    with pytest.raises(KeyError), handler:
        svijax.sample("z", N01)
        raise KeyError
    with pytest.raises(UnknownNameError), handler:
        svijax.deterministic("d", 1)


@pytest.mark.parametrize("handler", [condition, substitute])
def test_values_or_a_function_and_never_both(handler: Any) -> None:
    for options in ({}, {"data": {}, f"{handler.__name__}_fn": lambda site: None}):
        with pytest.raises(ArgumentError) as caught:
            handler(model, **options)
        assert str(caught.value) == (
            f"{handler.__name__} takes a dictionary of values or a function of the site: exactly one."
        )


@pytest.mark.parametrize(("handler", "kind"), [(condition, "observation"), (substitute, "value")])
def test_a_value_of_another_shape(handler: Any, kind: str) -> None:
    with pytest.raises(ShapeError, match=f"site 'z': the shape of the {kind} is not the shape of the site"):
        seed(handler(model, {"z": np.zeros(2)}), KEY)()


def test_none_leaves_a_site_alone() -> None:
    assert sites_of(condition(model, {"z": None}))["z"].latent
    assert sites_of(substitute(model, {"z": None}))["z"].value == draw("z")


def test_condition_replaces_an_observation_and_uncondition_undoes_it() -> None:
    assert sites_of(condition(model, {"y": 2.0}))["y"].value == 2.0
    site = sites_of(uncondition(condition(model, {"y": 2.0})))["y"]
    assert site.latent and site.infer["was_observed"] and site.infer["obs"] == 2.0
    assert sites_of(condition(uncondition(model), {"y": 2.0}))["y"].observed


def test_substitute_fills_params_plates_deterministics_and_mutables() -> None:
    def program() -> Any:
        d = svijax.deterministic("d", 1)
        m = svijax.mutable("m", {"a": 1})
        with svijax.plate("p", 4, 2) as i:
            return d, m["a"], i

    d, a, i = substitute(program, {"d": 5, "m": {"a": 6}, "p": np.array([3, 0])})()
    assert (d, a, i.tolist()) == (5, 6, [3, 0])


# noise and replay


def test_noise_makes_a_program_a_function_of_it() -> None:
    e = jnp.array([0.5, -1.0])

    def program(loc: Any) -> Any:
        z = svijax.sample("z", dist.Normal(loc, 2.0).expand([2]))
        return z, svijax.sample("k", dist.Bernoulli(0.5))

    site = trace(seed(noise(program, {"z": e}), KEY)).get_trace(1.0)["z"]
    np.testing.assert_allclose(site.value, 1 + 2 * e)
    np.testing.assert_allclose(site.log_prob, site.fn.log_prob(site.value), rtol=1e-6)
    gradient = jax.grad(lambda loc: seed(noise(program, {"z": e}), KEY)(loc)[0].sum())(1.0)
    assert gradient == 2.0
    # A value that was given stays.
    assert noise(substitute(program, {"z": e, "k": 1}), {"z": e})(1.0)[0] is e


def test_replay_takes_latents_and_rows_and_leaves_observations() -> None:
    def program(loc: Any, y: Any = None) -> Any:
        with svijax.plate("p", 9, 3) as i:
            z = svijax.sample("z", dist.Normal(loc, 1.0))
            return i, z, svijax.sample("y", dist.Normal(z, 1.0), obs=y)

    recorded = trace(seed(program, 1)).get_trace(0.0)
    y = np.zeros(3, np.float32)
    i, z, seen = seed(replay(program, recorded), 2)(5.0, y)
    np.testing.assert_array_equal(i, recorded["p"].value)
    np.testing.assert_array_equal(z, recorded["z"].value)
    assert seen is y
    site = trace(seed(replay(program, recorded), 2)).get_trace(5.0)["z"]
    np.testing.assert_allclose(svijax.density.log_prob(site), dist.Normal(5.0, 1.0).log_prob(z))


def test_replay_of_another_shape() -> None:
    def program(n: int) -> None:
        with svijax.plate("p", n):
            svijax.sample("z", N01)

    recorded = trace(seed(lambda: svijax.sample("z", N01.expand([2])), KEY)).get_trace()
    with pytest.raises(ShapeError) as caught:
        replay(program, recorded)(3)
    assert str(caught.value) == (
        "program site 'z': its draw, which comes from a guide or another trace, has a shape that is not the site's.\n"
        "  plates:   p (size 3, dim -1)\n"
        "  expected: (3,) = batch (3,) + event ()\n"
        "  got:      (2,), drawn inside plates []\n"
        "  fix:      draw it inside the same plates in the guide, or match the shapes with .expand and .to_event."
    )
    recorded = trace(seed(program, KEY)).get_trace(2)
    with pytest.raises(ModelError) as caught:
        replay(program, recorded)(3)
    assert str(caught.value) == (
        "program: plate 'p' has one size here and another where its draws come from.\n"
        "  expected: size 2, subsample_size 2\n"
        "  got:      size 3, subsample_size 3\n"
        "  fix:      give the plate the same sizes in model and guide."
    )


# block


@pytest.mark.parametrize(
    ("options", "visible"),
    [
        ({}, []),
        ({"hide": ["z", "w"]}, ["y"]),
        ({"expose": ["z"]}, ["z"]),
        ({"expose_types": ["param"]}, ["w"]),
        ({"hide_fn": lambda site: site.name == "y"}, ["w", "z"]),
        ({"hide_fn": lambda site: False, "hide": ["z"]}, ["w", "z", "y"]),
        ({"hide": [], "expose_types": ["param"]}, ["w", "z", "y"]),
        ({"expose_types": ["sample"], "expose": ["w"]}, ["z", "y"]),
    ],
)
def test_what_block_hides(options: Any, visible: list[str]) -> None:
    assert list(sites_of(block(model, **options))) == visible


def test_hidden_sites_draw_what_they_would_have_drawn() -> None:
    def program() -> Any:
        with svijax.plate("p", 9, 3) as i:
            return i, svijax.sample("z", N01), svijax.param("w", lambda key: jax.random.normal(key))

    plain, hidden = seed(program, KEY)(), seed(block(program), KEY)()
    for a, b in zip(plain, hidden, strict=True):
        np.testing.assert_array_equal(a, b)
    # The name of a hidden site is the one that it would have had.
    scoped = [seed(scope(f, "a"), KEY)()[1] for f in (program, block(program))]
    np.testing.assert_array_equal(scoped[0], scoped[1])
    with pytest.raises(MissingKeyError, match="site 'z' needs a random key and no handler gives one"):
        block(lambda: svijax.sample("z", N01))()


def test_block_passes_keys_masks_and_rows() -> None:
    def program() -> Any:
        return svijax.prng_key(), svijax.get_mask(), svijax.subsample(np.arange(5))

    with seed(rng_seed=0), svijax.plate("p", 5, 2) as i, mask(mask=False):
        key, seen, rows = block(program)()
    assert key is not None and seen is False
    np.testing.assert_array_equal(rows, i)


# mask and scale


def test_masks_multiply_and_scales_multiply() -> None:
    a, b = np.array([True, False]), np.array([[True], [False]])

    def program() -> None:
        svijax.sample("z", N01.expand([2, 2]))
        svijax.factor("f", jnp.ones((2, 2)))

    nested = mask(scale(scale(mask(program, a), 2.0), 3.0), b)
    for site in (sites := sites_of(nested)).values():
        np.testing.assert_array_equal(site.mask, a & b)
        assert site.scale == 6.0
    np.testing.assert_allclose(svijax.density.total(sites["f"]), 6.0)
    assert sites_of(mask(mask(program, True), a))["z"].mask.tolist() == a.tolist()
    assert sites_of(mask(mask(program, False), True))["z"].mask is False


def test_weights_that_are_none() -> None:
    with pytest.raises(ArgumentError) as caught:
        mask(model, np.array([1.0, 0.0]))
    assert str(caught.value) == (
        "program: mask must be boolean.\n  got:      float32\n  fix:      pass mask.astype(bool)."
    )
    for bad in (0.0, -1.0, np.array([1.0, np.nan])):
        with pytest.raises(ArgumentError, match=r"program: scale must be positive.\n  expected: > 0"):
            scale(model, bad)
    assert jax.jit(lambda s: sites_of(scale(model, s))["z"].scale)(2.0) == 2.0


# do


def test_do_splits_the_node() -> None:
    sites = sites_of(do(model, {"z": 3.0}))
    assert sites["z"].value == draw("z") and sites["z"].latent
    assert sites["y"].fn.loc == 3.0
    # The counterfactual node is seen inside only.
    with trace() as inner:
        pass
    outer = sites_of(do(lambda: trace_into(inner), {"z": 3.0}))
    assert "z__CF" in inner and inner["z__CF"].observed and "z__CF" not in outer


def trace_into(sites: Any) -> None:
    with trace() as found:
        model()
    sites.update(found)


@pytest.mark.parametrize("order", ["condition inside", "condition outside"])
def test_do_and_condition_ask_counterfactual_questions(order: str) -> None:
    data = {"z": 2.0}
    fn = (
        do(condition(model, data), {"z": -1.0})
        if order == "condition inside"
        else condition(do(model, {"z": -1.0}), data)
    )
    sites = sites_of(fn)
    assert sites["z"].observed and sites["z"].value == 2.0 and sites["y"].fn.loc == -1.0


@pytest.mark.parametrize("value", [3.0, np.full(3, 3.0)], ids=["number", "array"])
def test_do_inside_and_outside_plates(value: Any) -> None:
    def program() -> Any:
        with svijax.plate("p", 9, 3):
            return inner()

    def inner() -> Any:
        z = svijax.sample("z", N01)
        return svijax.sample("y", dist.Normal(z, 1.0))

    def around() -> Any:
        with svijax.plate("p", 9, 3):
            return do(inner, {"z": value})()

    for fn in (do(program, {"z": value}), around):
        sites = sites_of(fn)
        site = sites["z"]
        assert [f.name for f in site.plates] == ["p"] and site.value.shape == (3,) and site.scale == 3.0
        np.testing.assert_array_equal(site.value, draw("z", N01.expand([3])))
        np.testing.assert_array_equal(sites["y"].fn.loc, np.full(3, 3.0))
        assert [f.name for f in sites["y"].plates] == ["p"] and sites["y"].scale == 3.0


def test_do_with_a_value_of_another_shape() -> None:
    with pytest.raises(ShapeError) as caught:
        seed(do(model, {"z": np.zeros(2)}), KEY)()
    assert str(caught.value) == (
        "program site 'z': the shape of the intervention is not the shape of the site.\n"
        "  expected: (), or one number for all entries\n"
        "  got:      (2,)\n"
        "  fix:      pass a value of that shape to svijax.handlers.do."
    )


# lift


def test_lift_draws_once_per_call() -> None:
    def program() -> Any:
        return svijax.param("w", 1.0), svijax.param("w", 1.0)

    lifted = lift(program, N01)
    first, second = seed(lifted, 1)()
    assert first == second and seed(lifted, 2)()[0] != first
    with trace() as sites, seed(rng_seed=1):
        lifted()
    assert isinstance(sites["w"], Sample) and len(sites) == 1


def test_lift_by_name_and_a_misspelt_one() -> None:
    sites = sites_of(lift(model, {"w": dist.HalfNormal(1.0)}))
    assert sites["w"].value > 0 and sites["y"].fn.loc == sites["w"].value * sites["z"].value
    with pytest.raises(
        UnknownNameError, match=r"lift: no site is named 'ww'\.\n  fix:      did you mean 'w'"
    ):
        seed(lift(model, {"ww": N01}), KEY)()
    assert isinstance(sites_of(lift(model, {}))["w"], Param)


def test_a_lifted_table_is_drawn_whole_and_gathered() -> None:
    def program() -> Any:
        with svijax.plate("p", 6, 2) as i:
            return i, svijax.param("w", np.zeros((6, 3)), event_dim=1), svijax.param("b", 0.0)

    prior = {"w": N01.expand([6, 3]).to_event(2), "b": N01}
    with trace() as sites, seed(rng_seed=0):
        i, w, b = lift(program, prior)()
    assert sites["w"].value.shape == (6, 3) and sites["w"].plates == () and sites["w"].scale is None
    np.testing.assert_array_equal(w, sites["w"].value[np.asarray(i)])
    assert b.shape == () and sites["b"].plates == ()

    def around() -> Any:
        with svijax.plate("q", 4, 2):
            return lift(lambda: svijax.param("b", 0.0), N01)()

    assert seed(around, KEY)().shape == ()


def test_a_prior_of_another_shape() -> None:
    with pytest.raises(ShapeError) as caught:
        seed(lift(lambda: svijax.param("w", np.zeros((2, 3))), N01), KEY)()
    assert str(caught.value) == (
        "program param 'w': the prior has not the shape of the parameter.\n"
        "  expected: (2, 3)\n"
        "  got:      () = batch () + event ()\n"
        "  fix:      use prior.expand([2, 3]).to_event(2)."
    )


def test_condition_and_substitute_see_lifted_params() -> None:
    sites = sites_of(condition(lift(model, {"w": N01}), {"w": 2.0}))
    assert sites["w"].observed and sites["w"].value == 2.0
    assert sites_of(lift(substitute(model, {"w": 3.0}), {"w": N01}))["w"].value == 3.0


# scope


def test_scopes_nest_and_rename_plates() -> None:
    def program() -> None:
        with svijax.plate("p", 2):
            svijax.sample("x", N01)
            svijax.factor("f", 0.0)
            svijax.deterministic("d", 0)
            svijax.param("w", 0.0)
            svijax.mutable("m", {})

    sites = sites_of(scope(scope(program, "b"), "a"))
    assert list(sites) == [f"a/b/{n}" for n in ("p", "x", "f", "d", "w", "m")]
    assert sites["a/b/x"].plates[0].name == sites["a/b/w"].plates[0].name == "a/b/p"
    other = sites_of(scope(program, "a", divider=".", hide_types=["plate", "param"]))
    assert list(other) == ["p", "a.x", "a.f", "a.d", "w", "a.m"]
    assert other["a.x"].plates[0].name == "p"


def test_a_plate_outside_a_scope_keeps_its_name() -> None:
    def program() -> None:
        with svijax.plate("out", 2):
            scope(lambda: svijax.sample("x", N01), "a")()

    assert [f.name for f in sites_of(program)["a/x"].plates] == ["out"]


def test_one_function_twice_in_two_scopes_draws_two_values() -> None:
    def program() -> None:
        for prefix in "ab":
            scope(model, prefix)()

    sites = sites_of(program)
    assert sites["a/z"].value != sites["b/z"].value == draw("b/z")


def test_infer_config_adds_to_what_is_there() -> None:
    fn = infer_config(
        infer_config(lambda: svijax.sample("z", N01, infer={"a": 1}), lambda s: {"b": 2}), lambda s: None
    )
    assert sites_of(fn)["z"].infer == {"a": 1, "b": 2}


# Together


def test_order_decides() -> None:
    assert sites_of(condition(block(model, hide=["z"]), {"y": 1.0}))["y"].value == 1.0
    with pytest.raises(UnknownNameError):
        sites_of(condition(block(model, hide=["z"]), {"z": 1.0}))
    assert "z" not in sites_of(block(condition(model, {"z": 1.0}), hide=["z"]))
    assert sites_of(scope(condition(model, {"z": 1.0}), "a"))["a/z"].observed
    assert sites_of(condition(scope(model, "a"), {"a/z": 1.0}))["a/z"].observed
    assert sites_of(mask(do(model, {"z": 1.0}), False))["z"].mask is False
    assert sites_of(do(lift(model, {"w": N01}), {"w": 5.0}))["y"].fn.loc == 5.0 * draw("z")
    assert sites_of(uncondition(mask(scale(model, 2.0), False)))["y"].scale == 2.0


def test_handlers_leave_no_tracers_behind() -> None:
    def everything(x: Any) -> Any:
        fn = scope(lift(mask(scale(model, x), x > 0), {"w": N01}), "a")
        fn = block(substitute(condition(fn, {"a/z": x}), {"a/w": x}), hide=["a/y"])
        with trace() as sites, seed(rng_seed=0):
            fn()
        return sites["a/z"].value + sites["a/w"].value

    with jax.checking_leaks():
        assert jax.jit(everything)(2.0) == 4.0
        assert jax.grad(everything)(2.0) == 2.0
        np.testing.assert_array_equal(jax.vmap(everything)(jnp.array([1.0, 2.0])), [2.0, 4.0])


def test_the_handler_of_an_old_call_holds_nothing() -> None:
    lifted = lift(model, {"w": N01})
    with pytest.raises(ZeroDivisionError), seed(rng_seed=0), lifted:
        model()
        raise ZeroDivisionError
    with seed(rng_seed=1), lifted:
        w, _, _ = model()
    assert w == draw("w", key=jax.random.key(1))


def test_a_user_writes_one_in_four_lines() -> None:
    class double(Handler):
        def post(self, site: Any) -> Any:
            return site.having(value=2 * site.value) if isinstance(site, Sample) else site

    assert double(condition(lambda: svijax.sample("z", N01), {"z": 3.0}))() == 6.0


def test_constraints_of_params_reach_the_trace() -> None:
    site = sites_of(lambda: svijax.param("s", 1.0, constraint=constraints.positive))["s"]
    assert site.constraint == constraints.positive and site.plates == ()


def test_one_handler_object_in_eight_threads() -> None:
    shared = condition(lift(model, {"w": N01}), {"z": 1.0})

    def work(i: int) -> list[Any]:
        return [seed(shared, i)()[0] for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    assert found == [[draw("w", key=jax.random.key(i))] * 5 for i in range(8)]

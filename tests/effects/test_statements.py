"""Statements outside plates: what they return, what they record, what they refuse."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax
import svijax.distributions as dist
from svijax.base import ArgumentError, MissingKeyError, ModelError, ShapeError
from svijax.distributions import constraints
from svijax.effects import Deterministic, Factor, Handler, Param, Sample, label, no_handlers, where
from svijax.effects._stack import current_stack
from svijax.handlers import mask, seed, substitute, trace

KEY = jax.random.key(0)


def sites_of(fn: Any, *args: Any) -> Any:
    return trace(seed(fn, KEY)).get_trace(*args)


# sample


def test_an_observation_is_returned_as_it_is() -> None:
    x = np.array([1.0, 2.0])
    assert svijax.sample("x", dist.Normal(np.zeros(2), 1.0), obs=x) is x
    site = sites_of(lambda: svijax.sample("x", dist.Normal(np.zeros(2), 1.0), obs=x))["x"]
    assert isinstance(site, Sample) and site.observed and not site.latent and site.value is x


@pytest.mark.parametrize("key", [jax.random.key(3), jax.random.PRNGKey(3)], ids=["typed", "raw"])
def test_a_key_of_its_own_draws_outside_handlers_and_under_a_seed(key: jax.Array) -> None:
    want = dist.Normal(0.0, 1.0).sample(jax.random.key(3), (2,))

    def draw() -> Any:
        return svijax.sample("x", dist.Normal(0.0, 1.0), rng_key=key, sample_shape=(2,))

    np.testing.assert_array_equal(draw(), want)
    np.testing.assert_array_equal(seed(draw, KEY)(), want)


def test_sample_shape_is_in_front_of_batch_and_event() -> None:
    fn = dist.Normal(jnp.zeros((3, 4)), 1.0).to_event(1)
    site = sites_of(lambda: svijax.sample("x", fn, sample_shape=(5, 2)))["x"]
    assert site.value.shape == site.shape == (5, 2, 3, 4)
    observed = np.zeros((5, 2, 3, 4))
    assert svijax.sample("x", fn, obs=observed, sample_shape=(5, 2)) is observed


def test_infer_is_copied() -> None:
    options = {"is_auxiliary": True}
    site = sites_of(lambda: svijax.sample("x", dist.Normal(), infer=options))["x"]
    assert site.infer == options and site.infer is not options and site.auxiliary


def test_without_a_key_the_message_says_how_to_get_one() -> None:
    with pytest.raises(MissingKeyError) as caught:
        svijax.sample("x", dist.Normal(0.0, 1.0))
    assert str(caught.value) == (
        "program site 'x' needs a random key and no handler gives one.\n"
        "  fix:      run the program under svijax.handlers.seed(fn, rng_seed=key), or pass rng_key=."
    )


@pytest.mark.parametrize(
    ("shape", "obs", "fix"),
    [
        ((3, 1), np.zeros(3), "reshape the observation to (3, 1)."),
        ((3,), np.zeros((3, 1)), "reshape the observation to (3,)."),
        ((), np.zeros(3), "give the site that shape with .expand([3]) or a plate of that size."),
        ((2, 3), np.zeros(3), "broadcast it yourself: jnp.broadcast_to(observation, (2, 3))."),
        ((3,), 0.0, "broadcast it yourself: jnp.broadcast_to(observation, (3,))."),
    ],
)
def test_an_observation_that_would_broadcast(shape: tuple[int, ...], obs: Any, fix: str) -> None:
    with label(role="model"), pytest.raises(ShapeError) as caught:
        svijax.sample("y", dist.Normal(np.zeros(shape), 1.0), obs=obs)
    assert str(caught.value) == (
        "model site 'y': the shape of the observation is not the shape of the site.\n"
        f"  expected: {shape} = batch {shape} + event ()\n"
        f"  got:      {np.shape(obs)}\n"
        f"  fix:      {fix}"
    )


@pytest.mark.parametrize(
    ("fn", "got"),
    [
        (dist.Normal, "builtins.type, which lacks an instance"),
        (3.0, "builtins.float, which lacks sample, log_prob, support, batch_shape, event_shape"),
    ],
)
def test_what_is_no_distribution(fn: Any, got: str) -> None:
    with pytest.raises(ModelError) as caught:
        svijax.sample("x", fn)
    assert str(caught.value) == (
        "program site 'x': the second argument of sample is no distribution.\n"
        "  expected: an object with sample, log_prob, support, batch_shape, event_shape\n"
        f"  got:      {got}\n"
        "  fix:      use svijax.distributions; wrap one of another library with svijax.interop.wrap(d)."
    )


def test_any_object_with_the_protocol_is_a_distribution() -> None:
    class Coin:
        batch_shape = event_shape = ()
        support = constraints.boolean

        def sample(self, key: Any, sample_shape: Any = ()) -> Any:
            return jnp.ones(sample_shape, jnp.int32)

        def log_prob(self, value: Any) -> Any:
            return jnp.log(0.5)

    assert sites_of(lambda: svijax.sample("x", Coin()))["x"].value == 1


def test_values_that_are_lists_or_numbers_become_arrays() -> None:
    def model() -> None:
        svijax.sample("x", dist.Normal(np.zeros(2), 1.0), obs=[1.0, 2.0])
        svijax.sample("n", dist.Poisson(2.0), obs=3)

    sites = sites_of(model)
    assert sites["x"].value.dtype == np.float32 and sites["n"].value.dtype == np.int32
    assert isinstance(sites["x"].value, np.ndarray)


@pytest.mark.parametrize(
    ("kind", "weight"), [("mask", np.array([True, False, True])), ("scale", np.array([1.0, 2.0, 3.0]))]
)
def test_a_weight_that_would_add_entries(kind: str, weight: Any) -> None:
    handler = getattr(svijax.handlers, kind)
    with pytest.raises(ShapeError) as caught:
        handler(
            lambda: svijax.sample("x", dist.Normal(np.zeros((3, 1)), 1.0), obs=np.zeros((3, 1))), weight
        )()
    assert str(caught.value) == (
        f"program site 'x': the {kind} does not fit the batch shape.\n"
        "  expected: a shape that broadcasts to (3, 1)\n"
        "  got:      (3,)\n"
        f"  fix:      reshape the {kind}: one entry per batch element, none for the dims of an event."
    )
    with pytest.raises(ShapeError, match=f"site 'f': the {kind} does not fit"):
        handler(lambda: svijax.factor("f", 0.0), weight)()


# obs_mask


def test_a_partly_observed_site_is_three() -> None:
    obs, seen = np.array([1.0, np.nan, 3.0]), np.array([True, False, True])

    def model() -> Any:
        return svijax.sample("y", dist.Normal(np.zeros(3), 1.0), obs=obs, obs_mask=seen)

    sites = sites_of(model)
    assert list(sites) == ["y_observed", "y_unobserved", "y"]
    assert sites["y_observed"].observed and sites["y_unobserved"].latent
    np.testing.assert_array_equal(sites["y_observed"].mask, seen)
    np.testing.assert_array_equal(sites["y_unobserved"].mask, ~seen)
    assert isinstance(sites["y"], Deterministic)
    filled = np.where(seen, obs, sites["y_unobserved"].value)
    np.testing.assert_array_equal(sites["y"].value, filled)
    np.testing.assert_array_equal(seed(model, KEY)(), filled)


def test_a_mask_goes_over_the_batch_and_not_the_event() -> None:
    obs, seen = np.arange(6.0).reshape(2, 3), np.array([True, False])
    fn = dist.Normal(np.zeros((2, 3)), 1.0).to_event(1)
    sites = sites_of(lambda: svijax.sample("y", fn, obs=obs, obs_mask=seen))
    np.testing.assert_array_equal(sites["y"].value[0], obs[0])
    np.testing.assert_array_equal(sites["y"].value[1], sites["y_unobserved"].value[1])


def test_obs_mask_keeps_sample_shape_key_and_options() -> None:
    key = jax.random.key(9)
    sites = sites_of(
        lambda: svijax.sample(
            "y",
            dist.Normal(),
            obs=np.zeros(3),
            obs_mask=False,
            sample_shape=(3,),
            rng_key=key,
            infer={"a": 1},
        )
    )
    assert sites["y"].value.shape == (3,) and sites["y_unobserved"].infer == {"a": 1}
    np.testing.assert_array_equal(sites["y"].value, dist.Normal().sample(key, (3,)))


def test_obs_mask_without_obs_leaves_one_latent() -> None:
    fn = dist.Normal(np.zeros(3), 1.0)
    assert list(sites_of(lambda: svijax.sample("y", fn, obs_mask=np.array([True, False, True])))) == ["y"]


def test_obs_mask_must_be_boolean_and_fit() -> None:
    fn = dist.Normal(np.zeros(3), 1.0)
    with pytest.raises(ModelError) as caught:
        svijax.sample("y", fn, obs=np.zeros(3), obs_mask=np.array([1, 0, 1]))
    assert str(caught.value) == (
        "program site 'y': obs_mask must be boolean.\n"
        "  expected: bool\n"
        "  got:      int64\n"
        "  fix:      pass obs_mask.astype(bool): True where the entry is observed."
    )
    with pytest.raises(ShapeError, match="site 'y_observed': the mask does not fit the batch shape"):
        svijax.sample("y", fn, obs=np.zeros(3), obs_mask=np.ones((3, 1), bool))


# param


def test_param_gives_its_start_outside_handlers() -> None:
    assert svijax.param("w") is None
    value = svijax.param("w", 2.0)
    assert isinstance(value, np.ndarray) and value == 2.0 and value.dtype == np.float32


def test_param_takes_any_pytree() -> None:
    tree = {"w": jnp.ones((2, 3)), "b": [np.zeros(3), 1.0]}
    site = sites_of(lambda: svijax.param("net", tree, constraint=constraints.positive))["net"]
    assert isinstance(site, Param) and jax.tree.structure(site.value) == jax.tree.structure(tree)
    assert site.constraint == constraints.positive


def test_param_from_a_function_of_a_key() -> None:
    def init(key: jax.Array) -> Any:
        return {"w": jax.random.normal(key, (2,))}

    def program() -> Any:
        return svijax.param("net", init)

    np.testing.assert_array_equal(seed(program, KEY)()["w"], seed(program, KEY)()["w"])
    key = jax.random.key(5)
    np.testing.assert_array_equal(svijax.param("net", init, rng_key=key)["w"], jax.random.normal(key, (2,)))
    with pytest.raises(MissingKeyError) as caught:
        program()
    assert str(caught.value) == (
        "program param 'net' starts from a function of a random key and has none.\n"
        "  fix:      run the program under svijax.handlers.seed(fn, rng_seed=key), or pass an array."
    )


def test_a_module_that_can_be_called_is_a_value() -> None:
    @jax.tree_util.register_pytree_node_class
    class Linear:
        def __init__(self, w: Any) -> None:
            self.w = w

        def __call__(self, x: Any) -> Any:
            return self.w * x

        def tree_flatten(self) -> Any:
            return (self.w,), None

        @classmethod
        def tree_unflatten(cls, _: Any, leaves: Any) -> Any:
            return cls(*leaves)

    value = svijax.param("net", Linear(jnp.ones(2)))
    assert isinstance(value, Linear)
    start = jax.tree_util.Partial(jax.random.normal, shape=(2,))
    assert svijax.param("w", start, rng_key=KEY).shape == (2,)


def test_a_param_stated_again_is_the_first() -> None:
    def program() -> tuple[Any, Any]:
        return svijax.param("w", 1.0), svijax.param("w")

    with trace() as sites:
        first, second = program()
    assert first == second == sites["w"].value == 1.0
    with pytest.raises(ShapeError) as caught, trace():
        svijax.param("w", np.zeros(2))
        svijax.param("w", np.zeros(3))
    assert str(caught.value) == (
        "program: param 'w' is stated twice, with different shapes.\n"
        "  expected: (2,)\n"
        "  got:      (3,)\n"
        "  fix:      give the two params different names."
    )


# deterministic, factor, mask, keys, mutable


def test_deterministic_and_factor() -> None:
    def model() -> Any:
        svijax.factor("f", -1.5)
        return svijax.deterministic("d", {"a": 1})

    sites = sites_of(model)
    assert isinstance(sites["f"], Factor) and sites["f"].value == -1.5
    assert isinstance(sites["d"], Deterministic) and sites["d"].value == {"a": 1} == model()


def test_get_mask_is_the_product_of_the_masks() -> None:
    assert svijax.get_mask() is None
    with mask(mask=True):
        assert svijax.get_mask() is True
        with mask(mask=False):
            assert svijax.get_mask() is False
        with mask(mask=np.array([True, False])), mask(mask=np.array([[True], [False]])):
            np.testing.assert_array_equal(svijax.get_mask(), [[True, False], [False, False]])


def test_prng_key_is_fresh_each_time_and_the_same_each_run() -> None:
    assert svijax.prng_key() is None

    def program() -> list[Any]:
        return [jax.random.key_data(svijax.prng_key()) for _ in range(2)]

    seeded = seed(program, KEY)
    first, second = seeded(), seeded()
    assert not np.array_equal(first[0], first[1])
    np.testing.assert_array_equal(first, second)


def test_mutable_is_written_in_place_and_its_start_is_kept() -> None:
    start = {"mean": jnp.zeros(2)}

    def program() -> Any:
        state = svijax.mutable("bn", start)
        state["mean"] = state["mean"] + 1
        again = svijax.mutable("bn", start)
        return again["mean"]

    with trace() as sites:
        np.testing.assert_array_equal(program(), [1, 1])
    np.testing.assert_array_equal(sites["bn"].value["mean"], [1, 1])
    np.testing.assert_array_equal(sites["bn"].start["mean"], [0, 0])
    np.testing.assert_array_equal(start["mean"], [0, 0])
    with trace() as sites:
        substitute(program, data={"bn": {"mean": jnp.full(2, 5.0)}})()
    np.testing.assert_array_equal(sites["bn"].value["mean"], [6, 6])
    assert svijax.mutable("absent") is None


def test_mutable_must_be_a_dictionary() -> None:
    with pytest.raises(ModelError) as caught:
        svijax.mutable("bn", jnp.zeros(2))
    assert str(caught.value) == (
        "program mutable 'bn': the state must be a dictionary, so that it can be written to.\n"
        "  expected: dict\n"
        f"  got:      {type(jnp.zeros(2)).__name__}\n"
        '  fix:      svijax.mutable(name, {"value": init}), then state["value"] = new.'
    )


# The stack


def test_the_stack_is_restored_after_an_exception_at_any_depth() -> None:
    def bad() -> None:
        with svijax.plate("a", 2), mask(mask=True), svijax.plate("b", 3):
            raise KeyError("mine")

    with trace() as outer:
        for _ in range(2):
            with pytest.raises(KeyError, match="mine"):
                seed(bad, KEY)()
        assert len(current_stack()) == 1
        svijax.deterministic("after", 1)
    assert current_stack() == () and list(outer) == ["a", "b", "after"]


def test_an_error_inside_a_statement_restores_it_too() -> None:
    with pytest.raises(MissingKeyError), trace(), svijax.plate("a", 2):
        svijax.sample("x", dist.Normal())
    assert current_stack() == ()


def test_handlers_see_innermost_first_and_are_seen_outermost_first() -> None:
    heard: list[str] = []

    class Ear(Handler):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def process(self, site: Any) -> Any:
            heard.append(f"{self.name} before")
            return site

        def post(self, site: Any) -> Any:
            heard.append(f"{self.name} after")
            return site

    with Ear("out"), Ear("in"):
        svijax.deterministic("d", 0)
    assert heard == ["in before", "out before", "out after", "in after"]


def test_where_is_the_innermost_label() -> None:
    assert where() == "program"
    with label(role="guide"), label(role="model"):
        assert where() == "model"
        with no_handlers():
            assert where() == "program"


def test_a_handler_without_a_function_cannot_be_called() -> None:
    with pytest.raises(ArgumentError) as caught:
        trace()()
    assert str(caught.value) == (
        "trace has no function to call.\n"
        "  fix:      write trace(fn, ...)(*args), or use it as a context manager."
    )


def test_eight_threads_hear_only_themselves() -> None:
    def work(i: int) -> list[str]:
        with trace() as sites, seed(rng_seed=i):
            for j in range(40):
                with svijax.plate(f"p{i}", i + 1), mask(mask=i % 2 == 0):
                    svijax.sample(f"x{i}_{j}", dist.Normal())
        assert all(
            s.value.shape == (i + 1,) and s.mask is (i % 2 == 0) for s in sites.values() if "x" in s.name
        )
        return list(sites)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    assert found == [[f"p{i}", *(f"x{i}_{j}" for j in range(40))] for i in range(8)]
    assert current_stack() == ()


def test_stating_a_program_puts_nothing_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {id(a) for a in jax.live_arrays()}
    with svijax.plate("p", 3):
        svijax.sample("x", dist.Normal(0.0, 1.0), obs=np.zeros(3))
        svijax.param("w", 1.0)
        svijax.factor("f", 2.0)
    assert [a for a in jax.live_arrays() if id(a) not in before] == []

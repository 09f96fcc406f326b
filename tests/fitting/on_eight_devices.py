"""Tests that need eight devices; ``test_sharding.py`` runs them in a process that has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from collectives import collectives
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import svijax
import svijax.distributions as dist
from svijax import SVI
from svijax.base import ArgumentError, DataError, split_arguments
from svijax.distributions import constraints
from svijax.fitting import Batches
from svijax.fitting._chunk import Chunk, first_carry
from svijax.fitting._feed import Whole
from svijax.fitting._meshes import placement_of, settled
from svijax.fitting._watch import Watchers
from svijax.guides import AutoNormal
from svijax.objectives import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO

ROWS, STEPS = 400, 60
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 3)).astype(np.float32)
Y = (X @ np.array([1.0, -2.0, 0.5]) + RNG.logistic(size=ROWS) > 0).astype(np.float32)
KEY = jax.random.key(7)
LINE = Mesh(np.array(jax.devices()), ("data",))
GRID = Mesh(np.array(jax.devices()).reshape(4, 2), ("chains", "data"))


def logistic(X: Any, y: Any) -> None:
    w = svijax.sample("w", dist.Normal(0.0, 1.0).expand([X.shape[1]]).to_event(1))
    b = svijax.sample("b", dist.Normal(0.0, 1.0))
    with svijax.plate("data", X.shape[0]):
        svijax.sample("y", dist.Bernoulli(logits=X @ w + b), obs=y)


def encoder(X: Any, y: Any) -> None:
    first = svijax.param("first", 0.1 * np.ones((3, 4), np.float32))
    loc = svijax.param("loc", 0.1 * np.ones((4, 2), np.float32))
    scale = svijax.param("scale", 0.5, constraint=constraints.positive)
    with svijax.plate("data", X.shape[0]):
        svijax.sample("z", dist.Normal(jnp.tanh(X @ first) @ loc, scale).to_event(1))


def decoder(X: Any, y: Any) -> None:
    weights = svijax.param("weights", 0.1 * np.ones((2, 3), np.float32))
    with svijax.plate("data", X.shape[0]):
        z = svijax.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        svijax.sample("x", dist.Normal(jnp.tanh(z @ weights), 1.0).to_event(1), obs=X)


LOGISTIC = SVI(logistic, AutoNormal(logistic), optax.adam(0.02))
AMORTISED = SVI(decoder, encoder, optax.adam(0.02))


def fit(svi: SVI, *args: Any, **options: Any) -> Any:
    return svi.run(KEY, STEPS, *(args or (X, Y)), progress_bar=False, **options)


@pytest.fixture(scope="module")
def alone() -> Any:
    """The run on one device."""
    return fit(LOGISTIC)


@pytest.fixture(scope="module")
def chains_alone() -> Any:
    return fit(LOGISTIC, num_chains=8)


def assert_same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found.losses, expected.losses, rtol=2e-5)
    assert found.params.keys() == expected.params.keys()
    for name, value in expected.params.items():
        np.testing.assert_allclose(found.params[name], value, rtol=1e-4, atol=1e-5)


def devices_of(x: jax.Array) -> int:
    """How many devices have different parts of the array."""
    return len({str(shard.index) for shard in x.addressable_shards})


def steps_of(svi: SVI, mesh: Mesh, args: Any = (X, Y), num_chains: int | None = None, **axes: Any) -> Any:
    """(the compiled steps of a run, their arguments)."""
    placement = placement_of(mesh, **axes)
    assert placement is not None
    feed = placement.feed(Whole(*split_arguments(args, {})), svi.model)
    key = placement.key(KEY)
    if num_chains is None:
        state = svi.first_state(key, {}, feed)
    else:
        keys = placement.spread(jax.random.split(key, num_chains))
        state = svi.init_function(keys, {}, feed)(keys, {}, feed)[0]
    where, state = settled(placement, state, {})
    chunk = Chunk(svi, state, "mark", Watchers(), feed, placement=where)
    return chunk, (Watchers(), feed, first_carry(state, Watchers(), where), np.int32(0))


def compiled(svi: SVI, mesh: Mesh, *args: Any, **options: Any) -> str:
    """The text of the program of a run's steps."""
    chunk, arguments = steps_of(svi, mesh, *args, **options)
    text: str = chunk.function.lower(*arguments).compile().as_text()
    return text


# The same numbers as on one device


@pytest.mark.parametrize("types", [AxisType.Auto, AxisType.Explicit])
def test_rows_over_devices_give_the_run_of_one(alone: Any, types: Any) -> None:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(types,))
    found = fit(LOGISTIC, mesh=mesh, data_axis="data")
    assert_same(found, alone)
    assert devices_of(found.call.args[0]) == 8
    assert devices_of(found.state.free.arrays[0]) == 1
    assert np.isfinite(found.posterior.mean()["w"]).all()


def test_data_on_an_explicit_mesh_need_no_option(alone: Any) -> None:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    args = jax.device_put((X, Y), NamedSharding(mesh, P("data")))
    found = fit(LOGISTIC, *args)
    assert_same(found, alone)
    assert devices_of(found.call.args[0]) == 8


def test_a_run_inside_set_mesh_gives_results_on_that_mesh(alone: Any) -> None:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        key = jax.random.wrap_key_data(np.asarray(jax.random.key_data(KEY)))
        found = LOGISTIC.run(key, STEPS, X, Y, progress_bar=False, mesh=mesh, data_axis="data")
        assert found.params["b_auto_loc"].sharding.mesh == mesh
        assert np.isfinite(found.posterior.mean()["w"]).all()
        again = LOGISTIC.run(key, 1, X, Y, progress_bar=False, mesh=mesh, init_state=found.state)
    assert_same(found, alone)
    assert int(again.state.step) == STEPS + 1


@pytest.mark.slow
def test_an_amortised_guide_over_devices_gives_the_run_of_one() -> None:
    assert_same(fit(AMORTISED, mesh=LINE, data_axis="data"), fit(AMORTISED))


@pytest.mark.parametrize(
    "mesh, axes",
    [
        pytest.param(Mesh(LINE.devices, ("chains",)), {"chain_axis": "chains"}, marks=pytest.mark.slow),
        (GRID, {"chain_axis": "chains", "data_axis": "data"}),
    ],
)
def test_chains_over_devices_give_the_chains_of_one(chains_alone: Any, mesh: Mesh, axes: Any) -> None:
    found = fit(LOGISTIC, num_chains=8, mesh=mesh, **axes)
    assert_same(found, chains_alone)
    assert devices_of(found.state.step) == mesh.shape["chains"]
    assert found.best().status == 0


@pytest.mark.slow
def test_particles_over_devices_give_the_run_of_one() -> None:
    svi = SVI(logistic, AutoNormal(logistic), optax.adam(0.02), Trace_ELBO(num_particles=16))
    found = fit(svi, mesh=Mesh(LINE.devices, ("particles",)), particle_axis="particles")
    assert_same(found, fit(svi))


def test_a_run_continues_on_a_mesh_and_off_it(alone: Any) -> None:
    first = LOGISTIC.run(KEY, 25, X, Y, progress_bar=False, mesh=LINE, data_axis="data")
    second = LOGISTIC.run(KEY, STEPS - 25, X, Y, progress_bar=False, init_state=jax.device_get(first.state))
    third = LOGISTIC.run(
        KEY, STEPS - 25, X, Y, progress_bar=False, init_state=first.state, mesh=LINE, data_axis="data"
    )
    for rest in (second, third):
        losses = np.concatenate([first.losses, rest.losses])
        np.testing.assert_allclose(losses, alone.losses, rtol=2e-5)


def test_a_second_chunk_compiles_nothing(count_compiles: Any) -> None:
    options = {"mesh": GRID, "chain_axis": "chains", "data_axis": "data", "num_chains": 8}
    fit(LOGISTIC, **options)
    with count_compiles() as seen:
        fit(LOGISTIC, **options)
    assert seen.count == 0


# Minibatches


def read_from_outside() -> Iterator[Any]:
    for start in range(0, ROWS, 48):
        yield X[start : start + 48], Y[start : start + 48]


def test_a_batch_takes_as_many_rows_from_each_device() -> None:
    found = LOGISTIC.run(
        KEY, STEPS, progress_bar=False, batches=Batches((X, Y), 48), mesh=LINE, data_axis="data"
    )
    assert_same(found, LOGISTIC.run(KEY, STEPS, progress_bar=False, batches=Batches((X, Y), 48, shards=8)))
    assert devices_of(found.call.args[0]) == 8


@pytest.mark.slow
@pytest.mark.parametrize("svi", [LOGISTIC, AMORTISED])
def test_a_step_on_a_batch_has_one_all_reduce(monkeypatch: pytest.MonkeyPatch, svi: SVI) -> None:
    texts = texts_of_programs(monkeypatch)
    svi.run(KEY, 1, progress_bar=False, batches=Batches((X, Y), 48), mesh=LINE, data_axis="data")
    assert collectives(texts[0]) == ({"all-reduce": 1}, {})


@pytest.mark.slow
def test_batches_from_outside_are_shared_out() -> None:
    batches = Batches(read_from_outside, 48, total=ROWS)
    found = LOGISTIC.run(KEY, STEPS, progress_bar=False, batches=batches, mesh=LINE, data_axis="data")
    assert_same(found, LOGISTIC.run(KEY, STEPS, progress_bar=False, batches=batches))


@pytest.mark.slow
def test_batches_of_chains_and_of_amortised_guides() -> None:
    for svi, mesh, options in (
        (LOGISTIC, GRID, {"num_chains": 8, "chain_axis": "chains"}),
        (AMORTISED, LINE, {}),
    ):
        chains = {"num_chains": options["num_chains"]} if options else {}
        shards = mesh.shape["data"]
        found = svi.run(
            KEY, 30, progress_bar=False, batches=Batches((X, Y), 48), mesh=mesh, data_axis="data", **options
        )
        alone = svi.run(KEY, 30, progress_bar=False, batches=Batches((X, Y), 48, shards=shards), **chains)
        assert_same(found, alone)


def texts_of_programs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that gets the text of the program of each run on a mesh, at its first chunk."""
    texts: list[str] = []
    take = Chunk.__call__

    def call(self: Chunk, feed: Any, carry: Any, count: int) -> Any:
        if not count and self.placement is not None:
            lowered = self.function.lower(self.watchers, feed, carry, np.int32(0))
            texts.append(lowered.compile().as_text())
        return take(self, feed, carry, count)

    monkeypatch.setattr(Chunk, "__call__", call)
    return texts


# Parameters that the user has sharded


def tables(y: Any) -> None:
    loc = svijax.param("loc", jnp.zeros(y.shape[0]))
    scale = svijax.param("scale", jnp.ones(y.shape[0]), constraint=constraints.positive)
    with svijax.plate("data", y.shape[0]):
        svijax.sample("z", dist.Normal(loc, scale))


def local(y: Any) -> None:
    with svijax.plate("data", y.shape[0]):
        z = svijax.sample("z", dist.Normal(0.0, 1.0))
        svijax.sample("y", dist.Normal(z, 1.0), obs=y)


def test_a_large_parameter_stays_as_the_user_sharded_it() -> None:
    rows = 24_000  # of fewer than 16,384 entries would be packed into one vector
    data = np.linspace(-1, 1, rows, dtype=np.float32)
    svi = SVI(local, tables, optax.adam(0.1))
    start = {
        "loc": jax.device_put(np.zeros(rows, np.float32), NamedSharding(LINE, P("data"))),
        "scale": jax.device_put(np.ones(rows, np.float32), NamedSharding(LINE, P("data"))),
    }
    found = fit(svi, data, mesh=LINE, data_axis="data", init_params=start)
    assert_same(found, fit(svi, data, init_params={n: np.asarray(x) for n, x in start.items()}))
    assert [devices_of(x) for x in found.state.free.arrays] == [8, 8]
    large = [x for x in jax.tree.leaves(found.state.optim_state) if x.size == rows]
    assert [devices_of(x) for x in large] == [8, 8, 8, 8]
    again = fit(svi, data, mesh=LINE, data_axis="data", init_state=found.state)
    assert [devices_of(x) for x in again.state.free.arrays] == [8, 8]


@pytest.mark.slow
def test_an_argument_stays_as_the_user_placed_it() -> None:
    args = (jax.device_put(X, NamedSharding(LINE, P())), Y)
    found = LOGISTIC.run(KEY, 2, *args, progress_bar=False, mesh=LINE, data_axis="data")
    assert [devices_of(x) for x in found.call.args] == [1, 8]


# What devices tell each other


@pytest.mark.parametrize(
    "svi, args",
    [(LOGISTIC, (X, Y)), (AMORTISED, (X, Y))],
    ids=["global latents", "amortised"],
)
def test_a_step_has_one_all_reduce(svi: SVI, args: Any) -> None:
    inside, outside = collectives(compiled(svi, LINE, args, data_axis="data"))
    assert inside == {"all-reduce": 1}
    assert not outside


def test_a_step_of_chains_tells_nothing() -> None:
    mesh = Mesh(LINE.devices, ("chains",))
    inside, outside = collectives(compiled(LOGISTIC, mesh, num_chains=8, chain_axis="chains"))
    assert not inside
    assert outside == {"all-reduce": 1}  # the number of the first step


def test_a_step_of_chains_and_rows_has_one_all_reduce() -> None:
    text = compiled(LOGISTIC, GRID, num_chains=8, chain_axis="chains", data_axis="data")
    assert collectives(text)[0] == {"all-reduce": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective, expected",
    [
        (Trace_ELBO(num_particles=4), 1),
        (TraceMeanField_ELBO(), 1),
        (RenyiELBO(alpha=0.0, num_particles=4), 2),  # the gradient needs the weights of all rows first
    ],
)
def test_all_reduces_by_objective(objective: Any, expected: int) -> None:
    svi = SVI(logistic, AutoNormal(logistic), optax.adam(0.02), objective)
    assert collectives(compiled(svi, LINE, data_axis="data"))[0] == {"all-reduce": expected}
    assert_same(fit(svi, mesh=LINE, data_axis="data"), fit(svi))


# What is refused


def refused(kind: type[Exception], words: Mapping[str, Any] | list[str], *args: Any, **options: Any) -> None:
    with pytest.raises(kind) as error:
        fit(LOGISTIC, *args, **options)
    for word in words:
        assert word in str(error.value), str(error.value)


def test_a_length_that_the_axis_does_not_divide() -> None:
    words = ["argument 'X'", "8 devices divide", "398 rows", "leave out 6 rows (x[:392])", "PartitionSpec()"]
    refused(DataError, words, X[:398], Y[:398], mesh=LINE, data_axis="data")


@pytest.mark.parametrize("data", [(X, Y), read_from_outside], ids=["arrays", "iterable"])
def test_a_batch_size_that_the_axis_does_not_divide(data: Any) -> None:
    batches = Batches(data, 50, total=ROWS)
    with pytest.raises(ArgumentError, match=r"multiples of 8 devices\n.*size 50\n.*size=48"):
        LOGISTIC.run(KEY, 1, progress_bar=False, batches=batches, mesh=LINE, data_axis="data")


def test_an_axis_without_a_mesh() -> None:
    refused(ArgumentError, ["data_axis='data'", "mesh=jax.make_mesh"], data_axis="data")


def test_an_axis_that_the_mesh_does_not_have() -> None:
    refused(
        ArgumentError, ["chain_axis", "('data',)", "'model'"], mesh=LINE, chain_axis="model", num_chains=8
    )


def test_one_axis_for_two_things() -> None:
    words = ["one thing only", "data_axis and chain_axis", "jax.make_mesh((2, 4)"]
    refused(ArgumentError, words, mesh=LINE, data_axis="data", chain_axis="data", num_chains=8)


@pytest.mark.parametrize("count, got", [(6, "6 chains"), (None, "a single fit")])
def test_chains_that_the_axis_does_not_divide(count: int | None, got: str) -> None:
    words = ["chain_axis='data' has 8 devices", "a multiple of 8", got, "num_chains="]
    refused(ArgumentError, words, mesh=LINE, chain_axis="data", num_chains=count)


def test_particles_that_the_axis_does_not_divide() -> None:
    refused(ArgumentError, ["particle_axis='data'", "1 particles"], mesh=LINE, particle_axis="data")


def test_no_mesh() -> None:
    refused(
        ArgumentError, ["takes a jax.sharding.Mesh", "jax.make_mesh"], mesh=jax.devices(), data_axis="data"
    )


def test_data_on_another_mesh() -> None:
    other = Mesh(LINE.devices[:4], ("data",))
    args = jax.device_put((X, Y), NamedSharding(other, P("data")))
    words = ["another mesh", "{'data': 8}", "{'data': 4}", "jax.device_put"]
    refused(ArgumentError, words, *args, mesh=LINE, data_axis="data")


# For devices that are not here


def test_sharded_steps_lower_for_tpu() -> None:
    chunk, arguments = steps_of(LOGISTIC, GRID, num_chains=8, data_axis="data", chain_axis="chains")
    text = chunk.function.trace(*arguments).lower(lowering_platforms=("tpu",)).as_text()
    assert "sdy.sharding_constraint" in text

"""Runs on minibatches: in memory, and read from outside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax
import pytest

import svijax
import svijax.distributions as dist
from svijax import SVI, Trace_ELBO
from svijax.base import ArgumentError, LoaderError, ModelError
from svijax.fitting import Batches, Status
from svijax.fitting._feed import ORDER
from svijax.fitting._order import rows_of
from svijax.guides import AutoNormal

N, SIZE = 50, 8
Y = np.random.default_rng(0).normal(2.0, 1.0, N).astype(np.float32)
KEY = jax.random.key(1)


def model(y: Any) -> None:
    """mu ~ N(0, 1), y_i ~ N(mu, 1)."""
    mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
    with svijax.plate("data", y.shape[0]):
        svijax.sample("y", dist.Normal(mu, 1.0), obs=y)


def local_model(y: Any) -> None:
    mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
    with svijax.plate("data", y.shape[0]):
        z = svijax.sample("z", dist.Normal(mu, 1.0))
        svijax.sample("y", dist.Normal(z, 1.0), obs=y)


SVI_GLOBAL = SVI(model, AutoNormal(model), optax.adam(0.02), Trace_ELBO())
SVI_LOCAL = SVI(local_model, AutoNormal(local_model), optax.adam(0.05), Trace_ELBO())


def in_order() -> Iterator[Any]:
    for i in range(0, N, SIZE):
        yield Y[i : i + SIZE], np.arange(N)[i : i + SIZE]


def run(svi: SVI, steps: int, batches: Any, **options: Any) -> Any:
    return svi.run(KEY, steps, batches=batches, progress_bar=False, **options)


def same(a: Any, b: Any) -> None:
    for name in a.params:
        np.testing.assert_array_equal(a.params[name], b.params[name])
    np.testing.assert_array_equal(a.losses, b.losses)


def test_the_posterior_is_that_of_all_rows():
    fit = run(SVI_GLOBAL, 1500, Batches(Y, SIZE))
    assert fit.status == Status.MAX_STEPS
    np.testing.assert_allclose(fit.params["mu_auto_loc"], Y.sum() / (N + 1), atol=0.1)
    np.testing.assert_allclose(fit.params["mu_auto_scale"], (N + 1) ** -0.5, rtol=0.35)


def test_local_latents_have_a_table_over_all_rows():
    fit = run(SVI_LOCAL, 1500, Batches(Y, SIZE))
    assert fit.params["z_auto_loc"].shape == (N,)
    # E[z_i | y] = (μ + y_i) / 2
    slope, _ = np.polyfit(Y, np.asarray(fit.params["z_auto_loc"]), 1)
    np.testing.assert_allclose(slope, 0.5, atol=0.1)


def test_the_first_loss_is_that_of_the_batch_of_the_first_step():
    """Which rows they are follows from the key of the run."""
    seen = []

    def noted(key: Any, y: Any) -> Any:
        jax.debug.callback(lambda rows: seen.append(np.asarray(rows)), y)
        return y

    fit = run(SVI_GLOBAL, 14, Batches(Y, SIZE, transform=noted))
    jax.effects_barrier()
    steps = {tuple(np.round(np.sort(np.unique(y)), 5)) for y in seen}
    # Seven steps of an epoch: each row is met.
    assert {v for step in steps for v in step} == set(np.round(Y, 5))
    assert np.isfinite(fit.losses).all()


def test_reading_in_order_is_the_run_without_shuffling():
    """The same steps, bit for bit, whoever gathers the rows."""
    memory = run(SVI_LOCAL, 20, Batches(Y, SIZE, shuffle=False))
    stream = run(SVI_LOCAL, 20, Batches(in_order, SIZE, total=N, rows=1))
    for name in memory.params:
        np.testing.assert_allclose(memory.params[name], stream.params[name], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(memory.losses, stream.losses, rtol=1e-6)


def test_shuffling_matters_and_so_does_the_key():
    a, b, c = (
        run(SVI_GLOBAL, 20, Batches(Y, SIZE)),
        run(SVI_GLOBAL, 20, Batches(Y, SIZE, shuffle=False)),
        SVI_GLOBAL.run(jax.random.key(2), 20, batches=Batches(Y, SIZE), progress_bar=False),
    )
    assert (a.losses != b.losses).any() and (a.losses != c.losses).any()


def test_parts_of_a_run_are_the_whole_of_it():
    whole = run(SVI_GLOBAL, 30, Batches(Y, SIZE))
    first = run(SVI_GLOBAL, 11, Batches(Y, SIZE))
    rest = run(SVI_GLOBAL, 19, Batches(Y, SIZE), init_state=first.state)
    np.testing.assert_array_equal(np.concatenate([first.losses, rest.losses]), whole.losses)
    np.testing.assert_array_equal(rest.params["mu_auto_loc"], whole.params["mu_auto_loc"])


def test_chains_are_those_of_their_keys():
    fit = run(SVI_GLOBAL, 20, Batches(Y, SIZE), num_chains=2)
    for k, key in enumerate(jax.random.split(KEY, 2)):
        alone = SVI_GLOBAL.run(key, 20, batches=Batches(Y, SIZE), progress_bar=False)
        np.testing.assert_allclose(fit.losses[k], alone.losses, rtol=1e-5)


def test_a_short_last_batch_compiles_nothing_more(count_compiles):
    run(SVI_GLOBAL, 3, Batches(Y, SIZE))
    with count_compiles() as seen:
        run(SVI_GLOBAL, 40, Batches(Y + 1, SIZE))
        run(SVI_GLOBAL, 40, Batches(Y.copy(), SIZE))
    assert seen.count == 0
    run(SVI_GLOBAL, 16, Batches(in_order, SIZE, total=N, rows=1))
    with count_compiles() as seen:
        run(SVI_GLOBAL, 15, Batches(in_order, SIZE, total=N, rows=1))
    assert seen.count == 0


def test_data_by_keyword_and_other_arguments():
    def regression(shift: Any, y: Any = None) -> None:
        mu = svijax.sample("mu", dist.Normal(shift, 1.0))
        with svijax.plate("rows", y.shape[0]):
            svijax.sample("y", dist.Normal(mu, 1.0), obs=y)

    svi = SVI(regression, AutoNormal(regression), optax.adam(0.02), Trace_ELBO())
    batches = Batches({"y": Y}, SIZE, plate="rows")
    fit = svi.run(KEY, 20, 0.0, batches=batches, progress_bar=False)
    want = run(SVI_GLOBAL, 20, Batches(Y, SIZE))
    np.testing.assert_allclose(fit.losses, want.losses, rtol=1e-5)
    stream = Batches(lambda: ({"y": y} for y, _ in in_order()), SIZE, plate="rows", total=N)
    for twice in (batches, stream):
        with pytest.raises(ArgumentError, match=r"given to run and among the batches: \['y'\]"):
            svi.run(KEY, 20, 0.0, y=Y, batches=twice, progress_bar=False)


def test_transform_changes_what_the_programs_see():
    shifted = run(SVI_GLOBAL, 20, Batches(Y, SIZE, transform=lambda key, y: y + 3.0))
    want = run(SVI_GLOBAL, 20, Batches(Y + 3.0, SIZE))
    np.testing.assert_allclose(shifted.losses, want.losses, rtol=1e-5)

    def noisy(key: Any, y: Any) -> Any:
        return y + jax.random.normal(key, y.shape)

    # All rows are alike and nothing moves, so that losses differ by the transform's noise alone.
    still = SVI(model, lambda y: svijax.sample("mu", dist.Delta(0.0)), optax.sgd(0.0), Trace_ELBO())
    fit = run(still, 8, Batches(np.ones(16, np.float32), 8, transform=noisy))
    assert len(set(fit.losses.tolist())) == 8


def test_an_iterator_that_ends_ends_the_run():
    fit = run(SVI_GLOBAL, 100, Batches(in_order(), SIZE, total=N, rows=1))
    assert fit.status == Status.END_OF_DATA
    assert len(fit.losses) == 7 and int(fit.state.step) == 7


def test_what_a_loader_raises_leaves_the_fit_so_far():
    def broken() -> Iterator[Any]:
        yield from in_order()
        raise OSError("disk on fire")

    with pytest.raises(LoaderError, match="disk on fire") as error:
        run(SVI_GLOBAL, 100, Batches(broken(), SIZE, total=N, rows=1))
    want = run(SVI_GLOBAL, 7, Batches(in_order, SIZE, total=N, rows=1))
    same(error.value.result, want)
    assert isinstance(error.value.__cause__, OSError)
    assert not [t for t in threading.enumerate() if t.name == "svijax-reader"]


def test_an_interrupt_ends_the_reading_too():
    def interrupt(report: Any) -> None:
        raise KeyboardInterrupt

    fit = run(SVI_GLOBAL, 10_000, Batches(in_order, SIZE, total=N, rows=1), callback=interrupt)
    assert fit.status == Status.STOPPED_BY_USER and 0 < len(fit.losses) < 10_000
    assert not [t for t in threading.enumerate() if t.name == "svijax-reader"]


def test_a_plate_that_there_is_not_is_an_error_before_the_first_step():
    with pytest.raises(ModelError, match=r"no plate is named 'rows'[\s\S]*plates \['data'\]"):
        run(SVI_GLOBAL, 3, Batches(Y, SIZE, plate="rows"))


def test_local_tables_need_the_numbers_of_rows():
    with pytest.raises(ModelError, match=r"rows=\)"):
        run(SVI_LOCAL, 3, Batches(lambda: (y for y, _ in in_order()), SIZE, total=N))


def test_a_run_inside_jit():
    batches = Batches(Y, SIZE)
    inside = jax.jit(lambda key: SVI_GLOBAL.run(key, 12, batches=batches).losses)(KEY)
    np.testing.assert_allclose(inside, run(SVI_GLOBAL, 12, batches).losses, rtol=1e-5)


def test_the_rows_of_a_step_are_those_that_the_order_says():
    """By a table that only the rows in play move; in the last step of an epoch those of the short batch."""
    svi = SVI(local_model, AutoNormal(local_model), optax.sgd(1e-3), Trace_ELBO())
    before = run(svi, 6, Batches(Y, SIZE))
    after = run(svi, 1, Batches(Y, SIZE), init_state=before.state)
    moved = np.flatnonzero(after.params["z_auto_loc"] != before.params["z_auto_loc"])
    rows, valid = rows_of(jax.random.fold_in(before.state.key, ORDER), 6, 1, N, SIZE)
    assert int(valid[0]) == 2
    assert set(moved) == set(np.asarray(rows[0]))


@pytest.mark.slow
def test_ten_million_rows_stream_in_flat_memory():
    import resource

    total, size, width = 10**7, 2000, 8
    peaks = []

    def wide(y: Any) -> None:
        mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
        with svijax.plate("data", y.shape[0]):
            svijax.sample("y", dist.Normal(mu, 1.0).expand([width]).to_event(1), obs=y)

    def stream() -> Iterator[Any]:
        rng = np.random.default_rng(0)
        for i in range(total // size):
            if i % 500 == 0:
                peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000)
            yield rng.normal(1.0, 1.0, (size, width)).astype(np.float32)

    svi = SVI(wide, AutoNormal(wide), optax.adam(0.02), Trace_ELBO())
    fit = run(svi, total // size, Batches(stream(), size, total=total))
    assert len(fit.losses) == total // size
    np.testing.assert_allclose(fit.params["mu_auto_loc"], 1.0, atol=0.05)
    # 320 MB of data in ten groups; what the first half needs is enough for the second one.
    assert peaks[-1] - peaks[len(peaks) // 2] < 80, peaks

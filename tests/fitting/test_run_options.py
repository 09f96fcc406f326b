"""Options of ``run`` beside each other: donation, several watchers at once, ends of runs, minibatches that fail."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import Y, normal_guide, normal_model, schools_model

import svijax
import svijax.distributions as dist
from svijax.base import ArgumentError, LoaderError
from svijax.fitting import Average, Batches, IterateRhat, MaxTime, Metrics, RelativeELBO, Status
from svijax.guides import AutoNormal

SVI = svijax.SVI(normal_model, normal_guide, optax.adam(0.05))
KEY = jax.random.key(0)


def run(svi: Any, steps: int, *args: Any, **options: Any) -> Any:
    return svi.run(KEY, steps, *args, progress_bar=False, **options)


def same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def alike(a: Any, b: Any) -> None:
    """Equal to rounding: two programs took the steps."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("chains", [None, 3])
def test_a_donated_state_makes_the_same_fit(chains):
    plain = run(SVI, 300, Y, num_chains=chains)
    donated = run(SVI, 300, Y, num_chains=chains, donate=True)
    alike(plain.losses, donated.losses)
    alike(plain.state, donated.state)
    # A state that is handed in stays the caller's own.
    tail = run(SVI, 20, Y, init_state=plain.state, donate=True)
    assert np.isfinite(np.asarray(plain.state.free.arrays[0])).all()
    alike(tail.losses, run(SVI, 20, Y, init_state=plain.state).losses)


def test_donation_frees_the_memory_of_the_state():
    """Of a state of a megabyte the compiled loop keeps one copy less."""
    from svijax.fitting._chunk import Chunk, first_carry
    from svijax.fitting._feed import Whole

    def model() -> None:
        svijax.sample("w", dist.Normal(0.0, 1.0).expand([1 << 18]).to_event(1))

    svi = svijax.SVI(model, AutoNormal(model), optax.adam(0.1))
    feed = Whole(*svijax.base.split_arguments((), {}))
    state = svi.init(KEY)
    peaks = {}
    for donate in (False, True):
        watchers = svijax.fitting._options.Options().watchers
        chunk = Chunk(svi, state, "stop", watchers, feed, donate)
        carry = first_carry(state, watchers)
        memory = chunk.function.lower(watchers, feed, carry, np.int32(0)).compile().memory_analysis()
        peaks[donate] = memory.output_size_in_bytes - memory.alias_size_in_bytes
    assert peaks[True] < peaks[False] - 5 * (1 << 20)


def test_watchers_do_not_disturb_each_other_or_the_fit():
    plain = run(SVI, 400, Y)
    watched = run(
        SVI, 400, Y, average=Average(start=100), metrics=Metrics(), stop=[RelativeELBO(), MaxTime(1e9)]
    )
    alike(plain.losses[: len(watched.losses)], watched.losses)
    alone = run(SVI, 400, Y, average=Average(start=100))
    alike(alone.average, watched.average)


def test_chains_that_stop_are_frozen_and_the_rest_go_on():
    svi = svijax.SVI(normal_model, normal_guide, 0.02)
    starts = {"loc": jnp.array([0.0, 50.0])}
    from svijax.fitting import Chains

    fit = run(
        svi,
        6000,
        Y,
        chains=Chains(2, init_params=0),
        init_params=starts,
        stop=RelativeELBO(window=200, tol=1e-2),
    )
    steps = np.asarray(fit.state.step)
    assert (np.asarray(fit.status) == Status.CONVERGED).all()
    assert steps[0] < steps[1] == fit.losses.shape[1]
    for k in range(2):
        taken = np.isfinite(fit.losses[k])
        assert taken[: steps[k]].all() and not taken[steps[k] :].any()
        key = jax.random.split(KEY, 2)[k]
        start = {"loc": starts["loc"][k]}
        alone = svi.run(key, int(steps[k]), Y, init_params=start, progress_bar=False)
        np.testing.assert_allclose(fit.losses[k, : steps[k]], alone.losses, rtol=1e-4)
        np.testing.assert_allclose(fit.params["loc"][k], alone.params["loc"], rtol=1e-3)
    # The mean of the last losses is of those that were taken.
    assert np.isfinite(fit.final_losses(50)).all()
    assert fit.best().status is Status.CONVERGED


def test_a_converged_run_has_the_losses_of_its_steps_alone():
    fit = run(SVI, 10**6, Y, stop=RelativeELBO(window=100, tol=1e-2))
    assert fit.status is Status.CONVERGED and str(fit.status).startswith("converged")
    assert fit.losses.shape == (int(fit.state.step),) and np.isfinite(fit.losses).all()
    whole = run(SVI, len(fit.losses), Y)
    alike(fit.losses, whole.losses)
    alike(fit.state, whole.state)


def test_stopping_works_inside_jit():
    outside = run(SVI, 3000, Y, stop=RelativeELBO(window=100, tol=1e-2))
    inside = jax.jit(lambda key: SVI.run(key, 3000, Y, stop=RelativeELBO(window=100, tol=1e-2)))(KEY)
    assert int(inside.status) == Status.CONVERGED
    assert int(inside.state.step) == int(outside.state.step)
    assert np.isnan(inside.losses[int(inside.state.step) :]).all()


def test_a_loss_that_is_no_bound_is_called_so(capsys):
    from svijax import Trace_MMD
    from svijax.objectives import RBFKernel

    for objective in (Trace_MMD(RBFKernel()), lambda key, params, model, guide, y: params["loc"] ** 2):
        svijax.SVI(normal_model, normal_guide, 0.05, objective).run(KEY, 3, Y)
        assert "loss" in capsys.readouterr().err
    SVI.run(KEY, 3, Y)
    assert "ELBO" in capsys.readouterr().err


def test_time_is_over():
    fit = run(SVI, 10**9, Y, stop=MaxTime(0.3))
    assert fit.status is Status.MAX_TIME and str(fit.status).startswith("max_time")
    assert fit.losses.shape == (int(fit.state.step),)


def test_what_needs_the_host_is_an_error_inside_jit():
    for options, word in (
        ({"metrics": Metrics()}, "metrics="),
        ({"stop": MaxTime(1.0)}, "stop=MaxTime"),
        ({"callback": print}, "callback="),
        ({"batches": Batches(iter([Y]), 4, total=8)}, "batches that are read from outside"),
    ):
        with pytest.raises(ArgumentError, match=word):
            jax.jit(lambda key, options=options: SVI.run(key, 5, **options))(KEY)


def test_no_rule():
    with pytest.raises(ArgumentError, match="stop takes rules"):
        run(SVI, 5, Y, stop=0.01)


def test_the_average_of_a_rule_and_none():
    fit = run(SVI, 500, Y, stop=IterateRhat())
    assert set(fit.averaged.params) == set(fit.params)
    with pytest.raises(ArgumentError, match="no average of the iterates was kept") as error:
        _ = run(SVI, 5, Y).averaged
    assert "average=Average()" in str(error.value)


ROWS = np.linspace(-1.0, 1.0, 48, dtype=np.float32)


def rows_model(y: Any) -> None:
    mu = svijax.sample("mu", dist.Normal(0.0, 10.0))
    with svijax.plate("data", y.shape[0]):
        svijax.sample("y", dist.Normal(mu, 1.0), obs=y)


ROWS_SVI = svijax.SVI(rows_model, AutoNormal(rows_model), 0.05)


def test_a_batch_with_nan_stops_the_run_and_is_explained():
    bad = ROWS.copy()
    bad[17] = np.nan
    fit = run(ROWS_SVI, 40, batches=Batches(bad, 8, shuffle=False))
    # Rows 16 to 23 make step 2.
    assert fit.status is Status.NONFINITE and int(fit.state.step) == 2
    assert "y" in fit.explain().suspects
    groups = [ROWS[:8], ROWS[8:16], bad[16:24]]
    streamed = run(ROWS_SVI, 40, batches=Batches(groups, 8, total=48))
    assert streamed.status is Status.NONFINITE and int(streamed.state.step) == 2
    assert "y" in streamed.explain().suspects


def test_a_loader_that_fails_keeps_the_fit():
    def loader() -> Any:
        yield ROWS[:8]
        yield ROWS[8:16]
        raise OSError("the disk is gone")

    with pytest.raises(LoaderError, match="OSError: the disk is gone") as error:
        run(ROWS_SVI, 40, batches=Batches(loader, 8, total=48))
    assert isinstance(error.value.__cause__, OSError)
    assert error.value.result.losses.shape == (2,)
    assert int(error.value.result.state.step) == 2
    more = run(ROWS_SVI, 3, batches=Batches(ROWS, 8), init_state=error.value.result.state)
    assert int(more.state.step) == 5


def test_a_stream_that_ends_ends_the_run():
    fit = run(ROWS_SVI, 40, batches=Batches(iter([ROWS[:8], ROWS[8:16]]), 8, total=48))
    assert fit.status is Status.END_OF_DATA and fit.losses.shape == (2,)
    assert str(fit.status).startswith("end_of_data")


def test_batches_and_whole_arguments_go_together():
    def model(y: Any, spread: Any, shift: bool = False) -> None:
        mu = svijax.sample("mu", dist.Normal(0.0, 10.0))
        with svijax.plate("data", y.shape[0]):
            svijax.sample("y", dist.Normal(mu + (5.0 if shift else 0.0), spread), obs=y)

    svi = svijax.SVI(model, AutoNormal(model), 0.05)
    named = run(svi, 30, batches=Batches({"y": ROWS}, 8), spread=2.0, shift=True)
    placed = run(svi, 30, 2.0, batches=Batches((ROWS,), 8), shift=True)
    np.testing.assert_array_equal(named.losses, placed.losses)
    assert not np.array_equal(named.losses, run(svi, 30, 2.0, batches=Batches(ROWS, 8)).losses)
    assert named.posterior.sample(3)["mu"].shape == (3,)
    with pytest.raises(ArgumentError, match=r"given to run and among the batches: \['y'\]"):
        run(svi, 3, y=ROWS, spread=2.0, batches=Batches({"y": ROWS}, 8))


def test_a_split_run_on_batches_is_the_run():
    batches = Batches(ROWS, 7)
    whole = run(ROWS_SVI, 60, batches=batches)
    head = run(ROWS_SVI, 23, batches=batches)
    tail = run(ROWS_SVI, 37, batches=batches, init_state=head.state)
    np.testing.assert_array_equal(whole.losses, np.concatenate([head.losses, tail.losses]))
    same(whole.state, tail.state)


def test_chains_on_batches_are_single_runs(x64):
    batches = Batches(ROWS.astype(float), 7)
    fit = run(ROWS_SVI, 30, batches=batches, num_chains=2)
    for k, key in enumerate(jax.random.split(KEY, 2)):
        alone = ROWS_SVI.run(key, 30, batches=batches, progress_bar=False)
        np.testing.assert_allclose(fit.losses[k], alone.losses, rtol=1e-10)


@pytest.mark.parametrize(
    "name, value, fix",
    [
        ("batches", (ROWS,), "write batches=Batches((x, y), size=128)."),
        ("checkpoint", "folder", "write checkpoint=Checkpoint(folder)."),
        ("metrics", True, "write metrics=Metrics()."),
        ("average", 0.99, "write average=Average()."),
        ("callback", "log.csv", "pass a function, or a sequence of them."),
    ],
)
def test_an_option_of_another_kind(name, value, fix):
    with pytest.raises(ArgumentError, match=f"{name}= of run takes another kind of thing") as error:
        run(SVI, 3, Y, **{name: value})
    assert fix in str(error.value) and type(value).__name__ in str(error.value)


SHIFT = jnp.zeros(())


def shifted(key: Any, rows: Any) -> Any:
    return rows + SHIFT


def shift_of(state: Any) -> dict[str, Any]:
    return {"shift": SHIFT}


def test_what_functions_of_options_read_may_be_rebound(monkeypatch):
    """A transform and a metric see a global that was rebound, as model and guide do."""
    seen = []
    batches, metrics = Batches(ROWS, 8, transform=shifted), Metrics(custom=shift_of)
    for shift in (0.0, 3.0):
        monkeypatch.setitem(globals(), "SHIFT", jnp.asarray(shift))
        fit = run(ROWS_SVI, 300, batches=batches)
        np.testing.assert_allclose(fit.posterior.mean()["mu"], shift, atol=0.7)
        run(SVI, 3, Y, metrics=metrics, callback=lambda report: seen.append(report.metrics["shift"]))
    assert seen == [0.0, 3.0]


def test_options_of_run_and_words_of_the_model():
    def model(y: Any, stop: float = 0.0) -> None:
        svijax.sample("y", dist.Normal(stop, 1.0), obs=y)

    with pytest.raises(ArgumentError, match=r"an option of run too: \['stop'\]"):
        run(svijax.SVI(model, lambda y, stop=0.0: None, 0.1), 3, 1.0)


def test_schools_with_everything(tmp_path):
    """All options of a long run at once."""
    from svijax.fitting import Checkpoint, JSONLines

    svi = svijax.SVI(schools_model, AutoNormal(schools_model), optax.adam(0.02))
    options: dict[str, Any] = {
        "num_chains": 4,
        "stop": [RelativeELBO(), MaxTime(1e9)],
        "average": Average(),
        "metrics": Metrics(custom=lambda state: {"tau": state.params["tau_auto_loc"]}),
        "checkpoint": Checkpoint(tmp_path / "run", every_steps=500),
    }
    fit = run(svi, 3000, Y, callback=JSONLines(tmp_path / "log.jsonl"), **options)
    assert fit.averaged.best().posterior.sample(5)["mu"].shape == (5,)
    again = run(svi, 3000, Y, **options)
    np.testing.assert_array_equal(fit.losses, again.losses)
    same(fit.average, again.average)

"""Runs that are broken off and taken up again end with the bits of an unbroken run."""

from __future__ import annotations

import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import Y, normal_guide, normal_model

import svijax
import svijax.distributions as dist
from svijax import Checkpoint, Status
from svijax.base import ArgumentError, CheckpointError, LoaderError
from svijax.fitting import Average, Batches, IterateRhat, MaxTime, RelativeELBO
from svijax.guides import AutoNormal

KEY = jax.random.key(0)
SVI = svijax.SVI(normal_model, normal_guide, optax.adam(0.05))


def run(num_steps, *args, svi=SVI, key=KEY, **options):
    return svi.run(key, num_steps, *(args or (Y,)), progress_bar=False, **options)


def same(a, b):
    """Whether two results are of the same bits."""
    assert jax.tree.structure(a.state) == jax.tree.structure(b.state)
    for x, y in zip(jax.tree.leaves((a.state, a.params)), jax.tree.leaves((b.state, b.params))):
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(a.losses, b.losses)
    assert a.losses.dtype == b.losses.dtype
    np.testing.assert_array_equal(a.status, b.status)
    np.testing.assert_array_equal(a.skipped, b.skipped)


class Breaks:
    """A callback that interrupts the run after a step."""

    def __init__(self, step, error=KeyboardInterrupt):
        self.step, self.error = step, error

    def __call__(self, report):
        if report.step >= self.step:
            raise self.error


CASES = {
    "plain": {},
    "skip, donate": {"on_nonfinite": "skip", "donate": True},
    "chains, average, rule": {"num_chains": 2, "average": Average(), "stop": RelativeELBO(window=60)},
    "raw key": {"key": jax.random.PRNGKey(3)},
    "start": {"init_params": {"loc": 2.0}},
}
SLOW = {
    "other generator": {"key": jax.random.key(3, impl="rbg"), "num_chains": 2},
    "one average": {"average": Average(start=10)},
}


@pytest.mark.parametrize("case", [*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)])
def test_the_same_bits(case, tmp_path):
    options = {**CASES, **SLOW}[case]
    unbroken = run(230, **options)
    keep = Checkpoint(tmp_path, every_steps=30)
    first = run(70, checkpoint=keep, **options)
    np.testing.assert_array_equal(first.losses, unbroken.losses[..., :70])
    second = run(230, checkpoint=keep, callback=Breaks(150), **options)
    assert np.all(second.status == Status.STOPPED_BY_USER)
    assert 150 <= second.losses.shape[-1] < 230
    # What came after the last multiple of 30 is lost here, and found again.
    os.unlink(max(tmp_path.glob("step*")))
    third = run(230, checkpoint=keep, **options)
    same(third, unbroken)
    if "average" in options:
        same(third.averaged, unbroken.averaged)
        assert not np.array_equal(third.averaged.params["loc"], third.params["loc"])
    assert max(tmp_path.glob("step*")).name == f"step-{int(np.max(unbroken.state.step)):012d}.svijax"
    assert len(list(tmp_path.glob("step*"))) == 3
    again = run(230, checkpoint=keep, **options)
    same(again, unbroken)
    assert again.timings.steps_per_second == 0


def test_nothing_is_compiled_to_take_up_a_finished_run(tmp_path, count_compiles):
    keep = Checkpoint(tmp_path)
    done = run(50, checkpoint=keep)
    with count_compiles() as seen:
        again = run(50, checkpoint=keep)
    assert seen.count == 0
    same(again, done)
    same(run(50, checkpoint=Checkpoint(tmp_path, resume=False)), done)
    longer = run(80, checkpoint=keep)
    same(longer, run(80))


@pytest.mark.parametrize(
    "rule",
    [RelativeELBO(window=50), pytest.param(IterateRhat(window=100, mcse=1.0), marks=pytest.mark.slow)],
)
def test_a_rule_fires_where_it_would_have(rule, tmp_path):
    unbroken = run(4000, stop=rule)
    end = int(unbroken.state.step)
    assert unbroken.status is Status.CONVERGED
    assert end < 4000
    keep = Checkpoint(tmp_path)
    for step in (end // 3, end - 5):
        assert run(4000, stop=rule, checkpoint=keep, callback=Breaks(step)).status in (
            Status.STOPPED_BY_USER,
            Status.CONVERGED,
        )
    same(run(4000, stop=rule, checkpoint=keep), unbroken)
    # Converged is converged, however many steps are allowed.
    assert int(run(5000, stop=rule, checkpoint=keep).state.step) == end


def test_a_run_that_failed_stays_so(tmp_path):
    def model():
        count = svijax.mutable("count", {"n": jnp.zeros(())})
        here = count["n"] == 25
        count["n"] = count["n"] + 1.0
        svijax.sample("z", dist.Normal(1.0, 1.0))
        svijax.factor("extra", jnp.where(here, jnp.nan, 0.0))

    svi = svijax.SVI(model, AutoNormal(model), optax.adam(0.1))
    options = {"progress_bar": False, "checkpoint": Checkpoint(tmp_path, every_steps=10)}
    failed = svi.run(KEY, 60, **options)
    assert failed.status is Status.NONFINITE
    again = svi.run(KEY, 60, **options)
    same(again, failed)
    assert again.losses.shape == (60,)


def test_time_that_is_over_is_given_anew(tmp_path):
    keep = Checkpoint(tmp_path)
    cut = run(300, checkpoint=keep, stop=MaxTime(1e-6))
    assert cut.status is Status.MAX_TIME
    assert cut.losses.shape[0] < 300
    same(run(300, checkpoint=keep), run(300))


ROWS = np.random.default_rng(0).normal(size=(53, 2)).astype(np.float32)


def rows_model(x):
    mu = svijax.sample("mu", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    with svijax.plate("data", 53):
        svijax.sample("x", dist.Normal(mu, 1.0).to_event(1), obs=x)


def batches(reads=None, ends=None):
    """Batches of a loader: the same ones in each process."""
    for i in range(10_000):
        if i == ends:
            raise OSError("the disk is gone")
        if reads is not None:
            reads.append(i)
        yield np.random.default_rng(i).normal(size=(8, 2)).astype(np.float32)


BY_ROWS = svijax.SVI(rows_model, AutoNormal(rows_model), optax.adam(0.05))


def by_rows(num_steps, data, **options):
    return BY_ROWS.run(KEY, num_steps, batches=data, progress_bar=False, **options)


def test_the_position_in_epochs(tmp_path):
    data = Batches(ROWS, size=8)
    keep = Checkpoint(tmp_path, every_steps=10)
    by_rows(45, data, checkpoint=keep)
    same(by_rows(120, data, checkpoint=keep), by_rows(120, data))


@pytest.mark.slow
def test_batches_of_another_size(tmp_path):
    by_rows(10, Batches(ROWS, size=8), checkpoint=Checkpoint(tmp_path))
    with pytest.raises(CheckpointError) as error:
        by_rows(20, Batches(ROWS, size=9), checkpoint=Checkpoint(tmp_path))
    assert "size: expected 9, got 8" in str(error.value)


def test_the_position_in_a_stream(tmp_path):
    keep = Checkpoint(tmp_path, every_steps=10)
    by_rows(45, Batches(batches(), size=8, total=53), checkpoint=keep)
    resumed = by_rows(120, Batches(batches(), size=8, total=53), checkpoint=keep)
    same(resumed, by_rows(120, Batches(batches(), size=8, total=53)))


def test_a_loader_that_breaks(tmp_path):
    keep = Checkpoint(tmp_path)
    with pytest.raises(LoaderError, match="the disk is gone") as error:
        by_rows(120, Batches(batches(ends=70), size=8, total=53), checkpoint=keep)
    assert int(error.value.result.state.step) > 0
    resumed = by_rows(120, Batches(batches(), size=8, total=53), checkpoint=keep)
    same(resumed, by_rows(120, Batches(batches(), size=8, total=53)))


def refusal(keep, *args, **options):
    with pytest.raises(CheckpointError) as error:
        run(60, *args, checkpoint=keep, **options)
    text = str(error.value)
    assert "fix:" in text
    return text


def shifted(by):
    def model(y):
        mu = svijax.sample("mu", dist.Normal(by, 1.0))
        with svijax.plate("data", y.shape[0]):
            svijax.sample("y", dist.Normal(mu, 1.0), obs=y)

    return svijax.SVI(model, normal_guide, optax.adam(0.05))


def test_of_another_run(tmp_path):
    keep = Checkpoint(tmp_path / "a")
    run(20, checkpoint=keep)
    other = svijax.SVI(normal_model, AutoNormal(normal_model), optax.adam(0.05))
    text = refusal(keep, svi=other)
    assert "is of another run" in text
    assert "parameters mu_auto_loc: expected (), which the file lacks" in text
    assert "parameters loc: the file has (), which is not expected" in text
    assert "key: expected threefry2x32 uint32 (2,)" in refusal(keep, key=jax.random.key(1))
    assert "data .arrays[0]: expected float32 (5,) crc32" in refusal(keep, Y + 1)
    assert "data .arrays[0]: expected float32 (4,)" in refusal(keep, Y[:4])
    assert "chains: expected 2, got None" in refusal(keep, num_chains=2)
    assert "init_params ['loc']: expected" in refusal(keep, init_params={"loc": 1.0})
    text = refusal(keep, svi=svijax.SVI(normal_model, normal_guide, optax.sgd(0.05)))
    assert "differs in" in text
    assert ".state.optim_state[0].mu[0]: the file has float32 (2,), which is not expected" in text
    text = refusal(keep, average=Average())
    assert ".memory[0].count: expected int32 (), which the file lacks" in text
    # Nothing of this has touched what is there; another rate is no other run.
    faster = svijax.SVI(normal_model, normal_guide, optax.adam(0.5))
    np.testing.assert_array_equal(run(60, svi=faster, checkpoint=keep).losses[:20], run(20).losses)


def test_of_a_model_with_other_numbers_in_its_closure(tmp_path):
    keep = Checkpoint(tmp_path)
    run(20, svi=shifted(0.0), checkpoint=keep)
    assert "closures and globals: expected" in refusal(keep, svi=shifted(1.0))
    assert "closures and globals: expected" in refusal(keep, svi=shifted(np.float32([0.0, 1.0])[1]))
    assert run(60, svi=shifted(0.0), checkpoint=keep).losses.shape == (60,)


def test_further_from_a_state(tmp_path):
    state = run(100).state
    keep = Checkpoint(tmp_path)
    run(30, init_state=state, checkpoint=keep)
    same(run(80, init_state=state, checkpoint=keep), run(80, init_state=state))
    assert "first step: expected 0, got 100" in refusal(keep)


def test_a_disk_that_fills_up_while_it_runs(tmp_path, monkeypatch):
    sync, count = os.fsync, []

    def full(handle):
        count.append(handle)
        if len(count) > 6:
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError) as error:
        run(300, checkpoint=Checkpoint(tmp_path, every_steps=20))
    assert "No space left on device" in str(error.value)
    monkeypatch.undo()
    taken = int(error.value.result.state.step)
    assert 40 < taken <= 300
    np.testing.assert_array_equal(error.value.result.losses, run(300).losses[:taken])
    same(run(300, checkpoint=Checkpoint(tmp_path, every_steps=20)), run(300))


def test_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    steps = []
    for keep, words in (
        (Checkpoint(tmp_path / "file" / "f"), "cannot be written"),
        (str(tmp_path), "write checkpoint=Checkpoint(folder)"),
    ):
        with pytest.raises((CheckpointError, ArgumentError)) as error:
            run(20, checkpoint=keep, callback=steps.append)
        assert words in str(error.value)
    assert steps == []
    with pytest.raises(ArgumentError, match="checkpoint= needs the host"):
        jax.jit(lambda key: SVI.run(key, 5, Y, checkpoint=Checkpoint(tmp_path)).losses)(KEY)


def test_by_seconds(tmp_path):
    def slow(report):
        time.sleep(0.02)

    for seconds, least, most in ((1e-3, 2, 9), (1e3, 1, 1)):
        folder = tmp_path / str(seconds)
        run(1000, checkpoint=Checkpoint(folder, every_seconds=seconds, keep=9), callback=slow)
        assert least <= len(list(folder.glob("step*"))) <= most


def test_other_processes_may_read_the_last_state(tmp_path):
    run(50, checkpoint=Checkpoint(tmp_path, every_steps=20))
    path = max(tmp_path.glob("step*"))
    assert svijax.fitting.read_metadata(path)["step"] == 50
    loc, scale = svijax.fitting.restore(path)[".state.free.arrays[0]"]
    fitted = run(50).params
    assert loc == fitted["loc"]
    np.testing.assert_allclose(np.exp(scale), fitted["scale"], rtol=1e-6)


def test_a_write_under_way_is_awaited_when_a_callback_raises(tmp_path, monkeypatch):
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (time.sleep(0.05), sync(handle)))
    keep = Checkpoint(tmp_path, every_steps=20)
    with pytest.raises(ZeroDivisionError):
        run(300, checkpoint=keep, callback=Breaks(40, ZeroDivisionError))
    assert [p.name for p in tmp_path.glob("step*")] == ["step-000000000020.svijax"]
    assert not list(tmp_path.glob(".*"))
    same(run(300, checkpoint=keep), run(300))

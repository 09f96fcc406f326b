"""The keeper of a run's checkpoints by itself: when it saves, what it keeps, what it reads back."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from svijax.base import ArgumentError, CheckpointError, DamagedCheckpointError
from svijax.fitting import Checkpoint
from svijax.fitting._checkpoint import Keeper
from svijax.fitting._losses import LossFile

ABOUT = {"parameters": {"loc": "(3,)"}, "chains": None, "first step": 0, "key": "threefry2x32 7"}


@partial(jax.tree_util.register_dataclass, data_fields=["step", "x"], meta_fields=[])
@dataclass(frozen=True)
class State:
    step: jax.Array
    x: jax.Array


@partial(jax.tree_util.register_dataclass, data_fields=["state"], meta_fields=[])
@dataclass(frozen=True)
class Toy:
    state: State


def toy(step):
    return Toy(State(jnp.array(step, jnp.int32), jnp.arange(3.0) * step))


def parts(step, size=7):
    """The losses of ``step`` steps, in parts."""
    return np.split(np.arange(step, dtype=np.float32), range(size, step, size))


def keeper(folder, clock=lambda: 0.0, about=ABOUT, num_steps=10**6, **options):
    made = Keeper(Checkpoint(folder, **options), clock=clock)
    return made, made.start(toy(0), about, num_steps)


def filled(folder, *steps, **options):
    """A folder in which a run saved after these steps."""
    made, _ = keeper(folder, **options)
    for step in steps:
        made.save(step, toy(step), parts(step))
    made.wait()
    return made


def names(folder):
    return sorted(p.name for p in Path(folder).iterdir() if p.name.startswith("step"))


def test_nothing_there(tmp_path):
    made, carry = keeper(tmp_path / "a" / "b")
    assert made.step == 0
    assert made.losses == []
    assert int(carry.state.step) == 0
    assert os.listdir(tmp_path / "a" / "b") == []


def test_what_was_saved_last_comes_back(tmp_path):
    filled(tmp_path, 5, 12, 30)
    made, carry = keeper(tmp_path)
    assert made.step == 30
    np.testing.assert_array_equal(carry.state.x, 30 * np.arange(3.0))
    np.testing.assert_array_equal(np.concatenate(made.losses), np.arange(30.0))
    # On from there, the losses of the first run in one part.
    made.save(41, toy(41), [*made.losses, np.arange(30.0, 41.0), np.zeros(0)])
    made.wait()
    again, _ = keeper(tmp_path)
    assert again.step == 41
    assert again.losses[0].shape == (41,)
    assert len([p for p in tmp_path.iterdir() if p.name.startswith("losses")]) == 1


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_ones_stay(tmp_path, keep):
    filled(tmp_path, 1, 2, 30, 400, 5000, keep=keep)
    assert names(tmp_path) == [f"step-{s:012d}.svijax" for s in (2, 30, 400, 5000)[-keep:]]
    # After a restart those of the run before count too.
    made, _ = keeper(tmp_path, keep=keep)
    made.save(6000, toy(6000), parts(6000))
    made.wait()
    assert names(tmp_path) == [f"step-{s:012d}.svijax" for s in (30, 400, 5000, 6000)[-keep:]]


def test_the_old_one_is_deleted_after_the_new_one_is_whole(tmp_path, monkeypatch):
    made = filled(tmp_path, 5, keep=1)
    monkeypatch.setattr(os, "replace", lambda a, b: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    made.save(6, toy(6), parts(6))
    with pytest.raises(CheckpointError, match="Input/output error"):
        made.wait()
    monkeypatch.undo()
    assert keeper(tmp_path)[0].step == 5


def test_an_error_in_the_background_surfaces_at_the_next_save(tmp_path, monkeypatch):
    made, _ = keeper(tmp_path)
    monkeypatch.setattr(
        os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    made.save(5, toy(5), parts(5))
    with pytest.raises(CheckpointError) as error:
        made.save(6, toy(6), parts(6))
    assert "cannot be written" in str(error.value)
    assert "No space left on device" in str(error.value)
    assert "make room" in str(error.value)
    monkeypatch.undo()
    # There was room again: nothing is missing.
    made.save(9, toy(9), parts(9))
    made.finish(9, toy(9), parts(9))
    again, carry = keeper(tmp_path)
    np.testing.assert_array_equal(again.losses[0], np.arange(9.0))
    assert int(carry.state.step) == 9


def test_steps(tmp_path):
    made, _ = keeper(tmp_path, every_steps=100)
    assert [made.steps_to_next(s) for s in (0, 1, 99, 100, 250)] == [100, 99, 1, 100, 50]
    assert [made.due(s) for s in (50, 100, 150, 200)] == [False, True, False, True]
    made.save(100, toy(100), parts(100))
    assert not made.due(100)
    assert made.due(200)


def test_seconds(tmp_path):
    now = [0.0]
    made, _ = keeper(tmp_path, lambda: now[0], every_seconds=10)
    assert made.steps_to_next(7) > 10**9
    assert not made.due(5)
    now[0] = 9.9
    assert not made.due(6)
    now[0] = 10.0
    assert made.due(7)
    made.save(7, toy(7), parts(7))
    made.wait()
    assert not made.due(8)
    now[0] = 20.5
    assert made.due(8)
    assert not made.due(7)  # nothing was taken since


def test_a_minute_if_nothing_is_said(tmp_path):
    now = [0.0]
    by_default, _ = keeper(tmp_path / "a", lambda: now[0])
    by_steps, _ = keeper(tmp_path / "b", lambda: now[0], every_steps=1000)
    both, _ = keeper(tmp_path / "c", lambda: now[0], every_steps=1000, every_seconds=5)
    now[0] = 59.0
    assert [k.due(7) for k in (by_default, by_steps, both)] == [False, False, True]
    now[0] = 60.0
    assert [k.due(7) for k in (by_default, by_steps, both)] == [True, False, True]


def test_the_clock_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    go, now, sync = threading.Event(), [0.0], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (go.wait(10), sync(handle)))
    made, _ = keeper(tmp_path, lambda: now[0], every_seconds=1)
    made.save(5, toy(5), parts(5))  # returns, while the disk is busy
    now[0] = 100.0
    assert not made.due(50)
    go.set()
    made.wait()
    assert made.due(50)
    assert keeper(tmp_path)[0].step == 5


def test_the_end_is_saved_once(tmp_path):
    made = filled(tmp_path, 5, 8)
    stamp = os.stat(tmp_path / names(tmp_path)[-1]).st_mtime_ns
    made.finish(8, toy(8), parts(8))
    assert os.stat(tmp_path / names(tmp_path)[-1]).st_mtime_ns == stamp
    made, _ = keeper(tmp_path)
    made.finish(11, toy(11), parts(11))
    assert keeper(tmp_path)[0].step == 11
    # A carry that is ahead of its losses, as an interrupt may leave it, is not saved.
    made, _ = keeper(tmp_path)
    made.finish(15, toy(18), parts(15))
    assert keeper(tmp_path)[0].step == 11


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    "harm", [damage, truncate, lambda p: p.write_bytes(b""), lambda p: p.write_text("mine")]
)
def test_damaged(tmp_path, harm):
    filled(tmp_path, 5, 8, 12)
    harm(tmp_path / "step-000000000012.svijax")
    with pytest.raises(DamagedCheckpointError) as error:
        keeper(tmp_path)
    assert "step-000000000012.svijax" in str(error.value)
    assert "there is one of step 8: Checkpoint(..., on_damaged='previous') takes it." in str(error.value)
    made, carry = keeper(tmp_path, on_damaged="previous", keep=1)
    assert made.step == 8
    assert int(carry.state.step) == 8
    assert made.losses[0].shape == (8,)
    # The damaged one, which has more steps, does not push out the good ones.
    made.save(9, toy(9), [*made.losses, np.array([8.0], np.float32)])
    made.wait()
    assert names(tmp_path) == ["step-000000000009.svijax"]
    np.testing.assert_array_equal(keeper(tmp_path)[0].losses[0], np.arange(9.0))


def test_all_damaged(tmp_path):
    filled(tmp_path, 5, 8)
    for path in tmp_path.glob("step*"):
        truncate(path)
    with pytest.raises(DamagedCheckpointError) as error:
        keeper(tmp_path, on_damaged="previous")
    assert "there is none before it: Checkpoint(..., resume=False) begins anew." in str(error.value)
    assert keeper(tmp_path, resume=False)[0].step == 0


def test_damaged_losses(tmp_path):
    filled(tmp_path, 1000, 2000)
    place = next(tmp_path.glob("losses*"))
    with open(place, "r+b") as file:
        file.seek(1500 * 4)
        file.write(b"abcd")
    with pytest.raises(DamagedCheckpointError) as error:
        keeper(tmp_path)
    assert f"the losses {str(place)!r} of a checkpoint are truncated or damaged" in str(error.value)
    assert "other bytes than were written" in str(error.value)
    assert keeper(tmp_path, on_damaged="previous")[0].step == 1000
    os.truncate(place, 1200 * 4)
    with pytest.raises(DamagedCheckpointError, match="4800 bytes of 8000"):
        keeper(tmp_path)
    place.unlink()
    with pytest.raises(DamagedCheckpointError, match="No such file"):
        keeper(tmp_path, on_damaged="previous")


def test_what_a_killed_process_left(tmp_path):
    """Half a file under a temporary name, and losses of steps that no checkpoint has."""
    filled(tmp_path, 5, 8)
    (tmp_path / ".step-000000000012.svijax.123.tmp").write_bytes(b"PK\3\4half")
    with open(next(tmp_path.glob("losses*")), "ab") as file:
        file.write(b"x" * 10)
    made, _ = keeper(tmp_path)
    assert made.step == 8
    assert not list(tmp_path.glob(".*"))
    made.save(9, toy(9), parts(9))
    made.wait()
    np.testing.assert_array_equal(keeper(tmp_path)[0].losses[0], np.arange(9.0))


def test_begin_anew(tmp_path):
    filled(tmp_path, 5, 8, 12)
    (tmp_path / "notes.txt").write_text("mine")
    made, carry = keeper(tmp_path, resume=False)
    assert (made.step, made.losses, int(carry.state.step)) == (0, [], 0)
    # Until the first save the old ones are there.
    assert keeper(tmp_path)[0].step == 12
    made.save(3, toy(3), parts(3))
    made.wait()
    assert names(tmp_path) == ["step-000000000003.svijax"]
    assert len(list(tmp_path.glob("losses*"))) == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_of_another_run(tmp_path):
    filled(tmp_path, 5)
    about = {**ABOUT, "parameters": {"loc": "(4,)", "scale": "()"}, "key": "rbg 7"}
    with pytest.raises(CheckpointError) as error:
        keeper(tmp_path, about=about)
    text = str(error.value)
    assert "is of another run" in text
    assert "parameters loc: expected (4,), got (3,)" in text
    assert "resume=False" in text
    with pytest.raises(CheckpointError) as error:
        keeper(tmp_path, num_steps=4)
    assert "beyond the end of this run" in str(error.value)
    assert "expected: at most 4 steps" in str(error.value)
    assert keeper(tmp_path, num_steps=5)[0].step == 5


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError) as error:
        keeper(tmp_path / "file" / "folder")
    assert "cannot be written" in str(error.value)
    assert "NotADirectoryError" in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every_steps": 0}, "every_steps must be an int of at least 1"),
        ({"every_steps": 2.5}, "every_steps must be an int"),
        ({"every_seconds": 0}, "every_seconds= of Checkpoint is a positive number"),
        ({"every_seconds": float("nan")}, "every_seconds="),
        ({"keep": 0}, "keep must be an int of at least 1"),
        ({"on_damaged": "ignore"}, "'raise', 'previous'"),
        ({"folder": 3}, "folder= of Checkpoint is a path"),
    ],
)
def test_options(options, words):
    with pytest.raises(ArgumentError) as error:
        Checkpoint(**{"folder": "f", **options})
    assert words in str(error.value)


def test_losses_of_chains(tmp_path):
    rows = np.random.default_rng(0).normal(size=(20, 3))
    file = LossFile("losses-00.bin").append(tmp_path, rows[:12])
    np.testing.assert_array_equal(file.rest_of([rows[:5], rows[5:15], rows[15:]]), rows[12:])
    assert file.rest_of([rows[:12]]) is None
    longer = file.append(tmp_path, rows[12:])
    np.testing.assert_array_equal(longer.read(tmp_path), rows)
    np.testing.assert_array_equal(file.read(tmp_path), rows[:12])
    assert longer.append(tmp_path, None) is longer

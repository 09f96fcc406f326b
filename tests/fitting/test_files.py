"""``save`` and ``restore``: what goes into a file comes out of it, and a file of something else is told from it."""

from __future__ import annotations

import json
import os
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import Y, normal_guide, normal_model

import svijax
from svijax.base import ArgumentError, CheckpointError, DamagedCheckpointError
from svijax.fitting import read_metadata, restore, save
from svijax.guides import AutoNormal

SVI = svijax.SVI(normal_model, normal_guide, optax.adam(0.1))


def bits(tree):
    """Structure, dtypes, shapes and bytes."""
    leaves, structure = jax.tree.flatten(tree)
    out = []
    for leaf in leaves:
        key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        value = np.asarray(jax.random.key_data(leaf) if key else leaf)
        out.append((str(getattr(leaf, "dtype", type(leaf))), value.shape, value.tobytes()))
    return structure, out


def everything():
    names = (
        "float32",
        "float16",
        "bfloat16",
        "float8_e4m3fn",
        "float8_e5m2",
        "int8",
        "int4",
        "uint4",
        "uint32",
    )
    return {
        **{name: jnp.arange(6).reshape(2, 3).astype(name) for name in names},
        "bool": jnp.array([True, False]),
        "complex64": jnp.array(1 + 2j),
        "nan": jnp.array([jnp.nan, -jnp.inf, -0.0]),
        "empty": jnp.zeros((0, 3)),
        "keys": jax.random.split(jax.random.key(3), 4),
        "rbg": jax.random.key(1, impl="rbg"),
        "raw key": jax.random.PRNGKey(2),
        "host double": np.linspace(0, 1, 3),
        "host columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "host number": np.float64(1 / 3),
        "numbers": (3, 0.1, True, 2 - 1j),
        "nothing": None,
        "nested/odd name": [{"a'b": jnp.ones(2)}, optax.adam(1.0).init(jnp.ones(3))],
    }


def test_every_dtype_comes_back(tmp_path):
    tree = everything()
    path = tmp_path / "tree.svijax"
    save(path, tree, metadata={"epoch": 3, "note": "ü"})
    again = restore(path, tree)
    assert bits(again) == bits(tree)
    assert type(again["numbers"][0]) is int
    assert type(again["host number"]) is np.float64
    assert isinstance(again["host double"], np.ndarray)
    shapes = jax.eval_shape(
        lambda: {k: v for k, v in everything().items() if k not in ("numbers",) and "host" not in k}
    )
    part = {name: tree[name] for name in shapes}
    save(path, part)
    assert bits(restore(path, shapes)) == bits(part)
    assert read_metadata(path) == {}


def test_double_precision(tmp_path, x64):
    tree = {"x": jnp.arange(3.0) / 3}
    save(tmp_path / "f", tree)
    assert bits(restore(tmp_path / "f", tree)) == bits(tree)
    like = jax.eval_shape(lambda: tree)
    jax.config.update("jax_enable_x64", False)
    with pytest.raises(CheckpointError) as error:
        restore(tmp_path / "f", like)
    assert "has ['x'] in float64, which JAX would cut down here" in str(error.value)
    assert "jax_enable_x64" in str(error.value)


def test_without_like(tmp_path):
    state = SVI.init(jax.random.key(0), Y)
    save(tmp_path / "f", state, metadata={"loss": 1.5})
    flat = restore(tmp_path / "f")
    assert next(iter(flat)) == ".free.arrays[0]"
    np.testing.assert_array_equal(flat[".free.arrays[0]"], state.free.arrays[0])
    assert read_metadata(tmp_path / "f") == {"loss": 1.5}
    # Nothing but NumPy is needed, and no pickle.
    with np.load(tmp_path / "f", allow_pickle=False) as arrays:
        assert int(arrays[".step"]) == 0
    with zipfile.ZipFile(tmp_path / "f") as archive:
        header = json.loads(archive.read("header.json"))
    assert header["arrays"][".free.arrays[0]"]["shape"] == [2]
    assert header["structure"][".free"]["static"]["layout"]["parameters"] == {"loc": "()", "scale": "()"}


def test_a_state_continues(tmp_path):
    state = SVI.run(jax.random.key(0), 10, Y, progress_bar=False).state
    save(tmp_path / "f", state)
    fresh = svijax.SVI(normal_model, normal_guide, optax.adam(0.1))
    like = jax.eval_shape(lambda key: fresh.init(key, Y), jax.random.key(7))
    again = restore(tmp_path / "f", like)
    assert bits(again) == bits(state)
    more, also = (SVI.run(None, 20, Y, init_state=s, progress_bar=False) for s in (state, again))
    assert bits(more.state) == bits(also.state)
    np.testing.assert_array_equal(more.losses, also.losses)


def test_sharding_of_like(tmp_path):
    save(tmp_path / "f", {"x": jnp.arange(4.0), "k": jax.random.key(0)})
    mesh = jax.make_mesh((1,), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.P())
    like = {
        "x": jax.ShapeDtypeStruct((4,), jnp.float32, sharding=sharding),
        "k": jax.device_put(jax.random.key(0), sharding),
    }
    again = restore(tmp_path / "f", like)
    assert again["x"].sharding == sharding
    assert again["k"].sharding == sharding
    free = restore(tmp_path / "f", {"x": jnp.zeros(4), "k": jax.random.key(0)})
    assert not free["x"].committed


def error_of(path, like):
    with pytest.raises(CheckpointError) as error:
        restore(path, like)
    return str(error.value)


def test_what_differs_is_listed(tmp_path):
    path = tmp_path / "f"
    save(
        path, {"a": jnp.zeros(3), "b": jnp.zeros(2, jnp.int32), "gone": jnp.zeros(()), "k": jax.random.key(0)}
    )
    text = error_of(
        path,
        {"a": jnp.zeros(4), "b": jnp.zeros(2), "new": jnp.zeros((1, 2)), "k": jax.random.key(0, impl="rbg")},
    )
    assert f"{str(path)!r} is of something else: it differs in 5 places." in text
    assert "['a']: expected float32 (4,), got float32 (3,)" in text
    assert "['b']: expected float32 (2,), got int32 (2,)" in text
    assert "['k']: expected key<rbg> (), got key<fry> ()" in text
    assert "['new']: expected float32 (1, 2), which the file lacks" in text
    assert "['gone']: the file has float32 (), which is not expected" in text
    assert "fix:" in text
    many = error_of(path, {f"x{i}": jnp.zeros(1) for i in range(30)})
    assert "differs in 34 places" in many
    assert "... and 22 more" in many


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            svijax.SVI(normal_model, AutoNormal(normal_model), optax.adam(0.1)),
            [
                ".free layout parameters mu_auto_loc: expected (), which the file lacks",
                ".free layout parameters loc: the file has (), which is not expected",
            ],
        ),
        (
            svijax.SVI(normal_model, normal_guide, optax.sgd(0.1)),
            [".optim_state[0].mu[0]: the file has float32 (2,)"],
        ),
        (
            svijax.SVI(normal_model, normal_guide, optax.amsgrad(0.1)),
            [".optim_state[0]: expected ScaleByAmsgradState, got ScaleByAdamState"],
        ),
    ],
)
def test_states_of_others(tmp_path, other, words):
    save(tmp_path / "f", SVI.init(jax.random.key(0), Y))
    text = error_of(tmp_path / "f", other.init(jax.random.key(0), Y))
    for word in words:
        assert word in text


def test_the_kind_of_key_is_compared(tmp_path):
    save(tmp_path / "f", SVI.init(jax.random.key(0), Y))
    text = error_of(tmp_path / "f", SVI.init(jax.random.key(0, impl="rbg"), Y))
    assert "key_impl: expected rbg, got threefry2x32" in text


def test_any_flipped_bit_is_found_or_harmless(tmp_path):
    path = tmp_path / "f"
    tree = {"x": jnp.arange(5.0), "n": jnp.array(3)}
    save(path, tree, metadata={"a": 1})
    data, rng, found = path.read_bytes(), np.random.default_rng(0), 0
    for i in range(len(data)):
        bad = bytearray(data)
        bad[i] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        try:
            assert bits(restore(path, tree)) == bits(tree), i
        except DamagedCheckpointError:
            found += 1
    assert found > 0.75 * len(data)


def test_truncated(tmp_path):
    path = tmp_path / "f"
    tree = {"x": jnp.arange(5.0)}
    save(path, tree)
    data = path.read_bytes()
    for size in (0, 3, 40, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(DamagedCheckpointError) as error:
            restore(path, tree)
        assert f"{str(path)!r} is truncated or damaged" in str(error.value) or size == 3
        assert f"{size} bytes" in str(error.value) or size == 3
    path.write_bytes(bytes(len(data)))
    with pytest.raises(DamagedCheckpointError, match="truncated or damaged"):
        restore(path)


def test_foreign(tmp_path):
    path = tmp_path / "f"
    path.write_text("loss,step\n1,2\n")
    with pytest.raises(DamagedCheckpointError) as error:
        restore(path)
    assert "is no checkpoint of svijax" in str(error.value)
    assert "b'loss'" in str(error.value)
    np.savez(tmp_path / "g.npz", a=np.ones(3))
    with pytest.raises(DamagedCheckpointError, match=r"a zip without header\.json"):
        restore(tmp_path / "g.npz")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        restore(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="cannot be read"):
        restore(tmp_path)


def test_a_newer_format(tmp_path, monkeypatch):
    monkeypatch.setattr("svijax.fitting._files.VERSION", 2)
    save(tmp_path / "f", {"x": jnp.ones(1)})
    monkeypatch.undo()
    text = error_of(tmp_path / "f", {"x": jnp.ones(1)})
    assert "another version of the format" in text
    assert "expected: 1" in text


def test_what_cannot_be_saved(tmp_path):
    path = tmp_path / "f"
    with pytest.raises(ArgumentError, match=r"no array: \"\['name'\]\""):
        save(path, {"name": "Anna"})
    with pytest.raises(ArgumentError, match="dtype object"):
        save(path, {"x": np.array([None])})
    with pytest.raises(ArgumentError, match="JSON"):
        save(path, {"x": 1}, metadata={"x": jnp.ones(2)})
    with pytest.raises(ArgumentError, match="outside of jit"):
        jax.jit(lambda x: save(path, {"x": x}))(1.0)
    with pytest.raises(CheckpointError) as error:
        save(tmp_path / "no" / "f", {"x": 1})
    assert "cannot be written" in str(error.value)
    assert "No such file" in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "f"
    save(path, {"x": jnp.ones(2)})

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save(path, {"x": jnp.zeros(2)})
    monkeypatch.undo()
    np.testing.assert_array_equal(restore(path)["['x']"], 1.0)
    assert os.listdir(tmp_path) == ["f"]


def test_on_the_disk_before_it_has_the_name(tmp_path, monkeypatch):
    """Write, sync the file, rename, sync the folder: in this order, so that a name never stands for half a file."""
    seen = []
    sync, move = os.fsync, os.replace
    monkeypatch.setattr(
        os,
        "fsync",
        lambda h: (seen.append("folder" if os.path.isdir(f"/proc/self/fd/{h}") else "file"), sync(h)),
    )
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append("rename"), move(a, b)))
    save(tmp_path / "f", {"x": jnp.ones(2)})
    assert seen == ["file", "rename", "folder"]


def test_leaves_without_shape_in_like(tmp_path):
    save(tmp_path / "f", {"x": jnp.ones(2)})
    with pytest.raises(
        ArgumentError, match=r"a leaf of like= has no shape and dtype to compare: \"\['x'\]\""
    ):
        restore(tmp_path / "f", {"x": "text"})

"""The randomness of one evaluation as data: a block of normals, a block of uniforms, keys for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import NoiseSpec
from svijax.effects import PlateIndices, Sample, Site


@dataclass(frozen=True)
class NoiseLayout:
    """Which latents of a guide are drawn from noise, in order, and where in the blocks their noise lies.

    ``keyed``: those that are drawn by key. ``subsampled``: the plates that draw rows.
    """

    names: tuple[str, ...]
    specs: tuple[NoiseSpec, ...]
    keyed: tuple[str, ...]
    subsampled: tuple[str, ...] = ()

    @staticmethod
    def of(trace: Mapping[str, Site]) -> NoiseLayout:
        """The layout for the recorded guide; sites drawn by key are listed by name."""
        names, specs, keyed = [], [], []
        plates = [s for s in trace.values() if isinstance(s, PlateIndices)]
        rows = tuple(s.name for s in plates if s.key is not None and s.subsample_size < s.size)
        for site in trace.values():
            if not isinstance(site, Sample) or site.observed:
                continue
            spec = None if site.sample_shape else getattr(site.fn, "noise_spec", None)
            if spec is None:
                keyed.append(site.name)
            elif spec.size:
                names.append(site.name)
                specs.append(spec)
        return NoiseLayout(tuple(names), tuple(specs), tuple(keyed), rows)

    def size(self, kind: str) -> int:
        """How many numbers of noise of this kind one draw of the guide takes."""
        return sum(spec.size for spec in self.specs if spec.kind == kind)

    def centre(self) -> dict[str, Any]:
        """Noise by site name in the middle of its distribution: every draw at its median."""
        middle = {"normal": 0.0, "uniform": 0.5}
        return {
            n: np.full(s.shape, middle[s.kind], s.dtype) for n, s in zip(self.names, self.specs, strict=True)
        }

    def split(self, normal: Any, uniform: Any) -> dict[str, Any]:
        """Noise by site name, from one vector of each kind."""
        blocks = {"normal": normal, "uniform": uniform}
        start = {"normal": 0, "uniform": 0}
        out = {}
        for name, spec in zip(self.names, self.specs, strict=True):
            begin, end = start[spec.kind], start[spec.kind] + spec.size
            start[spec.kind] = end
            block = blocks[spec.kind]
            part = block if (begin, end) == (0, block.shape[0]) else jax.lax.slice_in_dim(block, begin, end)
            out[name] = jax.lax.convert_element_type(part, spec.dtype).reshape(spec.shape)
        return out


@partial(jax.tree_util.register_dataclass, data_fields=["normal", "uniform", "key"], meta_fields=[])
@dataclass(frozen=True)
class Draws:
    """Randomness of one evaluation. ``normal``, ``uniform``: (particles, size). ``key``: for keyed sites and plates."""

    normal: Any
    uniform: Any
    key: jax.Array


def draw(key: jax.Array, layout: NoiseLayout, num_particles: int) -> Draws:
    """All the randomness of one evaluation from one key of any kind."""
    dtype = jnp.result_type(float)
    shape = (num_particles, layout.size("normal") + layout.size("uniform"))
    uniforms = jax.random.uniform(key, shape, dtype, np.nextafter(np.array(-1, dtype), np.array(0, dtype)), 1)
    return Draws(*_blocks(uniforms, layout), key)


def draw_ahead(key: jax.Array, first: Any, count: int, layout: NoiseLayout, num_particles: int) -> Draws:
    """The randomness of steps ``first`` ... ``first + count − 1`` of a run, with a leading axis.

    Step t has the key ``fold_in(key, t)`` and a fixed place in a stream of noise, so that it draws the same alone
    and among others, with one flat computation for them all. Several keys (chains) give a last axis to the noise and
    a second one to the keys. ``count`` divides ``epoch_length``, and ``first`` is a multiple of it, or it is 1.
    """
    chains = key.ndim == 1
    size = layout.size("normal") + layout.size("uniform")
    numbers = num_particles * size
    uniforms = _stream(key, first, count, numbers, epoch_length(layout, num_particles))
    shape = (count, num_particles, size, *key.shape)
    normal, uniform = _blocks(uniforms.reshape(shape), layout, axis=2)
    steps = first + jnp.arange(count, dtype=jnp.int32)
    fold_in = jax.vmap(jax.random.fold_in, (None, 0))
    keys = jax.vmap(fold_in, (0, None), 1)(key, steps) if chains else fold_in(key, steps)
    return Draws(normal, uniform, keys)


def epoch_length(layout: NoiseLayout, num_particles: int) -> int:
    """How many steps share one key of the stream: a power of two, so that its counters do not run over."""
    numbers = num_particles * (layout.size("normal") + layout.size("uniform"))
    return min(4096, 1 << (2**31 // max(numbers, 1)).bit_length() - 1)


def _stream(key: jax.Array, first: Any, count: int, numbers: int, epoch: int) -> Any:
    """Uniforms on (−1, 1) of shape (count · numbers, chains): both words of the threefry blocks of their counters."""
    dtype = jnp.result_type(float)
    per_step = numbers if dtype.itemsize == 8 else -(-numbers // 2)
    if numbers == 0:
        return jnp.zeros((0, *key.shape), dtype)
    chains = key.ndim == 1
    epochs = (
        jax.vmap(_epoch_key, (0, None))(key, first // epoch) if chains else _epoch_key(key, first // epoch)
    )
    start = jnp.uint32(per_step) * (first % epoch).astype(jnp.uint32)
    counters = start + jnp.arange(count * per_step, dtype=jnp.uint32)
    fold_in = jax.random.fold_in
    if chains:
        blocks = jax.vmap(jax.vmap(fold_in, (0, None)), (None, 0))(epochs, counters)
    else:
        blocks = jax.vmap(fold_in, (None, 0))(epochs, counters)
    words = jax.random.key_data(blocks)
    if dtype.itemsize == 8:
        return _symmetric(words[..., 0].astype(jnp.uint64) << 32 | words[..., 1], dtype)
    words = jnp.moveaxis(words, -1, 1) if chains else words
    flat = _symmetric(words.reshape(-1), dtype).reshape((count, 2 * per_step, *key.shape))
    return flat[:, :numbers]


def _epoch_key(key: jax.Array, epoch: Any) -> jax.Array:
    # Steps count from 0, so the upper half of the counters is free.
    return jax.random.fold_in(key, epoch.astype(jnp.uint32) | np.uint32(1 << 31))


def _symmetric(bits: Any, dtype: Any) -> Any:
    """Uniform on (−1, 1) from random bits: never −1, and symmetric to the last bit but one."""
    info = jnp.finfo(dtype)
    one = np.array(1, dtype).view(bits.dtype)
    unit = jax.lax.bitcast_convert_type(bits >> (info.bits - info.nmant) | one, dtype) - 1
    low = np.nextafter(np.array(-1, dtype), np.array(0, dtype))
    return jnp.maximum(2 * unit + low, low)


def _blocks(uniforms: Any, layout: NoiseLayout, axis: int = 1) -> tuple[Any, Any]:
    """Standard normals, √2 erf⁻¹(u), and uniforms on (0, 1), (u + 1) / 2, along the axis of the numbers."""
    size = layout.size("normal")
    normal, uniform = jnp.split(uniforms, [size], axis=axis)
    # In one dim: loops over a last axis as short as a guide are slow to compile and to run.
    flat = np.sqrt(2).astype(normal.dtype) * jax.lax.erf_inv(normal.reshape(-1))
    return flat.reshape(normal.shape), 0.5 * (uniform + 1)

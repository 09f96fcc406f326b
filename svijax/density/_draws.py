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
from svijax.effects import Sample, Site


@dataclass(frozen=True)
class NoiseLayout:
    """Which latents of a guide are drawn from noise, in order, and where in the blocks their noise lies."""

    names: tuple[str, ...]
    specs: tuple[NoiseSpec, ...]
    keyed: tuple[str, ...]

    @staticmethod
    def of(trace: Mapping[str, Site]) -> NoiseLayout:
        """The layout for the recorded guide; sites drawn by key are listed by name."""
        names, specs, keyed = [], [], []
        for site in trace.values():
            if not isinstance(site, Sample) or site.observed or site.sample_shape:
                continue
            spec = getattr(site.fn, "noise_spec", None)
            if spec is None:
                keyed.append(site.name)
            elif spec.size:
                names.append(site.name)
                specs.append(spec)
        return NoiseLayout(tuple(names), tuple(specs), tuple(keyed))

    def size(self, kind: str) -> int:
        return sum(spec.size for spec in self.specs if spec.kind == kind)

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
    """All the randomness of one evaluation from one key."""
    return Draws(*_blocks(_uniforms(key, layout, num_particles), layout), key)


def draw_steps(keys: jax.Array, layout: NoiseLayout, num_particles: int) -> Draws:
    """``draw`` for each of several keys, with a leading axis."""
    uniforms = jax.vmap(lambda key: _uniforms(key, layout, num_particles))(keys)
    return Draws(*_blocks(uniforms, layout), keys)


def _uniforms(key: jax.Array, layout: NoiseLayout, num_particles: int) -> Any:
    """Uniform on (−1, 1), of shape (particles, normals + uniforms)."""
    dtype = jnp.result_type(float)
    shape = (num_particles, layout.size("normal") + layout.size("uniform"))
    return jax.random.uniform(key, shape, dtype, jnp.nextafter(np.array(-1, dtype), np.array(0, dtype)), 1)


def _blocks(uniforms: Any, layout: NoiseLayout) -> tuple[Any, Any]:
    """Standard normals (as ``jax.random.normal`` makes them) and uniforms on (0, 1)."""
    size = layout.size("normal")
    if size == uniforms.shape[-1]:
        return _normal(uniforms), uniforms[..., :0]
    return _normal(uniforms[..., :size]), 0.5 * (uniforms[..., size:] + 1)


def _normal(uniforms: Any) -> Any:
    # In one dim: loops over a last axis as short as a guide are slow to compile and to run.
    flat = uniforms.reshape(-1)
    return (np.sqrt(2).astype(flat.dtype) * jax.lax.erf_inv(flat)).reshape(uniforms.shape)

"""The randomness of one evaluation as data: a block of normals, a block of uniforms, keys for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import NoiseSpec, draw_noise, site_key
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
            else:
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
    dtype = jnp.result_type(float)
    blocks = {}
    for kind in ("normal", "uniform"):
        spec = NoiseSpec(kind, (layout.size(kind),), dtype)  # type: ignore[arg-type]
        blocks[kind] = draw_noise(site_key(key, kind), spec, (num_particles,))
    return Draws(blocks["normal"], blocks["uniform"], key)

"""Where the noise of particles comes from: independent draws, pairs of opposites, or a scrambled net."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, message

from ._draws import Draws, NoiseLayout


@dataclass(frozen=True)
class NoiseSource(ABC):
    """Makes the noise of all particles from rows of independent noise. Sites drawn by key are independent in all."""

    @abstractmethod
    def rows(self, count: int) -> int:
        """How many rows of independent noise ``count`` particles take.

        :raises ArgumentError: a number of particles that it cannot make.
        """

    @abstractmethod
    def expand(self, draws: Draws, layout: NoiseLayout, count: int) -> Draws:
        """The noise of ``count`` particles, each of the distribution that a row has."""


@dataclass(frozen=True)
class PlainNoise(NoiseSource):
    """Independent draws."""

    def rows(self, count: int) -> int:
        return count

    def expand(self, draws: Draws, layout: NoiseLayout, count: int) -> Draws:
        return draws


@dataclass(frozen=True)
class Antithetic(NoiseSource):
    """e and −e (u and 1 − u): half the particles mirror the other half. The number of particles must be even."""

    def rows(self, count: int) -> int:
        if count % 2:
            raise _bad_count("Antithetic", "an even number of particles", count, count + 1)
        return count // 2

    def expand(self, draws: Draws, layout: NoiseLayout, count: int) -> Draws:
        below_one = np.nextafter(np.ones((), draws.uniform.dtype), np.zeros((), draws.uniform.dtype))
        mirrored = jnp.minimum(1 - draws.uniform, below_one)
        normal = jnp.concatenate([draws.normal, -draws.normal])
        return Draws(normal, jnp.concatenate([draws.uniform, mirrored]), draws.key)


@dataclass(frozen=True)
class Sobol(NoiseSource):
    """Φ^-1 of Sobol points under a random digital shift: randomised quasi-Monte Carlo (Buchholz et al. 2018).

    The number of particles must be a power of two. At most 21,201 numbers of noise per draw. Needs SciPy, which comes
    with JAX.
    """

    def rows(self, count: int) -> int:
        if count & (count - 1):
            raise _bad_count("Sobol", "a power of two of particles", count, 1 << count.bit_length())
        return 1

    def expand(self, draws: Draws, layout: NoiseLayout, count: int) -> Draws:
        dims = layout.size("normal"), layout.size("uniform")
        if sum(dims) > _MOST_DIMS:
            raise ArgumentError(
                message(
                    "Sobol: the guide takes more numbers of noise than there are Sobol dimensions.",
                    expected=f"at most {_MOST_DIMS}",
                    got=sum(dims),
                    fix="use Antithetic() or PlainNoise().",
                )
            )
        dtype = draws.normal.dtype
        # Each number of the row is one random shift; a normal tells it by its probability.
        shift = jnp.concatenate([jax.scipy.special.ndtr(draws.normal[0]), draws.uniform[0]])
        uniform = _shifted(_net(count, sum(dims), jnp.finfo(dtype).nmant), shift, dtype)
        normal = np.sqrt(2).astype(dtype) * jax.lax.erf_inv(2 * uniform[:, : dims[0]] - 1)
        return Draws(normal, uniform[:, dims[0] :], draws.key)


_MOST_DIMS = 21_201


@lru_cache(maxsize=16)
def _net(count: int, dims: int, bits: int) -> np.ndarray:
    """The first ``count`` Sobol points as integers of ``bits`` bits."""
    kind = np.uint32 if bits < 32 else np.uint64
    if dims == 0:
        return np.zeros((count, 0), kind)
    from scipy.stats import qmc

    points = qmc.Sobol(dims, scramble=False, bits=30).random(count)
    return np.floor(points * 2.0**bits).astype(kind)


def _shifted(net: np.ndarray, shift: Any, dtype: Any) -> Any:
    """Uniforms strictly inside (0, 1): the middles of the cells that the net's points fall into when shifted."""
    bits = jnp.finfo(dtype).nmant
    cells = jnp.minimum(jnp.floor(shift * 2.0**bits), 2.0**bits - 1).astype(net.dtype)
    return ((net ^ cells).astype(dtype) + 0.5) * (0.5**bits)


def _bad_count(name: str, wanted: str, got: int, instead: int) -> ArgumentError:
    return ArgumentError(
        message(
            f"{name} noise needs {wanted}.", got=f"num_particles={got}", fix=f"use num_particles={instead}."
        )
    )

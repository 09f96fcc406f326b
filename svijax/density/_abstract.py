"""Static facts about a program by abstract evaluation: nothing runs on a device, nobody outside hears it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax

from svijax.effects import no_handlers

from ._draws import NoiseLayout
from ._run import Program, run_guide

T = TypeVar("T")


def abstractly(facts: Callable[[jax.Array], T]) -> T:
    """``facts(key)`` under abstract evaluation. What it returns must hold no arrays made inside."""
    found: list[T] = []

    def run(key: jax.Array) -> int:
        found.append(facts(key))
        return 0

    with no_handlers():
        jax.eval_shape(run, jax.eval_shape(lambda: jax.random.key(0)))
    return found[0]


def noise_layout(guide: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> NoiseLayout:
    """Which latents of the guide are drawn from noise."""
    return abstractly(lambda key: NoiseLayout.of(run_guide(guide, args, kwargs, key=key)))

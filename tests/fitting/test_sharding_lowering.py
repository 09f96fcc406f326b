"""The program of a run's steps lowers for accelerators that this machine does not have. Nothing is run on them."""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np
import optax
import pytest
from small_models import Y, keyed_guide, normal_guide, normal_model, schools_model

from svijax import SVI
from svijax.base import split_arguments
from svijax.fitting._chunk import Chunk, first_carry
from svijax.fitting._feed import Whole
from svijax.fitting._watch import Watchers
from svijax.guides import AutoMultivariateNormal, AutoNormal


def lowered(svi: SVI, feed: Whole, platform: str) -> str:
    """StableHLO of the chunk for that platform."""
    state = svi.first_state(jax.random.key(0), {}, feed)
    chunk = Chunk(svi, state, "mark", Watchers(), feed)
    traced = chunk.function.trace(Watchers(), feed, first_carry(state, Watchers()), np.int32(0))
    text: str = traced.lower(lowering_platforms=(platform,)).as_text()
    return text


PROGRAMS: dict[str, Any] = {
    "normal": (normal_model, normal_guide),
    "keyed": (normal_model, keyed_guide),
    "hierarchy": (schools_model, AutoNormal(schools_model)),
    "full rank": (schools_model, AutoMultivariateNormal(schools_model)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_steps_lower_for_tpu(name: str) -> None:
    text = lowered(SVI(*PROGRAMS[name], optax.adam(0.01)), Whole(*split_arguments((Y,), {})), "tpu")
    assert "stablehlo.while" in text
    assert not re.findall(r"custom_call @(\w+)", text)  # nothing that only another platform has

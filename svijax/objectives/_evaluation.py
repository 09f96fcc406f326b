"""What one evaluation of an objective reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax

from svijax.density import Draws, NoiseLayout, Program
from svijax.effects import Site


@partial(jax.tree_util.register_dataclass, data_fields=["loss", "log_p", "log_q", "mutable"], meta_fields=[])
@dataclass(frozen=True)
class Evaluation:
    """Loss in nats, log p and log q by site (masked, scaled, mean over particles), and the mutable state after it.

    ``loss`` has the objective's value and, differentiated, its gradient.
    """

    loss: Any
    log_p: dict[str, Any]
    log_q: dict[str, Any]
    mutable: dict[str, Any]


@runtime_checkable
class Objective(Protocol):
    """An objective whose randomness is data, so that the loop can draw it ahead."""

    @property
    def noise_rows(self) -> int:
        """How many rows of noise one evaluation takes."""

    def from_draws(
        self,
        draws: Draws,
        model: Program,
        guide: Program,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        mutable: Mapping[str, Any],
        layout: NoiseLayout | None = None,
        step: Any = 0,
    ) -> Evaluation:
        """The evaluation of bound programs at given randomness, which lies as ``layout`` says."""

    def start(self, model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site]) -> dict[str, Any]:
        """The mutable state of the objective's own, by name."""

    def loss(self, key: Any, params: Mapping[str, Any], model: Program, guide: Program, *args: Any) -> Any:
        """The loss at constrained parameters by name."""

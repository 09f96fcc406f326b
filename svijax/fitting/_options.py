"""What ``SVI.run`` may be asked for besides steps."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from svijax.base import ArgumentError, message
from svijax.objectives import check_count

from ._batches import Batches
from ._checkpoint import Checkpoint
from ._meshes import placement_of
from ._metrics import Metrics
from ._sharding import Placement
from ._state import SVIState
from ._watch import Averaging, HostRule, StopRule, Watchers

if TYPE_CHECKING:
    from ._svi import SVI

MODES = ("stop", "skip", "raise")


@dataclass(frozen=True)
class Options:
    """The options of ``SVI.run``, as they were given."""

    progress_bar: bool | None = None
    init_params: Mapping[str, Any] | None = None
    init_state: SVIState | None = None
    num_chains: int | None = None
    on_nonfinite: str = "stop"
    callback: Any = None
    batches: Any = None
    stop: Any = None
    average: Any = None
    metrics: Any = None
    checkpoint: Any = None
    chains: Any = None
    mesh: Any = None
    data_axis: str | None = None
    chain_axis: str | None = None
    particle_axis: str | None = None
    donate: bool = False

    @property
    def start(self) -> dict[str, Any]:
        """Starting values by name."""
        return dict(self.init_params or {})

    def placement(self, arrays: Any) -> Placement | None:
        """Where the run lies on several devices; None for one."""
        return placement_of(self.mesh, self.data_axis, self.chain_axis, self.particle_axis, arrays)

    @property
    def guard(self) -> str:
        """What the loop does about a step that is not finite: see ``run_steps``."""
        if self.on_nonfinite == "skip":
            return "skip"
        # What was donated is gone: the steps could not be taken again.
        return "stop" if self.donate else "mark"

    @property
    def callbacks(self) -> tuple[Callable[..., Any], ...]:
        """Functions of a ``Report``."""
        return _several(self.callback)

    @property
    def rules(self) -> tuple[StopRule, ...]:
        """Rules that are looked at inside the loop."""
        return tuple(rule for rule in _several(self.stop) if isinstance(rule, StopRule))

    @property
    def host_rules(self) -> tuple[HostRule, ...]:
        """Rules that are asked between chunks."""
        return tuple(rule for rule in _several(self.stop) if isinstance(rule, HostRule))

    @property
    def watchers(self) -> Watchers:
        """All that look on inside the loop."""
        others = [(w, fresh) for w, fresh in ((self.average, False), (self.metrics, True)) if w is not None]
        return Watchers(self.rules, tuple(w for w, _ in others), tuple(fresh for _, fresh in others))

    def check(self, svi: SVI, num_steps: int) -> None:
        """Raise where the options cannot be used, or are words of the model's own."""
        check_count("num_steps", num_steps)
        if self.num_chains is not None:
            check_count("num_chains", self.num_chains)
        if self.on_nonfinite not in MODES:
            raise ArgumentError(
                message("on_nonfinite is none of its choices.", expected=MODES, got=repr(self.on_nonfinite))
            )
        if self.init_params and self.init_state is not None:
            raise ArgumentError("init_params and init_state are two different starts: give one of them.")
        for rule in _several(self.stop):
            if not isinstance(rule, StopRule | HostRule):
                raise ArgumentError(
                    message(
                        "stop takes rules.",
                        expected="svijax.fitting.RelativeELBO(), IterateRhat(), Patience(...), MaxTime(seconds)",
                        got=repr(rule),
                    )
                )
        self._check_kinds()
        self._check_names(svi)

    def _check_kinds(self) -> None:
        kinds = (
            ("batches", Batches, "Batches((x, y), size=128)"),
            ("checkpoint", Checkpoint, "Checkpoint(folder)"),
            ("metrics", Metrics, "Metrics()"),
        )
        for name, kind, example in kinds:
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise _wrong_kind(name, value, example)
        if self.average is not None and not isinstance(self.average, Averaging):
            raise _wrong_kind("average", self.average, "Average()")
        for callback in self.callbacks:
            if not callable(callback):
                raise _wrong_kind("callback", callback, "a function of a Report")

    def check_traced(self) -> None:
        """Raise where something needs the host, in a run that is part of a traced program."""
        host = ("callback", "checkpoint", "mesh", "metrics")
        asked = [f"{name}=" for name in host if getattr(self, name) is not None]
        asked += ["progress_bar=True"] if self.progress_bar else []
        asked += [f"stop={type(rule).__name__}" for rule in self.host_rules]
        asked += ["on_nonfinite='raise'"] if self.on_nonfinite == "raise" else []
        if asked:
            raise ArgumentError(
                message(
                    f"{asked[0]} needs the host between chunks, and inside jit or vmap there is none.",
                    fix="leave it out and read the status of the result, or call run outside of them; "
                    "num_chains= makes several fits in one program.",
                )
            )

    def _check_names(self, svi: SVI) -> None:
        try:
            names = set(inspect.signature(svi.model).parameters)
        except (TypeError, ValueError):  # a callable without a signature has no keywords to shadow
            return
        shadowed = sorted(names & OPTIONS)
        if shadowed:
            raise ArgumentError(
                message(
                    f"the model has an argument that is an option of run too: {shadowed}.",
                    fix="rename it in the model, or bind it with functools.partial.",
                )
            )


OPTIONS = frozenset(field.name for field in fields(Options)) | {"stable_update"}


def _wrong_kind(name: str, value: Any, example: str) -> ArgumentError:
    return ArgumentError(
        message(
            f"{name}= of run takes another kind of thing.",
            expected=example if name == "callback" else f"svijax.fitting.{example}",
            got=f"{type(value).__name__} {value!r}"[:200],
            fix=f"write {name}={example}."
            if name != "callback"
            else "pass a function, or a sequence of them.",
        )
    )


def _several(x: Any) -> tuple[Any, ...]:
    if x is None:
        return ()
    return tuple(x) if isinstance(x, Sequence) else (x,)

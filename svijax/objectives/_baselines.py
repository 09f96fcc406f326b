"""Baselines of the score function: numbers, taken from the costs downstream, that the own draw has no part in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, ShapeError, message
from svijax.effects import Sample


@dataclass(frozen=True)
class Baseline(ABC):
    """b in (f(z) − b) ∇ log q(z); any b that z has no part in leaves the expectation as it is."""

    weighs: ClassVar[bool] = False
    """Whether it is made for bounds that weigh particles against each other."""

    @abstractmethod
    def value(self, costs: Any, state: Mapping[str, Any] | None, learned: Any) -> Any:
        """b for every particle, from the costs downstream (particle axis in front); None for no baseline."""

    def start(self, site: Sample) -> dict[str, Any] | None:
        """Its state at the start of a fit; None for none."""
        return None

    def after(self, costs: Any, state: Mapping[str, Any]) -> dict[str, Any]:
        """Its state after a step."""
        return dict(state)

    def at(self, site: Sample) -> Any:
        """What a learned baseline says of this draw, before it is made; None for other baselines."""
        return None

    def kind(self) -> Baseline:
        """The baseline without the arrays that it may hold."""
        return self


@dataclass(frozen=True)
class NoBaseline(Baseline):
    """b = 0."""

    def value(self, costs: Any, state: Mapping[str, Any] | None, learned: Any) -> Any:
        return None


@dataclass(frozen=True)
class LeaveOneOut(Baseline):
    """b_k = Σ_{j ≠ k} f(z_j) / (K − 1), over the other particles (Kool et al. 2019, eq. 5). Needs two or more."""

    def value(self, costs: Any, state: Mapping[str, Any] | None, learned: Any) -> Any:
        count = costs.shape[0]
        if count < 2:
            raise ArgumentError(
                message(
                    "LeaveOneOut compares particles.",
                    expected="num_particles of 2 or more",
                    got=f"num_particles={count}",
                    fix="raise num_particles, or use RunningMean().",
                )
            )
        return (jnp.sum(costs, axis=0, keepdims=True) - costs) / (count - 1)


@dataclass(frozen=True)
class VIMCO(Baseline):
    """b_k: the bound with w_k replaced by the geometric mean of the other weights (Mnih & Rezende 2016, eq. 10).

    For bounds that weigh particles against each other, whose default it is. Needs two or more.
    """

    weighs = True

    def value(self, costs: Any, state: Mapping[str, Any] | None, learned: Any) -> Any:
        """log mean exp of the costs, here powers of log w, without the own one: for each particle."""
        count = costs.shape[0]
        if count < 2:
            raise ArgumentError(
                message(
                    "VIMCO compares particles.",
                    expected="num_particles of 2 or more",
                    got=f"num_particles={count}",
                    fix="raise num_particles, or use NoBaseline().",
                )
            )
        own = jnp.eye(count, dtype=bool).reshape(count, count, *(1,) * (costs.ndim - 1))
        mean = jnp.sum(jnp.where(own, 0.0, costs), axis=1, keepdims=True) / (count - 1)
        found = jax.nn.logsumexp(jnp.where(own, mean, costs), axis=1) - jnp.log(count)
        return jnp.where(jnp.isfinite(found), found, 0.0)


@dataclass(frozen=True)
class RunningMean(Baseline):
    """b_t = Σ_s decay^(t − s) f_s / Σ_s decay^(t − s) over the steps before this one; 0 at the first.

    Kept in the mutable state of the fit, per element of the site; as one number where a plate subsamples. Outside of
    a fit it is 0.
    """

    decay: float = 0.9

    def __post_init__(self) -> None:
        if not 0.0 <= self.decay < 1.0:
            raise ArgumentError(
                message(
                    "RunningMean: decay must be in [0, 1).",
                    got=repr(self.decay),
                    fix="write RunningMean(0.9).",
                )
            )

    def value(self, costs: Any, state: Mapping[str, Any] | None, learned: Any) -> Any:
        if state is None:
            return None
        weight = jnp.where(state["weight"] > 0, state["weight"], 1.0)
        return jnp.broadcast_to(state["total"] / weight, costs.shape)

    def start(self, site: Sample) -> dict[str, Any] | None:
        shape = () if any(frame.subsampled for frame in site.plates) else site.fn.batch_shape
        return {"total": jnp.zeros(shape), "weight": jnp.zeros(())}

    def after(self, costs: Any, state: Mapping[str, Any]) -> dict[str, Any]:
        mean = jnp.mean(costs) if jnp.ndim(state["total"]) == 0 else jnp.mean(costs, axis=0)
        keep = self.decay
        return {
            "total": keep * state["total"] + (1 - keep) * jax.lax.stop_gradient(mean),
            "weight": keep * state["weight"] + (1 - keep),
        }


@dataclass(frozen=True, init=False)
class Learned(Baseline):
    """b = function(*inputs), fitted to the costs downstream by least squares along with everything else.

    :param function: of the inputs; it reads parameters that the guide stated with ``param``.
    :param inputs: draws made before this one, and data; no derivative of the squares goes into them.

    Set it in the guide: ``with svijax.handlers.estimator(estimator=ScoreFunction(Learned(net, x)))`` around the draw.
    The value must have the shape of the site's log density, or broadcast to it.
    """

    function: Callable[..., Any]
    inputs: tuple[Any, ...]

    def __init__(self, function: Callable[..., Any], *inputs: Any) -> None:
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "inputs", inputs)

    def at(self, site: Sample) -> Any:
        value = jnp.asarray(self.function(*jax.lax.stop_gradient(self.inputs)))
        want = tuple(site.fn.batch_shape)
        if value.ndim > len(want) or any(a not in (1, b) for a, b in zip(value.shape[::-1], want[::-1])):
            raise ShapeError(
                message(
                    f"guide site {site.name!r}: its learned baseline has not the shape of its log density.",
                    plates=site.plates,
                    expected=f"a shape that broadcasts to {want}",
                    got=value.shape,
                )
            )
        return jnp.broadcast_to(value, want)

    def kind(self) -> Baseline:
        return Fitted()

    def value(self, costs: Any, state: Mapping[str, Any] | None, learned: Any) -> Any:
        return learned


@dataclass(frozen=True)
class Fitted(Baseline):
    """What is left of a learned baseline once its value is known."""

    def value(self, costs: Any, state: Mapping[str, Any] | None, learned: Any) -> Any:
        return learned

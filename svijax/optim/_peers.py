"""Optimisers by the names that NumPyro's and Pyro's users know, as optax transformations.

``step_size`` is a number greater than zero, or a schedule: a function of the step number. g is the gradient of the
loss. A number that moves nothing, or is not finite, is an ``ArgumentError``.
"""

from __future__ import annotations

from typing import Any

import optax

from svijax.base import ArgumentError, message

from ._cached import cached
from ._rate import step_size as checked


@cached
def Adam(
    step_size: Any, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformationExtraArgs:
    """x ← x − η m̂ / (√v̂ + ε), m̂ and v̂ the moving averages of g and g² (less their start at 0)."""
    return optax.adam(checked(step_size), b1=b1, b2=b2, eps=eps)


@cached
def ClippedAdam(
    step_size: Any, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, clip_norm: float = 10.0
) -> optax.GradientTransformationExtraArgs:
    """Adam on gradients whose every entry is clipped to ±``clip_norm``."""
    return optax.chain(optax.clip(clip_norm), optax.adam(checked(step_size), b1=b1, b2=b2, eps=eps))


@cached
def SGD(step_size: Any) -> optax.GradientTransformationExtraArgs:
    """x ← x − η g."""
    return optax.sgd(checked(step_size))


@cached
def Momentum(step_size: Any, mass: float) -> optax.GradientTransformationExtraArgs:
    """v ← μ v + g, x ← x − η v, with μ = ``mass``."""
    return optax.sgd(checked(step_size), momentum=mass)


@cached
def RMSProp(step_size: Any, gamma: float = 0.9, eps: float = 1e-8) -> optax.GradientTransformationExtraArgs:
    """s ← γ s + (1 − γ) g², x ← x − η g / √(s + ε)."""
    return optax.chain(
        optax.scale_by_rms(decay=gamma, eps=eps), optax.scale_by_learning_rate(checked(step_size))
    )


@cached
def RMSPropMomentum(
    step_size: Any, gamma: float = 0.9, eps: float = 1e-8, momentum: float = 0.9
) -> optax.GradientTransformationExtraArgs:
    """s ← γ s + (1 − γ) g², v ← μ v + η g / √(s + ε), x ← x − v, with μ = ``momentum``."""
    return optax.chain(
        optax.scale_by_rms(decay=gamma, eps=eps),
        optax.scale_by_learning_rate(checked(step_size)),
        optax.trace(decay=momentum),
    )


@cached
def Adagrad(step_size: Any, momentum: float = 0.9) -> optax.GradientTransformationExtraArgs:
    """s ← s + g², m ← μ m + (1 − μ) g / √s (0 where s = 0), x ← x − η m, with μ = ``momentum``."""
    return optax.chain(
        optax.scale_by_rss(initial_accumulator_value=0.0, eps=0.0),
        optax.ema(momentum, debias=False),
        optax.scale_by_learning_rate(checked(step_size)),
    )


@cached
def Minimize(method: str = "BFGS", memory_size: int = 10) -> optax.GradientTransformationExtraArgs:
    """L-BFGS, x ← x − α H g: H from the last ``memory_size`` steps, α from a zoom line search (Wolfe).

    For losses that are deterministic: point guides, or noise that is held fixed. One step of a fit is one
    iteration (in NumPyro the whole minimisation is one step).

    :raises ArgumentError: a method other than "BFGS".
    """
    if method != "BFGS":
        raise ArgumentError(
            message(
                "Minimize knows one method.",
                expected="'BFGS'",
                got=repr(method),
                fix="leave method out; any other optimiser is passed as an optax transformation.",
            )
        )
    return optax.lbfgs(memory_size=memory_size)

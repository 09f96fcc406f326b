"""Gelman and Rubin's R̂: how much wider all chains together are than each by itself."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from svijax.base import ArgumentError, array_module, message


def gelman_rubin(x: Any) -> Any:
    """R̂ = √(((N − 1) W / N + B / N) / W), W the mean variance of a chain, B / N the variance of the chains' means.

    1 for chains of one law, and 1.1 where their means lie about half a standard deviation apart. Gelman & Rubin, 1992.

    :param x: (chains, draws, ...). :raises ArgumentError: fewer than two draws a chain.
    """
    xp = array_module(x)
    count = _checked(x, 2)
    return rhat_of_moments(xp.mean(x, axis=1), xp.var(x, axis=1, ddof=1), count)


def split_gelman_rubin(x: Any) -> Any:
    """``gelman_rubin`` of the first and the last half of each chain: also above 1 where chains drift.

    :param x: (chains, draws, ...). :raises ArgumentError: fewer than four draws a chain.
    """
    half = _checked(x, 4) // 2
    return gelman_rubin(array_module(x).concatenate([x[:, :half], x[:, -half:]]))


def rhat_of_moments(mean: Any, variance: Any, count: int) -> Any:
    """R̂ of chains (leading axis) with these means and variances (divisor N − 1) of ``count`` draws each.

    Where no chain varies: 1 if they are equal, ∞ if not.
    """
    xp = array_module(mean, variance)
    within = xp.mean(variance, axis=0)
    between = xp.var(mean, axis=0, ddof=1) if mean.shape[0] > 1 else xp.zeros_like(within)
    still = within == 0.0
    ratio = (count - 1) / count + between / xp.where(still, 1.0, within)
    return xp.where(still, xp.where(between == 0.0, 1.0, xp.inf), xp.sqrt(ratio))


def _checked(x: Any, fewest: int) -> int:
    """The number of draws of a chain."""
    shape = jnp.shape(x)
    if len(shape) < 2 or shape[1] < fewest:
        raise ArgumentError(
            message(
                "R-hat is of chains of draws.",
                expected=f"(chains, draws, ...), at least {fewest} draws",
                got=f"shape {shape}",
                fix="for one chain x[None].",
            )
        )
    return int(shape[1])

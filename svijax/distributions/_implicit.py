"""Implicit reparameterisation: draws of any sampler, with the derivatives that their distribution function implies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


@jax.custom_jvp
def implicit_draw(dist: Any, draw: Any) -> Any:
    """The draw x of a scalar ``dist``, with dx = -dF(x) / p(x), where dF moves the parameters of the cdf F only.

    ``dist.cdf`` must have derivatives in all parameters. Derivatives of any order are right, since x stands in
    its own derivative. Figurnov, Mohamed and Mnih (2018), equation 4.
    """
    return jax.lax.stop_gradient(draw)


@implicit_draw.defjvp
def _implicit_draw_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    dist, draw = primals
    x = implicit_draw(dist, draw)
    _, slope = jax.jvp(lambda moved: moved.cdf(x), (dist,), (tangents[0],))
    return x, -slope * jnp.exp(-dist.log_prob(x))

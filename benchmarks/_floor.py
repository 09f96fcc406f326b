"""The floor: each problem's ELBO written by hand in plain JAX, in one compiled loop.

The estimator is the one that the libraries use: one pathwise draw a step, ``log p`` and ``log q`` both at
the draw. The guide is the mean-field normal with softplus scales, its parameters one vector ``[loc, rho]``.

What makes it fast, each measured: noise is drawn for a block of steps in one flat call (a last axis as short
as a guide's dimension costs twice the time to run and to compile); the bound of the loop is traced, which
costs nothing and spares compilations; several chains share one optimiser state and its step count, and have
their axis last, unless one chain already fills vector registers. Unrolling would buy up to 1.4 times on the
smallest models, but then a run no longer equals its own splits bit for bit, so it is not done here either.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from ._problems import VAE_BATCH, VAE_LATENT, Problem, lanes_of, vae_weights

LOSSES = 65_536  # length of the loss buffer, and the most steps of one call
BLOCK = 2**16  # noise numbers drawn at once, about
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)

Array = jax.Array


def softplus(x: Array) -> Array:
    return jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


def normal(x: Array, loc: Any, scale: Any) -> Array:
    """Sum of normal log densities."""
    return jnp.sum(-0.5 * ((x - loc) / scale) ** 2 - jnp.log(scale) - HALF_LOG_2PI)


def log_half_cauchy(log_x: Array, scale: float) -> Array:
    """Log density of ``log x`` where ``x`` is half Cauchy: the log-Jacobian is the last term."""
    return math.log(2 / (math.pi * scale)) - jnp.log1p((jnp.exp(log_x) / scale) ** 2) + log_x


def bernoulli(y: Array, logits: Array) -> Array:
    """Sum of Bernoulli log probabilities."""
    return jnp.sum(y * logits - softplus(logits))


def eight_schools(z: Array, y: Array, sigma: Array) -> Array:
    mu, log_tau, theta = z[0], z[1], z[2:]
    prior = normal(mu, 0.0, 5.0) + log_half_cauchy(log_tau, 5.0) + normal(theta, 0.0, 1.0)
    return prior + normal(y, mu + jnp.exp(log_tau) * theta, sigma)


def logistic(z: Array, x: Array, y: Array) -> Array:
    return normal(z, 0.0, 10.0) + bernoulli(y, x @ z)


def twenty_sites(z: Array, weights: Array, y: Array) -> Array:
    """Written one by one, as the model is; with ``normal(z, 0, 1)`` the same figure is another floor."""
    log_p, total = jnp.zeros(()), jnp.zeros(())
    for i in range(20):
        site = z[i]
        log_p += normal(site, 0.0, 1.0)
        total += weights[i] * site
    return log_p + normal(y, total, 1.0)


def hierarchical(z: Array, x: Array, y: Array) -> Array:
    mu, log_tau, slope, log_noise, group = z[0], z[1], z[2], z[3], z[4:]
    prior = normal(mu, 0.0, 5.0) + log_half_cauchy(log_tau, 1.0) + normal(slope, 0.0, 1.0)
    prior += log_half_cauchy(log_noise, 1.0) + normal(group, mu, jnp.exp(log_tau))
    return prior + normal(y, group + slope * x, jnp.exp(log_noise))


DENSITIES: dict[str, tuple[int, Callable[..., Array]]] = {
    "eight_schools": (10, eight_schools),
    "logistic": (31, logistic),
    "twenty_sites": (20, twenty_sites),
    "hierarchical": (2004, hierarchical),
}


def mean_field_loss(log_joint: Callable[..., Array], params: Array, noise: Array, *data: Array) -> Array:
    """``log q(z) - log p(z, data)`` at one draw ``z`` of the packed mean-field normal."""
    loc, rho = jnp.split(params, 2)
    scale = softplus(rho)
    log_q = jnp.sum(-0.5 * noise**2 - jnp.log(scale) - HALF_LOG_2PI)
    return log_q - log_joint(loc + scale * noise, *data)


def vae_loss(params: dict[str, Array], noise: tuple[Array, Array], rows: Array) -> Array:
    """The same for a minibatch of the autoencoder, scaled to all rows."""
    eps, uniforms = noise
    batch = rows[draw_without_replacement(uniforms, len(rows))]
    p = params
    hidden = softplus(batch @ p["enc_w"] + p["enc_b"])
    loc, log_scale = hidden @ p["loc_w"] + p["loc_b"], hidden @ p["scale_w"] + p["scale_b"]
    z = loc + jnp.exp(log_scale) * eps
    logits = softplus(z @ p["hid_w"] + p["hid_b"]) @ p["out_w"] + p["out_b"]
    log_q = jnp.sum(-0.5 * eps**2 - log_scale - HALF_LOG_2PI)
    return (log_q - normal(z, 0.0, 1.0) - bernoulli(batch, logits)) * (len(rows) / len(batch))


def draw_without_replacement(uniforms: Array, size: int) -> Array:
    """The first entries of a Fisher-Yates shuffle of ``range(size)``, one for each uniform."""
    count = len(uniforms)
    index = jnp.arange(count)
    other = index + (uniforms * (size - index)).astype(jnp.int32)

    def swap(i: Array, order: Array) -> Array:
        a, b = order[i], order[other[i]]
        return order.at[other[i]].set(a).at[i].set(b)

    return lax.fori_loop(0, count, swap, jnp.arange(size))[:count]


class Floor:
    """Runs of the floor, each continuing the one before; the first one starts it."""

    def __init__(self, problem: Problem, lanes: int = 1) -> None:
        self.lanes = lanes
        self.data = problem.data
        self.optim = optax.adam(problem.learning_rate)
        self.steps = 0
        self.loss: Callable[..., Array]
        self.draw: Callable[[Array, int], Any]
        self.axis = 0 if problem.name == "hierarchical" else -1
        if problem.name == "vae":
            self.loss, self.draw, self.block = vae_loss, _vae_noise, 32
            self._begin = jax.jit(self._start_vae)
        else:
            dim, log_joint = DENSITIES[problem.name]
            shape = (dim,) if lanes == 1 else (lanes, dim) if self.axis == 0 else (dim, lanes)
            self.loss = partial(mean_field_loss, log_joint)
            self.draw = partial(_flat_normal, shape=shape)
            self.block = int(np.clip(BLOCK // math.prod(shape), 16, 4096))
            self._begin = jax.jit(partial(self._start, shape))
        self._loop = jax.jit(self._run)

    def _start(self, shape: tuple[int, ...]) -> tuple[Any, Any]:
        rho = jnp.full(shape, math.log(math.expm1(0.1)))
        params = jnp.concatenate([jnp.zeros(shape), rho], axis=-1 if self.axis == 0 else 0)
        return params, self.optim.init(params)

    def _start_vae(self) -> tuple[Any, Any]:
        params = jax.tree.map(jnp.asarray, vae_weights())
        return params, self.optim.init(params)

    def _losses(self, params: Any, noise: Any, data: tuple[Array, ...]) -> tuple[Array, Array]:
        """The number to differentiate, and the loss of each chain: chains do not mix, so a sum will do."""
        if self.lanes == 1:
            loss = self.loss(params, noise, *data)
            return loss, loss
        losses = jax.vmap(lambda p, e: self.loss(p, e, *data), in_axes=self.axis)(params, noise)
        return jnp.sum(losses), losses

    def _run(self, carry: Any, key: Array, steps: Array, data: tuple[Array, ...]) -> Any:
        """``steps`` steps, a traced number, in blocks; the losses come back in a buffer of fixed length."""

        def step(carry: Any, noise: Any) -> Any:
            params, state = carry
            grads, losses = jax.grad(self._losses, has_aux=True)(params, noise, data)
            updates, state = self.optim.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), losses

        def block(i: Array, state: Any) -> Any:
            noise = self.draw(jax.random.fold_in(key, i), self.block)

            def body(j: Array, state: Any) -> Any:
                carry, buffer = state
                row = jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, j, keepdims=False), noise)
                carry, losses = step(carry, row)
                return carry, lax.dynamic_update_index_in_dim(buffer, losses, i * self.block + j, 0)

            return lax.fori_loop(0, jnp.minimum(self.block, steps - i * self.block), body, state)

        buffer = jnp.zeros((LOSSES,) if self.lanes == 1 else (max(1, LOSSES // self.lanes), self.lanes))
        return lax.fori_loop(0, (steps + self.block - 1) // self.block, block, (carry, buffer))

    def run(self, steps: int) -> np.ndarray:
        """Losses of ``steps`` further steps; chains, if there are several, are the last axis."""
        if not self.steps:
            self.carry = self._begin()
            self.data = jax.device_put(self.data)
        parts, room = [], max(1, LOSSES // self.lanes)
        for done in range(0, steps, room):
            count = min(room, steps - done)
            key = jax.random.fold_in(jax.random.key(0), self.steps)
            self.carry, losses = self._loop(self.carry, key, count, self.data)
            self.steps += count
            parts.append(np.asarray(losses)[:count])
        return np.concatenate(parts)


def _flat_normal(key: Array, count: int, shape: tuple[int, ...]) -> Array:
    return jax.random.normal(key, (count * math.prod(shape),)).reshape(count, *shape)


def _vae_noise(key: Array, count: int) -> tuple[Array, Array]:
    eps_key, row_key = jax.random.split(key)
    eps = _flat_normal(eps_key, count, (VAE_BATCH, VAE_LATENT))
    return eps, jax.random.uniform(row_key, (count, VAE_BATCH))


def build(problem: Problem, variant: str) -> Floor:
    """``floor``, or ``floor_64``: as many chains in one program."""
    return Floor(problem, lanes_of(variant)[1])

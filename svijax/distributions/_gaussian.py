"""Linear Gaussian recursions, and the Gaussian factors from which a parallel Kalman filter is built."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from svijax.base import matmul, transposed


def apply(matrix: Any, vector: Any) -> Any:
    """The matrix times the vector, over all axes in front."""
    return jnp.squeeze(matmul(matrix, vector[..., None]), -1)


# The recursions are compiled as wholes: step by step, each of their log2 T sizes would be compiled by itself.
@jax.jit
def affine_recursion(matrices: Any, x: Any) -> Any:
    """y_t = A_t y_(t-1) + x_t with y_0 = 0: x (…, T, n); matrices (…, T, n, n), or (…, 1, n, n) for one A.

    Each of the log2 T passes doubles the time that a term has been carried over.
    """
    size, varying, step = x.shape[-2], jnp.shape(matrices)[-3] > 1, 1
    while step < size:
        if varying:
            carried = apply(matrices[..., step:, :, :], x[..., :-step, :])
            longer = matmul(matrices[..., step:, :, :], matrices[..., :-step, :, :])
            matrices = jnp.concatenate([matrices[..., :step, :, :], longer], axis=-3)
        else:
            carried = matmul(x[..., :-step, :], transposed(matrices[..., 0, :, :]))
            matrices = matmul(matrices, matrices) if 2 * step < size else matrices
        front = jnp.broadcast_to(x[..., :step, :], (*carried.shape[:-2], step, x.shape[-1]))
        x = jnp.concatenate([front, x[..., step:, :] + carried], axis=-2)
        step *= 2
    return x


class Factor(NamedTuple):
    """f(z -> z') = N(z'; A z + b, C) exp(eta^T z - z^T J z / 2) up to a constant: what observations say of a step.

    Särkkä and García-Fernández, Temporal parallelization of Bayesian smoothers (2021), section IV. A, C and J
    do not depend on the observations: their axes in front may be fewer than those of b and eta.
    """

    A: Any
    b: Any
    C: Any
    eta: Any
    J: Any


def combine(first: Factor, second: Factor) -> Factor:
    """The factor of both steps: the state between them is integrated out."""
    eye = jnp.eye(first.C.shape[-1], dtype=first.C.dtype)
    inverse = jnp.linalg.inv(eye + matmul(first.C, second.J))
    forward = matmul(second.A, inverse)
    backward = transposed(matmul(inverse, first.A))
    spread = matmul(matmul(forward, first.C), transposed(second.A)) + second.C
    known = matmul(matmul(backward, second.J), first.A) + first.J
    return Factor(
        matmul(forward, first.A),
        apply(forward, first.b + apply(first.C, second.eta)) + second.b,
        0.5 * (spread + transposed(spread)),
        apply(backward, second.eta - apply(second.J, first.b)) + first.eta,
        0.5 * (known + transposed(known)),
    )


class LinearModel(NamedTuple):
    """z_t = F z_(t-1) + N(q, Q), y_t = H z_t + N(r, R), z_0 ~ N(m, P); time is the leading axis of all but m, P."""

    m: Any
    P: Any
    F: Any
    q: Any
    Q: Any
    H: Any
    r: Any
    R: Any


@jax.jit
def factors_of(model: LinearModel, y: Any) -> Factor:
    """The factor of every step, of observations y (T, …); the matrices of steps alike are computed once."""
    spread = matmul(matmul(model.H, model.Q), transposed(model.H)) + model.R
    seen = matmul(model.H, model.F)
    solve = _solver(spread)
    gain = transposed(solve(matmul(model.H, model.Q)))
    kept = jnp.eye(gain.shape[-2], dtype=gain.dtype) - matmul(gain, model.H)
    gap = y - apply(model.H, model.q) - model.r
    information = transposed(solve(seen))
    factor = Factor(
        matmul(kept, model.F),
        model.q + apply(gain, gap),
        matmul(kept, model.Q),
        apply(information, gap),
        matmul(information, seen),
    )
    return Factor(*(_over_time(x, len(y)) for x in factor))


def _solver(positive_definite: Any) -> Any:
    chol = jnp.linalg.cholesky(positive_definite)

    def solve(right: Any) -> Any:
        half = _solve_lower(chol, right)
        return _solve_lower(chol, half, transpose_a=True)

    return solve


def _solve_lower(lower: Any, right: Any, **how: Any) -> Any:
    batch = jnp.broadcast_shapes(lower.shape[:-2], right.shape[:-2])
    lower, right = (jnp.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (lower, right))
    return jax.lax.linalg.triangular_solve(lower, right, left_side=True, lower=True, **how)


def _over_time(x: Any, steps: int) -> Any:
    return jnp.broadcast_to(x, (steps, *x.shape[1:]))


def start_of(model: LinearModel, like: Factor) -> Factor:
    """The law of the first state as a factor that forgets what was before it; a time axis of size 1."""
    zero = jnp.zeros_like(like.A[:1])
    mean = jnp.broadcast_to(model.m, like.b[:1].shape)
    return Factor(zero, mean, jnp.broadcast_to(model.P, zero.shape), jnp.zeros_like(mean), zero)


@jax.jit
def filtered(start: Factor, factors: Factor) -> Factor:
    """Factors of all steps so far, from the start on: b and C are mean and covariance of z_t given y_1 … y_t."""
    joined = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), start, factors)
    return jax.lax.associative_scan(combine, joined)


@jax.jit
def predictive(model: LinearModel, before: Factor, y: Any) -> tuple[Any, Any]:
    """Whitened y_t minus its mean given y_1 … y_(t-1), and the log determinant of the factor that whitens."""
    mean = apply(model.F, before.b) + model.q
    spread = matmul(matmul(model.F, before.C), transposed(model.F)) + model.Q
    spread = matmul(matmul(model.H, spread), transposed(model.H)) + model.R
    gap = y - apply(model.H, mean) - model.r
    chol = jnp.linalg.cholesky(spread)
    white = _solve_lower(chol, gap[..., None])
    return white[..., 0], jnp.sum(jnp.log(jnp.diagonal(chol, axis1=-2, axis2=-1)), axis=-1)


@jax.jit
def smoothed(forward: Factor, factors: Factor) -> tuple[Any, Any]:
    """Mean and covariance of z_1 … z_T given all observations; ``forward`` are the filtered factors of 1 … T."""
    backward = jax.lax.associative_scan(lambda late, early: combine(early, late), factors, reverse=True)
    # After the last step nothing is left to be said.
    eta = jnp.concatenate([backward.eta[1:], jnp.zeros_like(backward.eta[:1])])
    known = jnp.concatenate([backward.J[1:], jnp.zeros_like(backward.J[:1])])
    eye = jnp.eye(known.shape[-1], dtype=known.dtype)
    inverse = jnp.linalg.inv(eye + matmul(forward.C, known))
    spread = matmul(inverse, forward.C)
    return apply(inverse, forward.b + apply(forward.C, eta)), 0.5 * (spread + transposed(spread))

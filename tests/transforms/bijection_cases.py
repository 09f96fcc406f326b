"""The tables of bijections that the property tests go through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from thinning import thinned

import svijax.distributions as dist
import svijax.transforms as T
from svijax.transforms import biject_to
from svijax.transforms import constraints as C


def _entries(y: Any) -> Any:
    return y.reshape(-1)


def _tril(y: Any) -> Any:
    return y[..., *np.tril_indices(y.shape[-1])]


def _strict(y: Any) -> Any:
    return y[..., *np.tril_indices(y.shape[-1], -1)]


def _but_last(y: Any) -> Any:
    return y[..., :-1].reshape(-1)


def _pairs(y: Any) -> Any:
    return jnp.stack([y.real, y.imag], -1).reshape(-1)


def _free_coefficients(n: int) -> Callable[[Any], Any]:
    def free(y: Any) -> Any:
        return jnp.concatenate([y.real, y.imag[..., 1 : n - n // 2]], -1)

    return free


def _isometric(*shape: int) -> Callable[[Any], Any]:
    """Coordinates of arrays that sum to 0, in an orthonormal basis of them along each axis."""

    def coordinates(y: Any) -> Any:
        for axis, n in zip(range(-len(shape), 0), shape):
            basis = np.linalg.qr(np.eye(n)[:, : n - 1] - 1.0 / n)[0]
            y = jnp.moveaxis(jnp.tensordot(y, basis, ([axis], [0])), -1, axis)
        return y.reshape(-1)

    return coordinates


@dataclass(frozen=True)
class BijectionCase:
    transform: Any
    shape: tuple[int, ...] = ()  # of one x
    coordinates: Callable[[Any], Any] = _entries  # of one y: as many numbers as x has
    start: Callable[[Any], Any] = lambda x: x  # from R^n into the domain
    # The free numbers of one x, and x from them, to take the Jacobian in.
    chart: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None = None
    invertible: bool = True


def _onto(constraint: Any, *args: Any, **kwargs: Any) -> BijectionCase:
    return BijectionCase(biject_to(constraint), *args, **kwargs)


ONTO = {
    repr(constraint): _onto(constraint, *rest)
    for constraint, *rest in [
        (C.real,),
        (C.complex, (2,), _pairs),
        (C.positive,),
        (C.softplus_positive,),
        (C.nonnegative,),
        (C.unit_interval,),
        (C.circular,),
        (C.greater_than(2.0),),
        (C.greater_than_eq(-2.0),),
        (C.less_than(2.0),),
        (C.less_than_eq(2.0),),
        (C.interval(-1.0, 3.0),),
        (C.open_interval(-1.0, 3.0),),
        (C.half_open_interval(-1.0, 3.0),),
        (C.real_vector, (3,)),
        (C.real_matrix, (2, 2)),
        (C.independent(C.positive, 1), (3,)),
        (C.independent(C.simplex, 1), (2, 3), _but_last),
        (C.simplex, (3,), _but_last),
        (C.l1_ball, (3,)),
        (C.ordered_vector, (4,)),
        (C.positive_ordered_vector, (4,)),
        (C.zero_sum(1), (3,), _isometric(4)),
        (C.zero_sum(2), (2, 3), _isometric(3, 4)),
        (C.square, (2, 2)),
        (C.symmetric, (6,), _tril),
        (C.lower_triangular, (6,), _tril),
        (C.lower_cholesky, (6,), _tril),
        (C.softplus_lower_cholesky, (6,), _tril),
        (C.scaled_unit_lower_cholesky, (6,), _tril),
        (C.unit_lower_cholesky, (3,), _strict),
        (C.positive_definite, (6,), _tril),
        (C.positive_semidefinite, (6,), _tril),
        (C.corr_cholesky, (6,), _strict),
        (C.corr_matrix, (3,), _strict),
        (C.cat([C.positive, C.real, C.unit_interval], -1, [2, 0, 1]), (3,)),
        (C.cat([C.simplex, C.positive], -1, [3, 2]), (4,), lambda y: jnp.concatenate([y[:2], y[3:]])),
        (C.stack([C.positive, C.unit_interval], -1), (2,)),
        (C.stack([C.ordered_vector, C.positive], -1), (3, 2)),
        (C.stack([C.ordered_vector, C.positive], -2), (2, 3)),
    ]
}


def _by_tril(n: int, last: int = 0) -> Callable[[Any], Any]:
    """Symmetric matrices by their lower triangle (``last`` = -1: with ones on the diagonal)."""

    def chart(flat: Any) -> Any:
        low = jnp.zeros((n, n)).at[np.tril_indices(n, last)].set(flat)
        both = low + low.T - jnp.diag(jnp.diag(low))
        return both + np.eye(n) if last else both

    return chart


def _by_head(flat: Any) -> Any:
    return jnp.append(flat, 1.0 - jnp.sum(flat))


def _gram(x: Any) -> Any:
    return x @ jnp.swapaxes(x, -2, -1) + np.eye(x.shape[-1])


def _correlations(x: Any) -> Any:
    gram = _gram(x)
    scale = jnp.sqrt(jnp.diagonal(gram, axis1=-2, axis2=-1))
    return gram / scale[..., None] / scale[..., None, :]


LOWER = np.array([[1.0, 0.0], [0.5, 2.0]])
with jax.enable_x64(True):
    NORMAL = dist.Normal(0.3, 2.0)
GRID = np.sin(np.arange(60.0))
MATRIX = GRID[:9].reshape(3, 3)


def _masked_network(x: Any) -> tuple[Any, Any]:
    before = x @ np.triu(MATRIX, 1).astype(x.dtype)
    return jnp.sin(before), 0.5 * jnp.cos(before)


def _block_network(x: Any) -> tuple[Any, Any]:
    return jnp.sinh(x) + x @ np.triu(MATRIX, 1).astype(x.dtype), jnp.log(jnp.cosh(x))


OTHERS = {
    "affine": BijectionCase(T.AffineTransform(1.0, -2.0)),
    "power": BijectionCase(T.PowerTransform(-1.5), start=jnp.exp),
    "positive_power": BijectionCase(T.PositivePowerTransform(1.5)),
    "exp_of_ordered": BijectionCase(T.ExpTransform(C.ordered_vector), (3,), start=lambda x: jnp.sort(x, -1)),
    "tanh": BijectionCase(T.TanhTransform()),
    "elu": BijectionCase(T.ELUTransform()),
    "leaky_relu": BijectionCase(T.LeakyReLUTransform(0.2)),
    "cdf": BijectionCase(T.CumulativeDistributionTransform(NORMAL)),
    "cholesky": BijectionCase(T.CholeskyTransform(), (2, 2), _tril, _gram, (_tril, _by_tril(2))),
    "corr_matrix_cholesky": BijectionCase(
        T.CorrMatrixCholeskyTransform(), (3, 3), _strict, _correlations, (_strict, _by_tril(3, -1))
    ),
    "lower_cholesky_affine": BijectionCase(T.LowerCholeskyAffine(np.ones(2), LOWER), (2,)),
    "reshape": BijectionCase(T.ReshapeTransform((3, 2), (6,)), (6,)),
    "permute": BijectionCase(T.PermuteTransform((2, 0, 1)), (3,)),
    "compose": BijectionCase(
        T.ComposeTransform([T.AffineTransform(0.5, 2.0), T.StickBreakingTransform()]), (3,), _but_last
    ),
    "inverse": BijectionCase(T.ExpTransform().inv, start=jnp.exp),
    "identity": BijectionCase(T.IdentityTransform()),
    "simplex_to_ordered": BijectionCase(
        T.SimplexToOrderedTransform(0.7),
        (4,),
        _entries,
        lambda x: jax.nn.softmax(x, -1),
        (_but_last, _by_head),
    ),
    "recursive_linear": BijectionCase(T.RecursiveLinearTransform(LOWER, np.array([1.0, -2.0])), (4, 2)),
    "cosine": BijectionCase(T.DiscreteCosineTransform(), (5,)),
    "smooth_cosine": BijectionCase(T.DiscreteCosineTransform(-2, smooth=1.5), (4, 2)),
    "haar": BijectionCase(T.HaarTransform(), (7,)),
    "flipped_haar": BijectionCase(T.HaarTransform(-2, flip=True), (6, 2)),
    "fourier_odd": BijectionCase(T.RealFastFourierTransform((5,)), (5,), _free_coefficients(5)),
    "fourier_even": BijectionCase(T.RealFastFourierTransform(6), (6,), _free_coefficients(6)),
    "pack_fourier_odd": BijectionCase(
        T.PackRealFastFourierCoefficientsTransform((5,)), (5,), _free_coefficients(5)
    ),
    "pack_fourier_even": BijectionCase(
        T.PackRealFastFourierCoefficientsTransform((6,)), (6,), _free_coefficients(6)
    ),
    "planar": BijectionCase(T.Planar(0.3, GRID[:3], GRID[3:6]), (3,)),
    "radial": BijectionCase(T.Radial(GRID[:3], 0.5, -1.0), (3,)),
    "householder": BijectionCase(T.Householder(GRID[:6].reshape(2, 3)), (3,)),
    "sylvester": BijectionCase(
        T.Sylvester(MATRIX, MATRIX + 1, GRID[:3], GRID[3:6], GRID[6:9], GRID[:6].reshape(2, 3)),
        (3,),
        invertible=False,
    ),
    "matrix_exponential": BijectionCase(T.MatrixExponential(MATRIX), (3,)),
    "channel_permute": BijectionCase(
        T.GeneralizedChannelPermute(np.eye(3)[[1, 2, 0]], MATRIX + 2 * np.eye(3)), (3, 2, 2)
    ),
    "linear_spline": BijectionCase(
        T.Spline(GRID[:12].reshape(3, 4), GRID[12:24].reshape(3, 4), GRID[:9].reshape(3, 3), GRID[:4]), (3,)
    ),
    "quadratic_spline": BijectionCase(
        T.Spline(GRID[:12].reshape(3, 4), GRID[12:24].reshape(3, 4), GRID[:9].reshape(3, 3), bound=2.0), (3,)
    ),
    "inverse_autoregressive": BijectionCase(T.InverseAutoregressiveTransform(_masked_network), (3,)),
    "block_autoregressive": BijectionCase(
        T.BlockNeuralAutoregressiveTransform(_block_network), (3,), invertible=False
    ),
    "cat": BijectionCase(T.CatTransform([T.ExpTransform(), T.TanhTransform()], -2, [2, 1]), (3, 1)),
}
CASES = ONTO | OTHERS
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_onto = pytest.mark.parametrize("case", ONTO.values(), ids=ONTO)


def costly_for(cases: dict[str, BijectionCase]) -> Any:
    """Cross a costly test with the cases; the default run takes a part of them."""
    return pytest.mark.parametrize("case", thinned(list(cases.items())))


def points(case: BijectionCase, key: jax.Array, batch: tuple[int, ...] = (4,)) -> jax.Array:
    """Values in the domain of the case."""
    return case.start(1.5 * jax.random.normal(key, (*batch, *case.shape)))

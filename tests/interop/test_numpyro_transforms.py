"""NumPyro's constraints and bijections: the same values, log-determinants and order of unconstrained entries."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax.transforms as T
from svijax.transforms import biject_to
from svijax.transforms import constraints as C

pytestmark = pytest.mark.interop

NC = pytest.importorskip("numpyro.distributions.constraints")
NT = pytest.importorskip("numpyro.distributions.transforms")
NF = pytest.importorskip("numpyro.distributions.flows")

# Unlike: positive_ordered_vector, whose entries are exponentials of exponentials in NumPyro.
CONSTRAINTS: list[tuple[Any, Any]] = [
    (lambda C: C.real, ()),
    (lambda C: C.circular, ()),
    (lambda C: C.positive, ()),
    (lambda C: C.nonnegative, ()),
    (lambda C: C.softplus_positive, ()),
    (lambda C: C.unit_interval, ()),
    (lambda C: C.complex, (2,)),
    (lambda C: C.real_vector, (3,)),
    (lambda C: C.real_matrix, (2, 3)),
    (lambda C: C.simplex, (3,)),
    (lambda C: C.ordered_vector, (3,)),
    (lambda C: C.l1_ball, (3,)),
    (lambda C: C.corr_cholesky, (6,)),
    (lambda C: C.corr_matrix, (6,)),
    (lambda C: C.lower_cholesky, (6,)),
    (lambda C: C.scaled_unit_lower_cholesky, (6,)),
    (lambda C: C.softplus_lower_cholesky, (6,)),
    (lambda C: C.positive_definite, (6,)),
    (lambda C: C.positive_semidefinite, (6,)),
    (lambda C: C.greater_than(2.0), ()),
    (lambda C: C.greater_than_eq(2.0), ()),
    (lambda C: C.less_than(2.0), ()),
    (lambda C: C.less_than_eq(2.0), ()),
    (lambda C: C.interval(-1.0, 2.0), ()),
    (lambda C: C.open_interval(-1.0, 2.0), ()),
    (lambda C: C.zero_sum(1), (3,)),
    (lambda C: C.zero_sum(2), (2, 3)),
    (lambda C: C.independent(C.positive, 1), (3,)),
    (lambda C: C.cat([C.real, C.positive], -1, [1, 2]), (3,)),
]
LOWER = np.array([[1.0, 0.0], [0.5, 2.0]])


def _network(x: Any) -> Any:
    before = x @ np.triu(np.ones((3, 3)), 1)
    return jnp.sin(before), 2.0 * before


TRANSFORMS: list[tuple[str, Any, Any, Any]] = [
    ("affine", T.AffineTransform(1.0, -2.0), NT.AffineTransform(1.0, -2.0), (3,)),
    ("power", T.PowerTransform(2.0), NT.PowerTransform(2.0), (3,)),
    ("recursive", T.RecursiveLinearTransform(LOWER), NT.RecursiveLinearTransform(LOWER), (4, 2)),
    ("haar", T.HaarTransform(), NT.HaarTransform(), (11,)),
    ("flipped_haar", T.HaarTransform(-2, True), NT.HaarTransform(-2, True), (6, 2)),
    ("cosine", T.DiscreteCosineTransform(-1, 1.5), NT.DiscreteCosineTransform(-1, 1.5), (7,)),
    ("fourier", T.RealFastFourierTransform((5,)), NT.RealFastFourierTransform((5,)), (5,)),
    ("fourier_2", T.RealFastFourierTransform((4, 3), 2), NT.RealFastFourierTransform((4, 3), 2), (4, 3)),
    (
        "pack",
        T.PackRealFastFourierCoefficientsTransform((6,)),
        NT.PackRealFastFourierCoefficientsTransform((6,)),
        (6,),
    ),
    (
        "autoregressive",
        T.InverseAutoregressiveTransform(_network),
        NF.InverseAutoregressiveTransform(_network),
        (3,),
    ),
    ("cut_points", T.SimplexToOrderedTransform(), NT.SimplexToOrderedTransform(), "simplex"),
    (
        "corr_matrix_cholesky",
        T.CorrMatrixCholeskyTransform(),
        NT.CorrMatrixCholeskyTransform(),
        "corr_matrix",
    ),
    ("permute", T.PermuteTransform((2, 0, 1)), NT.PermuteTransform(np.array([2, 0, 1])), (3,)),
]


def _agree(ours: Any, theirs: Any, x: Any) -> None:
    y, log_det = ours.call_with_log_det(x)
    np.testing.assert_allclose(y, theirs(x), rtol=1e-10, atol=1e-12)
    their_log_det = np.broadcast_to(theirs.log_abs_det_jacobian(x, theirs(x)), np.shape(log_det))
    np.testing.assert_allclose(log_det, their_log_det, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(ours.inv(y), theirs.inv(y), rtol=1e-7, atol=1e-8)
    assert ours.forward_shape(np.shape(x)) == theirs.forward_shape(np.shape(x))
    assert ours.inverse_shape(np.shape(y)) == theirs.inverse_shape(np.shape(y))


@pytest.mark.parametrize("of, shape", CONSTRAINTS, ids=[repr(of(C)) for of, _ in CONSTRAINTS])
def test_unconstrained_values_mean_the_same(of: Any, shape: Any, x64: None, getkey: Any) -> None:
    _agree(biject_to(of(C)), NT.biject_to(of(NC)), jax.random.normal(getkey(), (5, *shape)))


@pytest.mark.parametrize("name, ours, theirs, start", TRANSFORMS, ids=[row[0] for row in TRANSFORMS])
def test_transforms_agree(name: str, ours: Any, theirs: Any, start: Any, x64: None, getkey: Any) -> None:
    if isinstance(start, str):
        constraint = getattr(C, start)
        x = biject_to(constraint)(jax.random.normal(getkey(), (5, 3)))
    else:
        x = jnp.exp(0.3 * jax.random.normal(getkey(), (5, *start)))
    _agree(ours, theirs, x)


NO_SETS = {
    "Constraint",
    "ParameterFreeConstraint",
    "dependent",
    "dependent_property",
    "is_dependent",
    "independent",
}
NAMES = {
    name
    for name, kind in vars(NC).items()
    if name[0] != "_"
    and (isinstance(kind, NC.Constraint) or (isinstance(kind, type) and issubclass(kind, NC.Constraint)))
}


@pytest.mark.parametrize("name", sorted(NAMES - NO_SETS))
def test_every_constraint_of_numpyro_is_here_and_likes_the_same_values(name: str) -> None:
    arguments = {"interval": (0, 2), "open_interval": (0, 2), "integer_interval": (0, 2), "zero_sum": (1,)}
    ours, theirs = getattr(C, name), getattr(NC, name)
    if isinstance(theirs, type):
        given = arguments.get(name, ([NC.real, NC.positive],) if name == "cat" else (2,))
        theirs = theirs(*given)
        ours = ours(*(([C.real, C.positive],) if name == "cat" else given))
    shape = (2,) if name == "cat" else {0: (), 1: (3,), 2: (3, 3)}[theirs.event_dim]
    assert ours.event_dim == theirs.event_dim and ours.is_discrete == theirs.is_discrete
    prototype = jnp.zeros(shape, jnp.complex64 if name == "complex" else jnp.float32)
    mine, other = ours.feasible_like(prototype), theirs.feasible_like(prototype)
    assert np.all(theirs(jnp.asarray(mine))) and (np.all(ours(other)) or name == "integer_greater_than")

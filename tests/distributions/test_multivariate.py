"""Vectors and matrices: batches on every side, conditioning, messages, options, limits."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, linalg, sparse, stats

import svijax.distributions as dist
from svijax.base import ArgumentError, ParameterError, ShapeError, cholesky_or_eye, mahalanobis, matvec

WEIGHTS = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 2.0], [0.0, 2.0, 0.0]])


def _trils(batch: tuple[int, ...], n: int) -> Any:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(*batch, n, n + 2))
    return np.linalg.cholesky(a @ a.swapaxes(-1, -2))


@pytest.mark.parametrize(
    "batch, axes",
    [
        ((), ()),
        ((), (5,)),
        ((3,), (3,)),
        ((3,), (2, 4, 3)),
        ((3, 1), (3, 1)),
        ((3, 1), (2, 3, 4)),
        ((1, 4), (2, 3, 4)),
    ],
)
def test_systems_have_batches_on_every_side(batch: tuple[int, ...], axes: tuple[int, ...], x64: None) -> None:
    tril = _trils(batch, 2)
    v = np.random.default_rng(1).normal(size=(*axes, 2))
    solved = np.linalg.solve(np.broadcast_to(tril, (*axes, 2, 2)), v[..., None])[..., 0]
    np.testing.assert_allclose(mahalanobis(tril, v), (solved**2).sum(-1), rtol=1e-10)
    np.testing.assert_allclose(
        matvec(tril, v), np.einsum("...ij,...j->...i", tril, v), rtol=1e-10, atol=1e-12
    )


def test_no_copy_of_a_factor_is_made_for_each_sample() -> None:
    d = dist.MultivariateNormal(np.zeros((3, 8)), scale_tril=_trils((3,), 8).astype(np.float32))
    program = jax.make_jaxpr(lambda d, x: (d.log_prob(x), d.from_noise(x)))(d, jnp.zeros((50, 3, 8)))
    largest = max(v.aval.size for eqn in program.jaxpr.eqns for v in eqn.outvars)
    assert largest == 50 * 3 * 8


def _families(tril: Any) -> dict[str, Any]:
    n = tril.shape[-1]
    return {
        "wishart": dist.Wishart(n + 1.5, scale_tril=tril),
        "wishart_cholesky": dist.WishartCholesky(n + 1.5, scale_tril=tril),
        "inverse_wishart": dist.InverseWishart(n + 1.5, scale_tril=tril),
        "inverse_wishart_cholesky": dist.InverseWishartCholesky(n + 1.5, scale_tril=tril),
        "matrix_normal": dist.MatrixNormal(np.zeros((n, 2)), tril, np.array([[1.0, 0.0], [0.5, 2.0]])),
        "student": dist.MultivariateStudentT(3.5, 0.0, tril),
        "nan_masked": dist.NanMaskedMultivariateNormal(0.0, scale_tril=tril),
        "low_rank": dist.LowRankMultivariateNormal(np.zeros(n), tril, np.ones(n)),
    }


@pytest.mark.parametrize("name", _families(np.eye(2)))
def test_a_batch_is_its_members(name: str, x64: None, getkey: Any) -> None:
    trils = _trils((3, 1), 2)
    d = _families(trils)[name]
    x = d.sample(getkey(), (4,))
    found = d.log_prob(x)
    assert found.shape == (4, 3, 1) and d.log_prob(x[0, 0, 0]).shape == (3, 1)
    for i in range(3):
        one = _families(trils[i, 0])[name]
        np.testing.assert_allclose(found[:, i, 0], one.log_prob(x[:, i, 0]), rtol=1e-10)
        np.testing.assert_allclose(d.log_prob(x[0, 0, 0])[i, 0], one.log_prob(x[0, 0, 0]), rtol=1e-10)


def test_low_rank_keeps_its_digits_where_woodbury_would_cancel() -> None:
    rng = np.random.default_rng(0)
    factor = (1e3 * rng.normal(size=(6, 2))).astype(np.float32)
    diag = np.full(6, 0.5, np.float32)
    d = dist.LowRankMultivariateNormal(np.zeros(6, np.float32), factor, diag)
    x = (factor @ rng.normal(size=2) + rng.normal(size=6)).astype(np.float32)
    wide = factor.astype(np.float64)
    exact = stats.multivariate_normal(np.zeros(6), wide @ wide.T + np.diag(diag)).logpdf(x)
    assert abs(float(d.log_prob(x)) - exact) < 2e-3
    np.testing.assert_allclose(d.precision_matrix @ d.covariance_matrix, np.eye(6), atol=1.0)


def test_low_rank_matrices() -> None:
    factor, diag = np.array([[1.0], [2.0], [-1.0]]), np.array([1.0, 0.5, 2.0])
    d = dist.LowRankMultivariateNormal(np.zeros(3), factor, diag)
    covariance = factor @ factor.T + np.diag(diag)
    np.testing.assert_allclose(d.covariance_matrix, covariance, rtol=1e-6)
    np.testing.assert_allclose(d.precision_matrix, np.linalg.inv(covariance), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(d.scale_tril, np.linalg.cholesky(covariance), rtol=1e-5, atol=1e-6)


def test_student_has_the_covariance_and_tends_to_the_normal(x64: None) -> None:
    tril = np.array([[1.0, 0.0], [0.3, 2.0]])
    scale = tril @ tril.T
    d = dist.MultivariateStudentT(4.0, 0.0, tril)
    np.testing.assert_allclose(d.covariance_matrix, 2.0 * scale)
    np.testing.assert_allclose(d.precision_matrix, np.linalg.inv(2.0 * scale))
    wide = dist.MultivariateStudentT(np.array([0.5, 1.5, 3.0]), 0.0, tril)
    assert (
        np.isnan(wide.mean[0]).all()
        and np.isnan(wide.variance[0]).all()
        and np.isnan(wide.precision_matrix[1]).all()
    )
    assert np.isinf(wide.variance[1]).all() and np.isfinite(wide.variance[2]).all()
    x = np.array([0.5, -3.0])
    normal = dist.MultivariateNormal(0.0, scale_tril=tril).log_prob(x)
    np.testing.assert_allclose(dist.MultivariateStudentT(1e12, 0.0, tril).log_prob(x), normal, rtol=1e-9)


@pytest.mark.parametrize("concentration", [0.3, 1.0, 4.0])
def test_lkj_integrates_to_one_in_two_and_three_dimensions(concentration: float, x64: None) -> None:
    two, three = dist.LKJ(2, concentration), dist.LKJ(3, concentration)

    def at_two(angle: float) -> float:
        r = np.sin(angle)
        return float(np.exp(two.log_prob(np.array([[1.0, r], [r, 1.0]]))) * np.cos(angle))

    np.testing.assert_allclose(integrate.quad(at_two, -np.pi / 2, np.pi / 2, limit=50)[0], 1.0, rtol=1e-4)
    # In three, over the angles of both correlations in the first column and of the partial one: a product rule.
    nodes, weights = np.polynomial.legendre.leggauss(60)
    # u^4 takes the singularity of small concentrations from the ends.
    u = 0.5 * (nodes + 1)
    left = np.concatenate([0.5 * u**4, 1 - 0.5 * u[::-1] ** 4])
    slope = np.concatenate([2 * u**3, 2 * u[::-1] ** 3]) * np.tile(0.5 * weights, 2)
    angle, slope = np.pi * (left - 0.5), np.pi * slope
    a, b, q = np.meshgrid(*3 * [np.sin(angle)], indexing="ij")
    room = np.sqrt((1 - a**2) * (1 - b**2))
    c, one = a * b + q * room, np.ones_like(a)
    r = np.stack([np.stack([one, a, b], -1), np.stack([a, one, c], -1), np.stack([b, c, one], -1)], -2)
    volume = room * np.cos(angle)[:, None, None] * np.cos(angle)[:, None] * np.cos(angle)
    density = np.asarray(three.log_prob(r))
    total = np.sum(np.exp(density) * volume * slope[:, None, None] * slope[:, None] * slope)
    np.testing.assert_allclose(total, 1.0, rtol=2e-3 if concentration < 1 else 1e-6)


def test_both_ways_to_draw_correlations_are_taken_and_have_the_same_law(getkey: Any) -> None:
    key, n = getkey(), 20_000
    entry = stats.beta(0.7 + 1.5, 0.7 + 1.5, -1, 2)
    found = []
    for method in ("onion", "cvine"):
        draws = np.asarray(dist.LKJ(5, 0.7, method).sample(key, (n,)))
        for i, j in zip(*np.tril_indices(5, -1)):
            assert stats.kstest(draws[:, i, j], entry.cdf).pvalue > 1e-4
        found.append(draws)
        factors = dist.LKJCholesky(5, 0.7, method).sample(key, (n,))
        np.testing.assert_allclose(factors @ factors.swapaxes(-1, -2), draws, atol=1e-5)
    assert not np.allclose(*found)


@pytest.mark.parametrize("method", ["onion", "cvine"])
def test_correlations_near_one_keep_their_factor(method: Any, getkey: Any) -> None:
    d = dist.LKJCholesky(6, 0.01, method)
    x = d.sample(getkey(), (500,))
    assert np.all(d.support(x)) and np.all(np.isfinite(d.log_prob(x)))
    assert np.asarray(x)[:, -1, -1].min() < 1e-8


def test_wishart_at_large_concentration_in_single_precision() -> None:
    scale, nu = np.array([[2.0, 0.5], [0.5, 1.0]]), 1e6
    x = np.float32(nu * scale * 1.001)
    exact = stats.wishart(nu, scale).logpdf(x.astype(np.float64))
    assert abs(float(dist.Wishart(nu, scale).log_prob(x)) - exact) < 1e-3 * abs(exact)


def test_moments_that_do_not_exist() -> None:
    d = dist.InverseWishart(np.array([2.5, 4.0, 6.0]), np.eye(2))
    np.testing.assert_array_equal(d.mean[0], [[np.inf, np.nan], [np.nan, np.inf]])
    assert (
        np.isfinite(d.mean[1:]).all() and np.isinf(d.variance[1]).all() and np.isfinite(d.variance[2]).all()
    )
    factor = dist.InverseWishartCholesky(np.array([1.5, 2.5, 6.0]), np.eye(2))
    np.testing.assert_array_equal(factor.mean[0, :, 0], [np.inf, np.nan])
    np.testing.assert_array_equal(factor.variance[1, :, 0], [np.inf, np.inf])
    assert np.isfinite(factor.mean[2]).all() and np.all(factor.mean[:, 0, 1] == 0)


def test_circulant_matrices_and_rows_that_are_smooth(x64: None) -> None:
    row = np.array([1.5, 0.6, 0.2, 0.6])
    d = dist.CirculantNormal(0.0, row)
    matrix = linalg.circulant(row)
    np.testing.assert_allclose(d.covariance_matrix, matrix)
    np.testing.assert_allclose(d.precision_matrix, np.linalg.inv(matrix))
    np.testing.assert_allclose(
        dist.CirculantNormal(np.zeros(4), covariance_rfft=d.covariance_rfft).covariance_row, row
    )
    # Eigenvalues far below rounding.
    periodic = np.exp(5 * (np.cos(2 * np.pi * np.arange(64) / 64) - 1))
    smooth = dist.CirculantNormal(0.0, periodic.astype(np.float32))
    x = smooth.sample(jax.random.key(0))
    assert np.isfinite(x).all() and np.isfinite(smooth.log_prob(x))


def test_graphs_that_are_sparse_are_no_leaves_and_give_the_same(x64: None) -> None:
    loc, x = np.array([0.5, 1.0, -1.0]), np.array([2.0, 0.0, 1.0])
    dense = dist.CAR(loc, -0.6, 1.5, WEIGHTS)
    sparse_ones = [
        dist.CAR(loc, -0.6, 1.5, make(WEIGHTS), is_sparse=True) for make in (np.asarray, sparse.csr_matrix)
    ]
    assert jax.tree.structure(sparse_ones[0]) == jax.tree.structure(sparse_ones[1])
    assert (
        dense.is_sparse is False and len(jax.tree.leaves(dense)) == len(jax.tree.leaves(sparse_ones[0])) + 1
    )
    for d in sparse_ones:
        assert d.is_sparse
        np.testing.assert_allclose(d.log_prob(x), dense.log_prob(x), rtol=1e-12)
        np.testing.assert_array_equal(d.adj_matrix, WEIGHTS)
    slope = jax.grad(lambda w: dist.CAR(loc, -0.6, 1.5, w).log_prob(x))(WEIGHTS)
    h = 1e-6 * (np.eye(3)[[1, 0, 2]] * [1, 1, 0])
    up, down = (dist.CAR(loc, -0.6, 1.5, WEIGHTS + s * h).log_prob(x) for s in (1, -1))
    np.testing.assert_allclose((slope * h).sum(), (up - down) / 2, rtol=1e-6)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_a_graph_near_its_singular_limit_in_single_precision(is_sparse: bool) -> None:
    correlation = float(np.float32(1 - 1e-4))
    d = dist.CAR(0.0, correlation, 1.0, WEIGHTS, is_sparse=is_sparse)
    x = np.float32([100.0, 100.5, 99.0])
    precision = np.diag(WEIGHTS.sum(-1)) - correlation * WEIGHTS
    exact = stats.multivariate_normal(np.zeros(3), np.linalg.inv(precision)).logpdf(x)
    np.testing.assert_allclose(d.log_prob(x), exact, rtol=2e-5)


def test_missing_entries_are_marginalised_for_each_value(x64: None) -> None:
    tril = _trils((), 3)
    covariance = tril @ tril.T
    d = dist.NanMaskedMultivariateNormal(np.array([1.0, 2.0, 3.0]), scale_tril=tril)
    x = np.array([0.5, np.nan, 1.0])
    kept = stats.multivariate_normal([1.0, 3.0], covariance[np.ix_([0, 2], [0, 2])])
    np.testing.assert_allclose(d.log_prob(x), kept.logpdf(x[[0, 2]]))
    loc, scale = jax.grad(
        lambda m, s: dist.NanMaskedNormal(m, s).log_prob(jnp.array([np.nan, 1.0])).sum(), (0, 1)
    )(0.0, 2.0)
    np.testing.assert_allclose([loc, scale], [0.25, -0.5 + 0.125])
    one = jax.grad(lambda m: dist.NanMaskedMultivariateNormal(m, scale_tril=tril).log_prob(x))(d.loc)
    assert one[1] == 0 and np.all(one[np.array([0, 2])] != 0)


def test_a_factor_that_is_not_there_has_no_derivative(x64: None) -> None:
    good, bad = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, 2.0], [2.0, 1.0]])
    tril, inside = cholesky_or_eye(np.stack([good, bad]))
    np.testing.assert_allclose(tril[0], np.linalg.cholesky(good))
    np.testing.assert_array_equal(inside, [True, False])
    own, plain = (
        jax.jacobian(lambda x, f=f: f(x))(good)
        for f in (lambda x: cholesky_or_eye(x)[0], jnp.linalg.cholesky)
    )
    np.testing.assert_allclose(own, plain, atol=1e-12)
    assert np.all(np.asarray(jax.jacobian(lambda x: cholesky_or_eye(x)[0])(bad)) == 0)


@pytest.mark.parametrize(
    "make, error, text",
    [
        (
            lambda: dist.LowRankMultivariateNormal(np.zeros(2), np.ones((3, 1)), np.ones(3)),
            ShapeError,
            r"loc \(2,\), cov_factor \(3, 1\)",
        ),
        (
            lambda: dist.MultivariateStudentT(3.0, np.zeros(3), np.eye(2)),
            ShapeError,
            r"MultivariateStudentT: loc and the matrix",
        ),
        (lambda: dist.MultivariateStudentT(3.0, 0.0), ShapeError, "'scale_tril' is not made of square"),
        (lambda: dist.MatrixNormal(np.zeros((2, 2)), np.eye(3), np.eye(2)), ShapeError, r"loc \(…, 3, 2\)"),
        (
            lambda: dist.MatrixNormal(np.zeros((3, 2)), np.ones((3, 2)), np.eye(2)),
            ShapeError,
            "'scale_tril_row'",
        ),
        (
            lambda: dist.Wishart(1.0, np.eye(2)),
            ParameterError,
            r"'concentration'[\s\S]*greater_than\(lower=1",
        ),
        (
            lambda: dist.InverseWishart(3.0, np.array([[1.0, 2.0], [2.0, 1.0]])),
            ParameterError,
            "'scale_matrix'",
        ),
        (
            lambda: dist.Wishart(3.0, np.eye(2), np.eye(2)),
            ArgumentError,
            "exactly one of scale_matrix, rate_matrix",
        ),
        (lambda: dist.LKJ(1), ArgumentError, "dimension is an integer of at least 2"),
        (lambda: dist.LKJCholesky(3, 1.0, "vine"), ArgumentError, "'onion' or 'cvine'"),
        (lambda: dist.LKJ(3, 0.0), ParameterError, "LKJ: parameter 'concentration'"),
        (lambda: dist.CirculantNormal(np.zeros(4), covariance_rfft=np.ones(4)), ShapeError, "n // 2"),
        (lambda: dist.CirculantNormal(0.0, np.array([1.0, 2.0, 2.0])), ParameterError, "'covariance_row'"),
        (
            lambda: dist.CirculantNormal(np.zeros(4), covariance_rfft=np.array([1.0, 0.0, 1.0])),
            ParameterError,
            "'covariance_rfft'",
        ),
        (lambda: dist.ZeroSumNormal(1.0, (3, 1)), ArgumentError, "size 2 at least"),
        (
            lambda: dist.CAR(0.0, 0.5, 1.0, np.triu(WEIGHTS)),
            ParameterError,
            r"not symmetric[\s\S]*at index \(0, 1\)",
        ),
        (lambda: dist.CAR(0.0, 0.5, 1.0, np.diag([1.0, 0.0])), ParameterError, "row without neighbours"),
        (lambda: dist.CAR(0.0, 0.5, 1.0, -WEIGHTS), ParameterError, "negative"),
        (lambda: dist.CAR(0.0, 1.0, 1.0, WEIGHTS), ParameterError, "'correlation'"),
        (lambda: dist.CAR(0.0, 0.5, 1.0, sparse.csr_matrix(WEIGHTS)), ArgumentError, "is_sparse=True"),
        (
            lambda: dist.CAR(0.0, 0.5, 1.0, jnp.asarray(WEIGHTS), is_sparse=True),
            ArgumentError,
            "numpy or SciPy",
        ),
    ],
)
def test_misuse_of_vectors_and_matrices_is_named(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


SHARED: dict[str, tuple[Any, dict[str, tuple[int, ...]]]] = {
    "normal": (lambda loc, tril: dist.MultivariateNormal(loc, scale_tril=tril), {"scale_tril": (9, 9)}),
    "student": (lambda loc, tril: dist.MultivariateStudentT(3.5, loc, tril), {"scale_tril": (9, 9)}),
    "low_rank": (
        lambda loc, tril: dist.LowRankMultivariateNormal(loc, tril[:, :4], jnp.exp(tril[:, 0])),
        {"cov_factor": (9, 4), "cov_diag": (9,)},
    ),
}


@pytest.mark.parametrize("family", SHARED)
def test_rows_share_one_factor(family: str, x64: None) -> None:
    """A factor given once is kept once; as a leaf of the pytree it has the batch shape, so that vmap maps it."""
    make, held = SHARED[family]
    tril, loc, x = 0.3 * _trils((), 9), np.random.default_rng(0).normal(size=(6, 9)), np.ones((2, 6, 9))
    d = make(loc, tril)
    for name, shape in held.items():
        assert d._held(name).shape == d.expand([4, 6])._held(name).shape == shape
        assert getattr(d, name).shape == (6, *shape)
    assert d.covariance_matrix.shape == d.precision_matrix.shape == (6, 9, 9)
    assert d.variance.shape == (6, 9) and d.entropy().shape == (6,)
    each = np.stack([make(row, tril).log_prob(x[:, i]) for i, row in enumerate(loc)], axis=1)
    np.testing.assert_allclose(d.log_prob(x), each, rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(lambda e: e.log_prob(np.ones(9)))(d), each[0], rtol=1e-12)
    spread, key = jax.tree.map(np.asarray, d), jax.random.key(0)
    assert spread._held(next(iter(held))).shape[0] == 6
    np.testing.assert_allclose(d.sample(key, (3,)), spread.sample(key, (3,)), rtol=1e-10, atol=1e-12)


def _sizes(program: Any) -> list[int]:
    """How many entries each array of a program has, those inside of compiled functions too."""
    inner = [getattr(value, "jaxpr", value) for eqn in program.eqns for value in eqn.params.values()]
    sizes = [v.aval.size for eqn in program.eqns for v in eqn.outvars]
    return sizes + [size for part in inner if hasattr(part, "eqns") for size in _sizes(part)]


@pytest.mark.parametrize("family", SHARED)
def test_no_copy_of_a_factor_is_made_for_each_row(family: str, x64: None) -> None:
    make, _ = SHARED[family]
    tril, loc, x = 0.3 * _trils((), 9), np.random.default_rng(0).normal(size=(6, 9)), np.ones((2, 6, 9))

    def total(loc: Any, tril: Any, x: Any) -> Any:
        return jnp.sum(make(loc, tril).log_prob(x))

    slopes = jax.grad(total, (0, 1))
    assert max(_sizes(jax.make_jaxpr(slopes)(loc, tril, x).jaxpr)) == x.size
    of_loc, of_tril = slopes(loc, tril, x)
    rows = [jax.jit(slopes)(loc[i], tril, x[:, i]) for i in range(6)]
    np.testing.assert_allclose(of_loc, [row[0] for row in rows], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(of_tril, sum(row[1] for row in rows), rtol=1e-10, atol=1e-12)
    drawn = jax.make_jaxpr(lambda loc, tril, key: make(loc, tril).sample(key))(loc, tril, jax.random.key(0))
    assert max(_sizes(drawn.jaxpr)) < 6 * 9 * 4

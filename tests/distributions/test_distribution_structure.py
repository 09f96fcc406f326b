"""Shapes, pytrees, dtypes, messages: what every distribution obeys, and the wrappers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distribution_case import DistCase
from distribution_cases import CASES, every, every_case
from scipy import stats

import svijax.distributions as dist
from svijax import transforms
from svijax.base import ArgumentError, ParameterError, ShapeError
from svijax.transforms import constraints


@every_case
def test_shapes_of_draws_densities_and_copies(case: DistCase) -> None:
    base = case.make()
    assert base.batch_shape == () and isinstance(base, dist.DistributionLike)
    grown = base.expand((1, 3)).expand((2, 4, 3))
    assert type(grown) is type(base) and grown.batch_shape == (2, 4, 3)
    together = grown.to_event(2)
    assert together.batch_shape == (2,) and together.event_shape == (4, 3, *base.event_shape)
    assert grown.to_event().batch_shape == () and grown.to_event(0) is grown
    masked = grown.mask(np.array([True, False, True]))
    for d in (base, grown, together, masked):

        def run(d: Any, key: Any) -> Any:
            x = d.sample(key, (5,))
            return x, d.log_prob(x), d.support(x)

        x, log_prob, inside = jax.eval_shape(run, d, jax.random.key(0))
        assert x.shape == d.shape((5,)) == (5, *d.batch_shape, *d.event_shape)
        assert log_prob.shape == inside.shape == (5, *d.batch_shape)
        assert x.dtype == d.dtype and not x.weak_type and not log_prob.weak_type
        assert d.event_dim == d.support.event_dim == len(d.event_shape)
        assert d.is_discrete == case.discrete and d.has_rsample == base.has_rsample
        assert (d.noise_spec is None) == (base.noise_spec is None)
        assert isinstance(repr(d), str)


@every_case
def test_pytree_round_trip_accepts_any_leaf(case: DistCase) -> None:
    d = case.make().expand((3,))
    leaves, tree = jax.tree.flatten(d)
    again = jax.tree.unflatten(tree, leaves)
    assert again.batch_shape == (3,) and again != d
    for other in (None, object(), jax.ShapeDtypeStruct((3,), np.float32)):
        assert type(jax.tree.unflatten(tree, [other] * len(leaves))) is type(d)
    shapes = jax.eval_shape(lambda: d)
    assert type(shapes) is type(d) and shapes.batch_shape == (3,)
    with pytest.raises(FrozenInstanceError, match="immutable"):
        d.loc = 3.0


@every(costly=True)
def test_jit_and_vmap_over_a_distribution(case: DistCase) -> None:
    d = case.make().expand((3,))
    value = case.observations()[1]
    rows = jax.jit(jax.vmap(lambda one: one.log_prob(value)))(d)
    np.testing.assert_allclose(rows, d.log_prob(value), rtol=1e-5, atol=1e-5)
    made = jax.vmap(lambda one: one.expand((2,)))(d)
    assert made.batch_shape == (3, 2)


# Rows that hold other arrays in single precision, parameters beyond the range of half precision, and families
# that answer in single precision when asked in half.
NOT_IN_HALF = {
    *("car", "state_space", "truncated_normal_right", "transformed_decreasing", "student_t_light"),
    *("copula_of_normals", "copula_of_exponentials", "copula_of_betas"),
    *("lkj_onion", "lkj_cvine", "lkj_cholesky_onion", "lkj_cholesky_cvine"),
    *("sine_bivariate_von_mises", "sine_bivariate_von_mises_of_two_modes", "sine_skewed"),
}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_dtype_is_kept(dtype: Any) -> None:
    for name, case in CASES.items():
        if case.discrete or not case.half or (dtype != jnp.float32 and name in NOT_IN_HALF):
            continue
        params = {key: np.asarray(value, dtype) for key, value in case.params.items()}
        d = case.family(**params, **case.fixed)

        def run(d: Any) -> Any:
            x = d.sample(jax.random.key(0))
            return x, d.log_prob(x), d.support(x)

        x, log_prob, _ = jax.eval_shape(run, d)
        assert d.dtype == x.dtype == log_prob.dtype == dtype, name


def test_promotion_of_parameters() -> None:
    assert dist.Normal(0, 1).dtype == np.float32
    assert dist.Normal(0.0, np.ones(3)).dtype == np.float32
    assert dist.Normal(np.float16(0), 1.0).dtype == np.float16
    assert dist.Normal(jnp.zeros(2, jnp.bfloat16), 1).dtype == jnp.bfloat16
    weak = jax.jit(lambda x: dist.Normal(x, 1.0))(1.0)
    assert not weak.loc.weak_type and weak.dtype == np.float32
    assert dist.Delta(3).dtype == np.int32 and dist.Delta(3).is_discrete
    assert dist.Binomial(np.int8(3), 0.5).total_count.dtype == np.int8
    with jax.enable_x64(True):
        assert dist.Normal(0.0, 1.0).dtype == np.float64
        assert dist.Normal(np.float32(0), 1.0).dtype == np.float32
        assert dist.Delta(np.float32(0)).log_prob(1.0).dtype == np.float32

    class Box:
        def __jax_array__(self) -> jax.Array:
            return jnp.ones(2)

    assert dist.Normal(Box(), 1.0).batch_shape == (2,)
    assert dist.Dirichlet([1.0, jnp.float32(2.0)]).event_shape == (2,)


def test_jax_parameters_are_untouched_when_the_shape_is_right() -> None:
    loc = jnp.zeros(3)
    assert dist.Normal(loc, 1.0).loc is loc


def test_construction_and_checks_start_no_backend() -> None:
    program = """
import numpy as np
import svijax.distributions as dist
from svijax.transforms import biject_to, constraints
d = [dist.Normal(0.0, 1.0), dist.Normal(np.zeros(3), 1).expand((2, 3)).to_event(1),
     dist.Normal(np.zeros(2), 1).mask(np.array([True, False])),
     dist.Gamma(1.0, 2.0), dist.Bernoulli(probs=0.5), dist.Categorical(logits=np.zeros(3)),
     dist.MultivariateNormal(np.zeros(2), np.eye(2)),
     dist.MultivariateNormal(0.0, precision_matrix=np.eye(2)),
     dist.Delta(np.ones(2), event_dim=1), dist.Uniform(0, 1),
     dist.ImproperUniform(constraints.positive, (), (2,)),
     dist.Binomial(3, 0.2), dist.Dirichlet([1.0, 2.0]), dist.LogNormal(0, 1).has_rsample_(False),
     dist.TransformedDistribution(dist.Normal(0, 1), biject_to(constraints.interval(0.0, 2.0)))]
for one in d:
    one.batch_shape, one.event_shape, one.support, one.noise_spec, one.dtype, repr(one)
    one.support.feasible_like(np.ones(one.shape()))
try:
    dist.Normal(0.0, -1.0)
except ValueError:
    pass
import jax
try:
    jax.devices()
except RuntimeError:
    raise SystemExit(0)
raise SystemExit("the platform of this test should not exist")
"""
    # On a platform that does not exist, whatever starts a backend fails.
    environment = {**os.environ, "JAX_PLATFORMS": "none_such"}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()


@pytest.mark.parametrize(
    "make, text",
    [
        (
            lambda: dist.Normal(0.0, np.array([1.0, -2.0])),
            "Normal: parameter 'scale' is outside its constraint.\n"
            "  expected: positive\n"
            "  got:      -2. at index (1,)\n"
            "  fix:      pass values inside it; validate_args=False switches this check off.",
        ),
        (
            lambda: dist.Uniform(1.0, 0.5),
            "Uniform: parameter 'high' is outside its constraint.\n"
            "  expected: greater_than(lower=1.)\n"
            "  got:      0.5\n"
            "  fix:      pass values inside it; validate_args=False switches this check off.",
        ),
        (
            lambda: dist.Categorical(probs=np.array([[0.5, 0.5], [0.5, 0.6]])),
            "Categorical: parameter 'probs' is outside its constraint.\n"
            "  expected: simplex\n"
            "  got:      [0.5, 0.6] at index (1,)\n"
            "  fix:      pass values inside it; validate_args=False switches this check off.",
        ),
    ],
    ids=["value", "pair", "vector"],
)
def test_parameters_outside_their_constraint(make: Any, text: str) -> None:
    with pytest.raises(ParameterError) as caught:
        make()
    assert str(caught.value) == text


def test_checks_read_jax_arrays_skip_tracers_and_can_be_switched_off() -> None:
    with pytest.raises(ParameterError, match="'scale'"):
        dist.Normal(0.0, jnp.zeros(2))
    with pytest.raises(ParameterError, match="'loc'"):
        dist.Normal(np.nan, 1.0)
    with pytest.raises(ParameterError, match="'covariance_matrix'"):
        dist.MultivariateNormal(np.zeros(2), np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ParameterError, match="'probs'"):
        dist.Bernoulli(1.5)
    assert dist.Normal(0.0, -1.0, validate_args=False).scale == -1
    jax.eval_shape(lambda s: dist.Normal(0.0, s).scale, -1.0)


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda: dist.Normal(np.zeros(3), np.ones(2)), ShapeError, r"loc \(3,\) and scale \(2,\)"),
        (lambda: dist.Dirichlet(1.0), ShapeError, "'concentration' needs at least 1 axes"),
        (
            lambda: dist.MultivariateNormal(np.zeros(3), np.eye(2)),
            ShapeError,
            "loc .3,. and matrices of 2 rows",
        ),
        (lambda: dist.MultivariateNormal(0.0, np.zeros(3)), ShapeError, "square"),
        (lambda: dist.MultivariateNormal(0.0), ArgumentError, "exactly one of"),
        (lambda: dist.Bernoulli(), ArgumentError, "exactly one of probs, logits"),
        (lambda: dist.Bernoulli(0.5, 0.0), ArgumentError, "got:      probs, logits"),
        (lambda: dist.Normal(np.zeros(3), 1).expand((2,)), ShapeError, r"\(3,\) broadcasts"),
        (lambda: dist.Normal(np.zeros(3), 1).to_event(2), ShapeError, r"to_event\(2\).*1 batch axes"),
        (lambda: dist.Normal(np.zeros(3), 1).mask(np.ones(2)), ShapeError, r"mask of shape \(2,\)"),
        (
            lambda: dist.ImproperUniform(constraints.real).sample(jax.random.key(0)),
            ArgumentError,
            "not finite",
        ),
        (lambda: dist.Normal(0.0, 1.0).enumerate_support(), ArgumentError, "Normal has not an enumerable"),
        (lambda: dist.Bernoulli(0.5).from_noise(0.0), ArgumentError, "Bernoulli has not a noise form"),
        (lambda: dist.Bernoulli(0.5).has_rsample_(True), ArgumentError, "pathwise"),
        (lambda: dist.Normal(0.0, 1.0).sample(None), ArgumentError, "random key"),
        (lambda: dist.Binomial(np.array([2, 3]), 0.5).enumerate_support(), ArgumentError, "total_count"),
    ],
)
def test_misuse_is_named(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_keys_typed_raw_and_of_other_kinds() -> None:
    d = dist.Normal(np.zeros(2), 1.0)
    np.testing.assert_array_equal(d.sample(jax.random.key(1)), d.sample(jax.random.PRNGKey(1)))
    other = dist.Poisson(3.0).sample(jax.random.key(0, impl="rbg"), (1000,))
    assert abs(float(other.mean()) - 3.0) < 0.3


def test_probs_and_logits_are_both_readable() -> None:
    np.testing.assert_allclose(dist.Bernoulli(0.2).logits, np.log(0.25), rtol=1e-6)
    np.testing.assert_allclose(dist.Bernoulli(logits=0.0).probs, 0.5)
    np.testing.assert_allclose(dist.Categorical(logits=np.zeros(4)).probs, 0.25)
    np.testing.assert_allclose(
        dist.Categorical(np.array([0.25, 0.75])).logits, np.log([0.25, 0.75]), rtol=1e-6
    )
    np.testing.assert_allclose(dist.Binomial(3, logits=0.0).probs, 0.5)
    np.testing.assert_allclose(dist.Binomial(3, 0.5).logits, 0.0)


def test_enumeration_shapes() -> None:
    d = dist.Categorical(np.full((4, 3), 1 / 3, np.float32))
    assert d.enumerate_support().shape == (3, 4) and d.enumerate_support(expand=False).shape == (3, 1)
    assert d.log_prob(d.enumerate_support(expand=False)).shape == (3, 4)
    assert dist.Bernoulli(np.full(2, 0.5)).mask(True).enumerate_support().shape == (2, 2)
    assert not dist.Bernoulli(np.full(2, 0.5)).to_event(1).has_enumerate_support
    assert d.log_prob(jnp.float32(1.0)).shape == (4,)


def test_delta() -> None:
    v = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    d = dist.Delta(v, log_density=np.array([0.5, -1.0]), event_dim=1)
    assert d.batch_shape == (2,) and d.event_shape == (2,) and d.has_rsample
    assert d.sample(None) is v and d.log_prob(d.sample(None)) is d.log_density
    assert d.sample(None, (3,)).shape == (3, 2, 2)
    np.testing.assert_array_equal(d.log_prob(v + 0), [0.5, -1.0])
    np.testing.assert_array_equal(d.log_prob(jnp.array([1.0, 2.0])), [0.5, -np.inf])
    value, log_prob = d.from_noise_with_log_prob(np.zeros((5, 0)))
    assert value.shape == (5, 2, 2) and log_prob.shape == (5, 2)
    identity = jax.make_jaxpr(lambda v: dist.Delta(v).log_prob(v))(jnp.float32(1.0))
    assert not any(eqn.primitive.name in ("eq", "select_n") for eqn in identity.eqns)
    assert jax.grad(lambda v: dist.Delta(v).sample(None))(2.0) == 1.0
    assert d.expand((4, 2)).batch_shape == (4, 2) and d.entropy().shape == (2,)
    assert constraints.is_subset(dist.Delta(0.5).support, constraints.unit_interval) is True
    np.testing.assert_array_equal(jax.vmap(lambda one: one.log_prob(one.v))(d), [0.5, -1.0])


def test_improper_uniform() -> None:
    d = dist.ImproperUniform(constraints.positive, (3,), (2,))
    assert d.support == constraints.independent(constraints.positive, 1)
    np.testing.assert_array_equal(d.log_prob(jnp.ones((3, 2))), np.zeros(3))
    assert d.log_prob(jnp.array([1.0, -1.0])).shape == (3,) and d.log_prob(-np.ones(2))[0] == -np.inf
    assert d.expand((4, 3)).shape() == (4, 3, 2) and not d.has_rsample


class Foreign:
    """The least distribution, from elsewhere: batch (2, 1), event (3,)."""

    batch_shape = (2, 1)
    event_shape = (3,)
    support = constraints.real_vector
    dtype = np.dtype(np.float32)

    def sample(self, key: Any, sample_shape: Sequence[int] = ()) -> Any:
        rows = jnp.array([[[0.0]], [[100.0]]])
        return rows + jax.random.normal(key, (*sample_shape, 2, 1, 3))

    def log_prob(self, value: Any) -> Any:
        return -0.5 * jnp.sum((value - jnp.array([[[0.0]], [[100.0]]])) ** 2, -1)


def test_foreign_objects_in_every_wrapper() -> None:
    key = jax.random.key(0)
    d = dist.ExpandedDistribution(Foreign(), (5, 2, 4))
    x = d.sample(key, (6,))
    assert isinstance(Foreign(), dist.DistributionLike)
    assert x.shape == (6, 5, 2, 4, 3) and d.log_prob(x).shape == (6, 5, 2, 4)
    assert np.unique(np.asarray(x)).size == x.size
    np.testing.assert_allclose(np.asarray(x).mean((0, 1, 3, 4)), [0.0, 100.0], atol=0.5)
    assert d.log_prob(jnp.zeros(3)).shape == (5, 2, 4) and d.noise_spec is None
    inner = dist.Independent(Foreign(), 1).expand((7, 2))
    assert inner.shape() == (7, 2, 1, 3) and inner.sample(key).shape == (7, 2, 1, 3)
    masked = dist.MaskedDistribution(Foreign(), np.array([True, False]))
    assert masked.batch_shape == (2, 2) and np.all(masked.log_prob(masked.sample(key))[:, 1] == 0)
    moved = dist.TransformedDistribution(Foreign(), transforms.ExpTransform())
    assert moved.support == constraints.independent(constraints.positive, 1)
    assert moved.log_prob(jnp.ones(3)).shape == (2, 1)


def test_transformed_equals_its_closed_form() -> None:
    base = dist.Normal(0.3, 0.7)
    d, exact = dist.TransformedDistribution(base, transforms.ExpTransform()), dist.LogNormal(0.3, 0.7)
    x = exact.sample(jax.random.key(0), (5,))
    np.testing.assert_allclose(d.log_prob(x), exact.log_prob(x), rtol=1e-5)
    np.testing.assert_allclose(d.cdf(x), exact.cdf(x), rtol=1e-5)
    np.testing.assert_allclose(d.icdf(0.3), exact.icdf(0.3), rtol=1e-5)
    flipped = dist.TransformedDistribution(base, transforms.AffineTransform(0.0, -1.0))
    np.testing.assert_allclose(flipped.cdf(0.2), dist.Normal(-0.3, 0.7).cdf(0.2), rtol=1e-5)
    np.testing.assert_allclose(flipped.icdf(0.2), dist.Normal(-0.3, 0.7).icdf(0.2), rtol=1e-5)


def test_transformed_shapes_follow_the_bijections() -> None:
    key = jax.random.key(0)
    affine = dist.TransformedDistribution(
        dist.Normal(0, 1), transforms.AffineTransform(np.zeros((2, 3)), 1.0)
    )
    assert affine.batch_shape == (2, 3) and np.unique(affine.sample(key)).size == 6
    simplex = dist.TransformedDistribution(
        dist.Normal(np.zeros((4, 2)), 1.0),
        [transforms.AffineTransform(0.0, 2.0), transforms.StickBreakingTransform()],
    )
    assert (
        simplex.batch_shape == (4,) and simplex.event_shape == (3,) and simplex.support == constraints.simplex
    )
    x, log_prob = simplex.sample_with_log_prob(key, (5,))
    np.testing.assert_allclose(log_prob, simplex.log_prob(x), rtol=1e-4, atol=1e-4)
    assert simplex.expand((2, 4)).shape() == (2, 4, 3)
    wide = dist.TransformedDistribution(dist.Normal(np.zeros(3), 1).to_event(1), transforms.ExpTransform())
    assert wide.event_shape == (3,) and wide.support == constraints.independent(constraints.positive, 1)
    x, log_prob = wide.from_noise_with_log_prob(np.full((2, 3), 0.5, np.float32))
    np.testing.assert_allclose(log_prob, wide.log_prob(x), rtol=1e-5)
    assert dist.TransformedDistribution(dist.Beta(1.0, 1.0), []).support == constraints.unit_interval


def test_a_new_distribution_is_one_short_class() -> None:
    class Laplace(dist.Distribution):
        arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
        support = constraints.real
        _noise_kind = "uniform"

        def __init__(self, loc: Any = 0.0, scale: Any = 1.0, *, validate_args: bool | None = None) -> None:
            self._init(validate_args, loc=loc, scale=scale)

        def from_noise(self, noise: Any) -> Any:
            return self.loc - self.scale * jnp.sign(noise - 0.5) * jnp.log1p(-2 * jnp.abs(noise - 0.5))

        def log_prob(self, value: Any) -> Any:
            return -jnp.abs(value - self.loc) / self.scale - jnp.log(2 * self.scale)

    d = Laplace(np.zeros(3)).to_event(1)
    assert d.sample(jax.random.key(0), (2,)).shape == (2, 3) and d.has_rsample
    value, log_prob = d.from_noise_with_log_prob(np.full((2, 3), 0.3, np.float32))
    np.testing.assert_allclose(log_prob, d.log_prob(value))


def test_constraints_and_transforms_are_found_where_the_field_looks() -> None:
    import svijax.distributions.constraints as there
    from svijax.distributions.transforms import AffineTransform

    assert AffineTransform is transforms.AffineTransform
    assert there.positive is constraints.positive is dist.constraints.positive
    assert set(dir(there)) == set(dir(constraints))


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_multivariate_normal_with_batches_on_every_side(
    batch: tuple[int, ...], x64: None, getkey: Any
) -> None:
    tril = (
        np.array([[1.0, 0.0], [0.3, 2.0]]) * (1 + np.arange(np.prod(batch)).reshape(batch))[..., None, None]
    )
    loc = np.arange(2 * int(np.prod(batch)), dtype=float).reshape((*batch, 2))
    d = dist.MultivariateNormal(loc, scale_tril=tril)
    for sample_shape in ((), (4,)):
        x = np.asarray(d.sample(getkey(), sample_shape))
        flat = x.reshape((-1, int(np.prod(batch)), 2))
        expected = [
            [
                stats.multivariate_normal(m, t @ t.T).logpdf(v)
                for v, m, t in zip(row, loc.reshape(-1, 2), tril.reshape(-1, 2, 2))
            ]
            for row in flat
        ]
        np.testing.assert_allclose(d.log_prob(x), np.reshape(expected, (*sample_shape, *batch)), rtol=1e-9)

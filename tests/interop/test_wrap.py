"""Distributions of NumPyro, TensorFlow Probability, Distrax and Distreqx as ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tfp_on_jax import import_distrax, import_tfp

import svijax
import svijax.distributions as dist
from svijax import SVI, Trace_ELBO
from svijax.base import ArgumentError, ModelError, ShapeError
from svijax.distributions import constraints
from svijax.guides import AutoNormal
from svijax.interop import wrap
from svijax.transforms import biject_to

pytestmark = [
    pytest.mark.interop,
    # Of TensorFlow Probability's own code.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype"),
]

numpyro_dist = pytest.importorskip("numpyro.distributions")
tfd = import_tfp().distributions
distrax = import_distrax()
distreqx = pytest.importorskip("distreqx.distributions")
KEY = jax.random.key(0)


# A family, as each library writes it, as we do, and its support.
ROWS: dict[str, tuple[Callable[[], Any], Callable[[], Any], Any]] = {
    "numpyro normal": (
        lambda: numpyro_dist.Normal(jnp.array([0.0, 1.0]), 2.0),
        lambda: dist.Normal(jnp.array([0.0, 1.0]), 2.0),
        constraints.real,
    ),
    "numpyro gamma": (
        lambda: numpyro_dist.Gamma(2.0, jnp.array([1.0, 3.0, 5.0])),
        lambda: dist.Gamma(2.0, jnp.array([1.0, 3.0, 5.0])),
        constraints.positive,
    ),
    "numpyro dirichlet": (
        lambda: numpyro_dist.Dirichlet(jnp.array([1.0, 2.0, 3.0])),
        lambda: dist.Dirichlet(jnp.array([1.0, 2.0, 3.0])),
        constraints.simplex,
    ),
    "numpyro uniform": (
        lambda: numpyro_dist.Uniform(1.0, 3.0),
        lambda: dist.Uniform(1.0, 3.0),
        constraints.interval(1.0, 3.0),
    ),
    "numpyro poisson": (
        lambda: numpyro_dist.Poisson(3.0),
        lambda: dist.Poisson(3.0),
        constraints.nonnegative_integer,
    ),
    "numpyro vector": (
        lambda: numpyro_dist.HalfNormal(jnp.ones((2, 3))).to_event(1),
        lambda: dist.HalfNormal(jnp.ones((2, 3))).to_event(1),
        constraints.independent(constraints.positive, 1),
    ),
    "tfp normal": (
        lambda: tfd.Normal(jnp.array([0.0, 1.0]), 2.0),
        lambda: dist.Normal(jnp.array([0.0, 1.0]), 2.0),
        constraints.real,
    ),
    "tfp beta": (lambda: tfd.Beta(2.0, 3.0), lambda: dist.Beta(2.0, 3.0), constraints.unit_interval),
    "tfp log normal": (
        lambda: tfd.LogNormal(0.5, 0.7),
        lambda: dist.LogNormal(0.5, 0.7),
        constraints.positive,
    ),
    "tfp uniform": (
        lambda: tfd.Uniform(1.0, 3.0),
        lambda: dist.Uniform(1.0, 3.0),
        constraints.interval(1.0, 3.0),
    ),
    "tfp vector": (
        lambda: tfd.Independent(tfd.Gamma(2.0, jnp.ones((2, 3))), 1),
        lambda: dist.Gamma(2.0, jnp.ones((2, 3))).to_event(1),
        constraints.independent(constraints.positive, 1),
    ),
    "tfp sample": (
        lambda: tfd.Sample(tfd.Exponential(2.0), 3),
        lambda: dist.Exponential(2.0).expand([3]).to_event(1),
        constraints.independent(constraints.positive, 1),
    ),
    "tfp multivariate normal": (
        lambda: tfd.MultivariateNormalTriL(jnp.ones(2), jnp.array([[2.0, 0.0], [0.3, 1.0]])),
        lambda: dist.MultivariateNormal(jnp.ones(2), scale_tril=jnp.array([[2.0, 0.0], [0.3, 1.0]])),
        constraints.real_vector,
    ),
    "tfp binomial": (
        lambda: tfd.Binomial(7.0, probs=0.3),
        lambda: dist.Binomial(7, 0.3),
        constraints.integer_interval(0, 7.0),
    ),
    "tfp categorical": (
        lambda: tfd.Categorical(logits=jnp.array([0.0, 1.0, 2.0])),
        lambda: dist.Categorical(logits=jnp.array([0.0, 1.0, 2.0])),
        constraints.integer_interval(0, 2),
    ),
    "distrax normal": (
        lambda: distrax.Normal(jnp.array([0.0, 1.0]), 2.0),
        lambda: dist.Normal(jnp.array([0.0, 1.0]), 2.0),
        constraints.real,
    ),
    "distrax gamma": (
        lambda: distrax.Gamma(2.0, jnp.array([1.0, 3.0])),
        lambda: dist.Gamma(2.0, jnp.array([1.0, 3.0])),
        constraints.positive,
    ),
    "distrax vector": (
        lambda: distrax.MultivariateNormalDiag(jnp.zeros(3), jnp.ones(3)),
        lambda: dist.Normal(jnp.zeros(3), 1.0).to_event(1),
        constraints.real_vector,
    ),
    "distrax independent": (
        lambda: distrax.Independent(distrax.Beta(jnp.full((2, 3), 2.0), 3.0), 1),
        lambda: dist.Beta(jnp.full((2, 3), 2.0), 3.0).to_event(1),
        constraints.independent(constraints.unit_interval, 1),
    ),
    "distrax bernoulli": (
        lambda: distrax.Bernoulli(probs=jnp.array([0.2, 0.7])),
        lambda: dist.Bernoulli(jnp.array([0.2, 0.7])),
        constraints.boolean,
    ),
    "distreqx normal": (
        lambda: distreqx.Normal(jnp.array([0.0, 1.0]), jnp.array([2.0, 2.0])),
        lambda: dist.Normal(jnp.array([0.0, 1.0]), 2.0),
        constraints.real,
    ),
    "distreqx gamma": (
        lambda: distreqx.Gamma(jnp.array(2.0), jnp.array(3.0)),
        lambda: dist.Gamma(2.0, 3.0),
        constraints.positive,
    ),
    "distreqx vector": (
        lambda: distreqx.MultivariateNormalDiag(jnp.zeros(3), jnp.ones(3)),
        lambda: dist.Normal(jnp.zeros(3), 1.0).to_event(1),
        constraints.real_vector,
    ),
}
every_row = pytest.mark.parametrize("name", ROWS)


def pair(name: str) -> tuple[Any, Any, Any]:
    theirs, ours, support = ROWS[name]
    return wrap(theirs()), ours(), support


@every_row
def test_shapes_supports_and_densities_are_ours(name: str) -> None:
    d, ours, support = pair(name)
    assert isinstance(d, dist.Distribution)
    assert (d.batch_shape, d.event_shape) == (ours.batch_shape, ours.event_shape)
    assert d.support == support
    assert d.is_discrete == ours.is_discrete
    assert d.has_rsample == ours.has_rsample
    value = ours.sample(KEY, (4,))
    np.testing.assert_allclose(d.log_prob(value), ours.log_prob(value), rtol=2e-5, atol=1e-6)
    assert d.log_prob(value).shape == (4, *ours.batch_shape)
    if name != "tfp categorical":  # TensorFlow Probability has no mean of it
        np.testing.assert_allclose(np.broadcast_to(d.mean, ours.shape()), ours.mean, rtol=1e-5)


@every_row
def test_draws_have_the_shape_the_dtype_and_the_moments(name: str) -> None:
    d, ours, support = pair(name)
    draws = jax.jit(lambda d, key: d.sample(key, (2, 5_000)))(d, KEY)
    assert draws.shape == (2, 5_000, *ours.batch_shape, *ours.event_shape)
    assert draws.dtype == d.dtype
    assert bool(jnp.all(support(draws)))
    error = 5.0 * np.sqrt(np.asarray(ours.variance) / 10_000)
    np.testing.assert_array_less(np.abs(draws.mean(axis=(0, 1)) - np.asarray(ours.mean)), error + 1e-6)
    assert d.sample(KEY).shape == (*ours.batch_shape, *ours.event_shape)


@every_row
def test_wrapped_distributions_are_distributions(name: str) -> None:
    d, ours, _ = pair(name)
    bigger = d.expand((4, *ours.batch_shape))
    value = ours.sample(KEY)
    assert bigger.sample(KEY).shape == (4, *ours.shape())
    np.testing.assert_allclose(bigger.log_prob(value)[0], ours.log_prob(value), rtol=2e-5, atol=1e-6)
    whole = d.to_event()
    np.testing.assert_allclose(whole.log_prob(value), ours.log_prob(value).sum(), rtol=2e-5, atol=1e-6)
    masked = d.mask(np.zeros(ours.batch_shape, bool))
    np.testing.assert_array_equal(masked.log_prob(value), np.zeros(ours.batch_shape))


BATCHED = {
    "numpyro": lambda x: numpyro_dist.Normal(x, jnp.exp(x)),
    "numpyro vector": lambda x: numpyro_dist.Normal(x, jnp.exp(x)).to_event(1),
    "numpyro images": lambda x: numpyro_dist.TransformedDistribution(
        numpyro_dist.Normal(x, jnp.exp(x)), numpyro_dist.transforms.ExpTransform()
    ),
    "tfp": lambda x: tfd.Normal(x, jnp.exp(x)),
    "distrax": lambda x: distrax.Normal(x, jnp.exp(x)),
    "distrax, shape stored": lambda x: distrax.Gamma(jnp.exp(x), jnp.exp(x)),
    "distreqx": lambda x: distreqx.Normal(x, jnp.exp(x)),
}


@pytest.mark.parametrize("name", BATCHED)
def test_vmap_over_a_wrapped_distribution(name: str) -> None:
    x = jnp.linspace(-1.0, 1.0, 15).reshape(5, 3)
    whole = wrap(BATCHED[name](x))
    keys = jax.random.split(KEY, 5)

    def one(d: Any, key: Any) -> tuple[Any, Any]:
        assert (*d.batch_shape, *d.event_shape) == (3,)
        draw = d.sample(key, (2,))
        return draw, d.log_prob(draw)

    draws, log_probs = jax.vmap(one)(whole, keys)
    for i in range(5):
        alone = wrap(BATCHED[name](x[i]))
        np.testing.assert_allclose(draws[i], alone.sample(keys[i], (2,)), rtol=2e-5)
        np.testing.assert_allclose(log_probs[i], alone.log_prob(draws[i]), rtol=2e-5)
    stacked = jax.vmap(lambda row: wrap(BATCHED[name](row)))(x)
    assert stacked.batch_shape == whole.batch_shape
    assert stacked.sample(KEY).shape == (5, 3)


def test_leaves_that_changed_beyond_repair_are_an_error() -> None:
    whole = wrap(numpyro_dist.Normal(jnp.zeros((5, 3)), jnp.ones((5, 3))))
    with pytest.raises(ShapeError) as caught:
        jax.vmap(lambda d: d.sample(KEY), in_axes=1, out_axes=0)(whole)
    assert "stores its batch shape, and its leaves have changed theirs" in str(caught.value)
    assert "call svijax.interop.wrap inside the function that is mapped." in str(caught.value)


def model_with(scale: Callable[[], Any], loc: Callable[[Any], Any]) -> Callable[[Any], None]:
    def model(y: Any) -> None:
        s = svijax.sample("scale", wrap(scale()))
        with svijax.plate("rows", len(y)):
            svijax.sample("y", wrap(loc(s)), obs=y)

    return model


MODELS = {
    "numpyro": model_with(
        lambda: numpyro_dist.Gamma(2.0, 1.0), lambda s: numpyro_dist.Normal(jnp.float32(1.0), s)
    ),
    "tfp": model_with(lambda: tfd.Gamma(2.0, 1.0), lambda s: tfd.Normal(1.0, s)),
    "distrax": model_with(lambda: distrax.Gamma(2.0, 1.0), lambda s: distrax.Normal(1.0, s)),
    "distreqx": model_with(
        lambda: distreqx.Gamma(jnp.array(2.0), jnp.array(1.0)),
        lambda s: distreqx.Normal(jnp.ones(()), s),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_fit_ends_where_the_same_fit_of_our_distributions_does(name: str) -> None:
    def ours(y: Any) -> None:
        s = svijax.sample("scale", dist.Gamma(2.0, 1.0))
        with svijax.plate("rows", len(y)):
            svijax.sample("y", dist.Normal(1.0, s), obs=y)

    y = jnp.asarray(np.random.default_rng(0).normal(1.0, 0.7, 50), jnp.float32)
    results = [
        SVI(model, AutoNormal(model), optax.adam(0.05), Trace_ELBO()).run(KEY, 300, y)
        for model in (MODELS[name], ours)
    ]
    for key, value in results[1].params.items():
        np.testing.assert_allclose(results[0].params[key], value, rtol=2e-3, atol=2e-3, err_msg=key)


NUMPYRO_CONSTRAINTS = {
    "boolean": (),
    "corr_cholesky": (3,),
    "corr_matrix": (3,),
    "greater_than": (2.0,),
    "greater_than_eq": (2.0,),
    "integer_greater_than": (2,),
    "integer_interval": (1, 4),
    "interval": (1.0, 3.0),
    "less_than": (2.0,),
    "less_than_eq": (2.0,),
    "lower_cholesky": (6,),
    "multinomial": (5,),
    "nonnegative": (),
    "nonnegative_integer": (),
    "open_interval": (1.0, 3.0),
    "ordered_vector": (3,),
    "positive": (),
    "positive_definite": (6,),
    "positive_integer": (),
    "positive_ordered_vector": (3,),
    "real": (),
    "real_matrix": (2, 3),
    "real_vector": (3,),
    "scaled_unit_lower_cholesky": (6,),
    "simplex": (3,),
    "softplus_lower_cholesky": (6,),
    "softplus_positive": (),
    "sphere": (),
    "unit_interval": (),
    "circular": (),
    "l1_ball": (3,),
    "positive_definite_circulant_vector": (3,),
    "positive_semidefinite": (6,),
    "complex": (),
    "zero_sum": (1,),
}


@pytest.mark.parametrize("name", NUMPYRO_CONSTRAINTS)
def test_numpyro_constraints_are_the_same_sets(name: str) -> None:
    from svijax.interop._numpyro import translate_constraint

    theirs: Any = getattr(numpyro_dist.constraints, name)
    args = NUMPYRO_CONSTRAINTS[name]
    if isinstance(theirs, type):
        theirs = theirs(*args)
    ours = translate_constraint(theirs)
    assert ours.event_dim == theirs.event_dim
    assert ours.is_discrete == theirs.is_discrete
    assert (
        translate_constraint(numpyro_dist.constraints.independent(theirs, 1)).event_dim == ours.event_dim + 1
    )
    shape = (2,) * ours.event_dim
    values = jax.random.normal(KEY, (200, *shape))
    probes = [values, jnp.round(2 * values), jnp.abs(values)]
    for value in probes:
        # NumPyro answers for each eigenvalue of a circulant matrix, and takes 0 for positive.
        if name != "positive_definite_circulant_vector":
            np.testing.assert_array_equal(ours(value), theirs(value))
    try:
        bijection = biject_to(ours)
    except svijax.base.SupportError:
        return
    free = jax.random.normal(KEY, (50, *bijection.inverse_shape((3,) * ours.event_dim)))
    assert bool(jnp.all(theirs(bijection(free))))


def test_a_foreign_distribution_that_is_not_wrapped_is_an_error() -> None:
    def text(d: Any) -> str:
        with pytest.raises(ModelError) as caught:
            svijax.handlers.seed(lambda: svijax.sample("z", d), 0)()
        return str(caught.value)

    assert text(numpyro_dist.Normal(0.0, 1.0)) == (
        "program site 'z': Normal is a distribution of numpyro.\n"
        "  expected: a distribution of svijax\n"
        "  got:      numpyro.distributions.continuous.Normal\n"
        "  fix:      wrap it: svijax.interop.wrap(d), after `import svijax.interop`."
    )
    assert "'z': Gamma is a distribution of tensorflow_probability." in text(tfd.Gamma(1.0, 1.0))
    assert "'z': Gamma is a distribution of distrax." in text(distrax.Gamma(1.0, 1.0))
    assert "'z': Normal is a distribution of distreqx." in text(distreqx.Normal(jnp.zeros(()), jnp.ones(())))


def test_what_wrap_does_not_know_is_an_error() -> None:
    made = distrax.Transformed(distrax.Normal(0.0, 1.0), distrax.Lambda(jnp.exp))
    with pytest.raises(ArgumentError) as caught:
        wrap(made)
    assert "the support of distrax" in str(caught.value)
    assert "svijax.interop.wrap(d, support=svijax.distributions.constraints.positive), say." in str(
        caught.value
    )
    d = wrap(made, support=constraints.positive)
    assert d.support == constraints.positive
    np.testing.assert_allclose(d.log_prob(2.0), dist.LogNormal(0.0, 1.0).log_prob(2.0), rtol=1e-5)
    with pytest.raises(ArgumentError, match="no distribution of a library that it knows"):
        wrap(3.0)
    with pytest.raises(ArgumentError, match="no distribution of a library that it knows"):
        wrap(numpyro_dist.Normal)
    with pytest.raises(ArgumentError, match=r"Gamma has not an icdf"):
        wrap(distreqx.Gamma(jnp.array(2.0), jnp.array(1.0))).icdf(0.5)
    with pytest.raises(ShapeError, match="Distreqx Normal do not agree"):
        wrap(distreqx.Normal(jnp.zeros(()), jnp.ones(3)))


def test_has_rsample_as_stated() -> None:
    d = wrap(tfd.Normal(0.0, 1.0), has_rsample=False)
    assert not d.has_rsample
    grad = jax.grad(lambda m: wrap(tfd.Normal(m, 1.0), has_rsample=False).sample(KEY))(1.0)
    assert grad == 0.0
    assert jax.grad(lambda m: wrap(tfd.Normal(m, 1.0)).sample(KEY))(1.0) == 1.0
    assert not wrap(tfd.Normal(0.0, 1.0)).has_rsample_(False).has_rsample


def test_summaries_are_forwarded() -> None:
    d, ours = wrap(tfd.Gamma(2.0, 3.0)), dist.Gamma(2.0, 3.0)
    np.testing.assert_allclose(d.variance, ours.variance, rtol=1e-6)
    np.testing.assert_allclose(d.cdf(0.4), ours.cdf(0.4), rtol=1e-5)
    np.testing.assert_allclose(d.icdf(ours.cdf(0.4)), 0.4, rtol=1e-4)
    np.testing.assert_allclose(d.entropy(), ours.entropy(), rtol=1e-5)
    np.testing.assert_allclose(d.log_survival_function(0.4), np.log(1 - ours.cdf(0.4)), rtol=1e-4)
    theirs = wrap(numpyro_dist.Categorical(probs=jnp.array([0.2, 0.8])))
    assert theirs.has_enumerate_support
    np.testing.assert_array_equal(theirs.enumerate_support(), [0, 1])

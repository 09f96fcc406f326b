"""Distributions of several steps as one: an axis in front of every leaf is an axis in front of the batch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distribution_case import DistCase
from distribution_cases import every

import svijax.distributions as dist
from svijax.distributions import transforms

STEPS = 5


def over_steps(*steps: Any) -> Any:
    """One distribution of these, which differ in their numbers only."""
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps)
    return steps[0].over_steps(stacked, len(steps))


@every(costly=True)
def test_shapes_of_steps(case: DistCase) -> None:
    one = case.make().expand((2, 3))

    def run(one: Any, key: Any) -> Any:
        d = over_steps(*[one] * STEPS)
        x = d.sample(key, (4,))
        assert d.batch_shape == (STEPS, *one.batch_shape) and d.event_shape == one.event_shape
        assert d.has_rsample == one.has_rsample and d.is_discrete == one.is_discrete
        specs = d.noise_spec, one.noise_spec
        assert (specs[0] is None) == (specs[1] is None)
        if specs[0] is not None and specs[0].size:
            assert specs[0].shape == (STEPS, *specs[1].shape) and specs[0].kind == specs[1].kind
        return x, d.log_prob(x), d.support(x), d.log_prob(x[0])

    x, log_prob, inside, of_one = jax.eval_shape(run, one, jax.random.key(0))
    batch = (STEPS, *one.batch_shape)
    assert x.shape == (4, *batch, *one.event_shape) and x.dtype == one.dtype
    assert log_prob.shape == inside.shape == (4, *batch) and of_one.shape == batch


def moved(loc: float, scale: float) -> Any:
    base = dist.Normal(np.array([0.5, -0.2, 0.1]), 1.0)
    return dist.TransformedDistribution(base, transforms.AffineTransform(jnp.array(loc), jnp.array(scale)))


def mixed(weight: float, low: float) -> Any:
    parts = dist.Uniform(low + np.array([[0.0, 1.0]] * 3), low + 2.0)
    return dist.MixtureSameFamily(dist.Categorical(probs=np.array([[weight, 1 - weight]] * 3)), parts)


def masked(rate: float, *mask: bool) -> Any:
    return dist.Gamma(2.0 * np.ones(3), rate).mask(np.array(mask))


def vector(loc: float, scale: float) -> Any:
    return dist.MultivariateNormal(loc * np.ones(2), scale_tril=scale * np.eye(2)).expand((3,))


PAIRS = {
    "normal": lambda: (dist.Normal(np.zeros(3), 1.0), dist.Normal(np.ones(3), 2.0)),
    "vector": lambda: (vector(0.0, 1.0), vector(1.0, 2.0)),
    "affine": lambda: (moved(0.0, 1.0), moved(1.5, 0.3)),
    "mixture": lambda: (mixed(0.3, -1.0), mixed(0.6, 0.4)),
    "masked": lambda: (masked(2.0, True, False, True), masked(1.0, False, True, True)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_each_step_is_its_own(x64: None, name: str) -> None:
    steps = PAIRS[name]()
    d = over_steps(*steps)
    x = jnp.stack([one.sample(jax.random.key(i), (4,)) for i, one in enumerate(steps)], axis=1)
    want = np.stack([one.log_prob(x[:, i]) for i, one in enumerate(steps)], axis=1)
    np.testing.assert_allclose(d.log_prob(x), want, rtol=1e-12)
    np.testing.assert_allclose(d.mean, np.stack([one.mean for one in steps]), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(
        d.support(x), np.stack([one.support(x[:, i]) for i, one in enumerate(steps)], axis=1)
    )
    low = x - 100.0
    np.testing.assert_array_equal(
        d.support(low), np.stack([one.support(low[:, i]) for i, one in enumerate(steps)], axis=1)
    )
    if d.noise_spec is not None:
        e = jax.random.uniform(jax.random.key(0), d.noise_spec.shape)
        value, log_prob = d.from_noise_with_log_prob(e)
        for i, one in enumerate(steps):
            np.testing.assert_allclose(value[i], one.from_noise(e[i]), rtol=1e-12)
            np.testing.assert_allclose(log_prob[i], one.log_prob(value[i]), rtol=1e-9)


def test_bounds_that_differ_by_step_in_masks(x64: None) -> None:
    d = over_steps(*PAIRS["mixture"]())
    mask = np.array([[True, False, True], [False, True, True]])
    x = jnp.where(mask, d.sample(jax.random.key(0)), -50.0)
    found = d.mask(mask).log_prob(x)
    np.testing.assert_array_equal(found, np.where(mask, d.log_prob(x), 0.0))
    again = over_steps(d, d)
    assert again.batch_shape == (2, 2, 3)
    np.testing.assert_allclose(again.log_prob(jnp.stack([x, x]))[1], d.log_prob(x), rtol=1e-12)

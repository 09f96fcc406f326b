"""Averages of iterates against NumPy, and what they are good for in a fit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import Y, normal_guide, normal_model
from traces import run_rule, seen

import svijax
from svijax.base import ArgumentError
from svijax.fitting import Average, IterateRhat, RelativeELBO

STEPS = 3000


class Endless:
    """An average in the place of a rule that never stops."""

    def __init__(self, average: Average) -> None:
        self.average = average

    def __getattr__(self, name: str) -> Any:
        return getattr(self.average, name)

    def done(self, memory: Any) -> Any:
        return jnp.zeros((), bool)


jax.tree_util.register_static(Endless)


def averaged(average: Average, x: np.ndarray, first: int = 0) -> np.ndarray:
    _, memory = run_rule(Endless(average), iterates=x, first=first)
    return np.asarray(jax.vmap(lambda m, f: average.average(m, SimpleNamespace(free=f)))(memory, x[:, -1]))


def weights(average: Average) -> np.ndarray:
    """Of the iterates, the oldest first, by the closed forms."""
    n = np.arange(1.0, STEPS + 1)
    if average.decay is not None:
        w = average.decay ** (STEPS - n) * (n > (average.first or 0))
    elif average.first is not None:
        w = 1.0 * (n > average.first)
    else:
        # Π_{k>n} (1 − 9 / (k + 8)) · 9 / (n + 8) is a product of eight numbers in a row.
        w = np.prod([n + j for j in range(8)], axis=0)
    return w / w.sum()


FORMS = [
    Average(),
    Average(start=0),
    Average(start=1000),
    Average(decay=0.99),
    Average(start=2900, decay=0.999),
]


@pytest.mark.parametrize("average", FORMS, ids=repr)
def test_the_weights_are_those_of_the_formula(average: Average) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, STEPS, 2)) + 5 * np.exp(-np.arange(STEPS) / 300)[:, None]
    got = averaged(average, x.astype(np.float32))
    np.testing.assert_allclose(got, np.einsum("t,ctj->cj", weights(average), x), atol=2e-5)


def test_a_mean_far_from_zero_is_not_rounded_off() -> None:
    """Steps of the mean, 0.01 / n, are soon far below the resolution of 1000 in single precision, 6e-5."""
    x = 1000 + np.random.default_rng(1).normal(scale=0.01, size=(4, 20_000, 1))
    x[:, 10_000:] += 0.02
    got = averaged(Average(start=0), x.astype(np.float32))
    np.testing.assert_allclose(got, x.mean(1), atol=7e-5)


def test_before_its_start_it_is_the_last_iterate() -> None:
    x = np.random.default_rng(2).normal(size=(1, 50, 3)).astype(np.float32)
    np.testing.assert_array_equal(averaged(Average(start=50), x), x[:, -1])
    np.testing.assert_array_equal(averaged(Average(start=49), x), x[:, -1])
    memory = Average().start(SimpleNamespace(free=jnp.ones(3)))
    np.testing.assert_array_equal(Average().average(memory, SimpleNamespace(free=jnp.full(3, 2.0))), 2.0)


def test_a_run_that_goes_on_averages_what_it_sees() -> None:
    x = np.random.default_rng(3).normal(size=(2, 100, 3)).astype(np.float32)
    np.testing.assert_allclose(averaged(Average(start=700), x, first=650), x[:, 50:].mean(1), atol=1e-6)


def test_the_memory_keeps_its_dtypes(x64: None) -> None:
    free = {"a": jnp.ones(3, jnp.float32), "b": jnp.ones((), jnp.float64)}
    for average in FORMS:
        memory = average.start(SimpleNamespace(free=free))
        after = average.step(memory, seen(0, free=free))
        assert jax.tree.map(lambda x: (x.shape, x.dtype), memory) == jax.tree.map(
            lambda x: (x.shape, x.dtype), after
        )


# In a fit


MEAN = float(Y.sum()) / (Y.size + 1)


@pytest.fixture(scope="module")
def noisy() -> svijax.SVI:
    return svijax.SVI(normal_model, normal_guide, optax.adam(0.02))


def test_the_average_is_sharper_than_the_last_iterate(noisy: svijax.SVI) -> None:
    fit = noisy.run(jax.random.key(0), 4000, Y, num_chains=50, average=Average(), progress_bar=False)
    last = np.sqrt(np.mean((np.asarray(fit.params["loc"]) - MEAN) ** 2))
    mean = np.sqrt(np.mean((np.asarray(fit.averaged.params["loc"]) - MEAN) ** 2))
    assert mean < 0.4 * last, (mean, last)
    one = fit.chain(7).averaged
    np.testing.assert_allclose(one.params["loc"], fit.averaged.params["loc"][7])
    loc = float(one.posterior.params["loc"])
    assert abs(loc - float(one.params["loc"])) < 1e-6 and loc != float(fit.params["loc"][7])


def test_a_run_in_parts_or_traced_or_alone_averages_the_same(noisy: svijax.SVI) -> None:
    average = Average(decay=0.9)
    whole = noisy.run(jax.random.key(1), 300, Y, average=average, progress_bar=False)
    traced = jax.jit(lambda key: noisy.run(key, 300, Y, average=average).averaged.params)(jax.random.key(1))
    np.testing.assert_allclose(traced["loc"], whole.averaged.params["loc"], rtol=1e-5)
    assert abs(float(whole.averaged.params["loc"] - whole.params["loc"])) > 1e-4
    plain = noisy.run(jax.random.key(1), 300, Y, progress_bar=False)
    np.testing.assert_allclose(plain.params["loc"], whole.params["loc"], rtol=1e-6)
    with pytest.raises(ArgumentError, match="no average of the iterates was kept"):
        plain.averaged  # noqa: B018


def test_an_average_that_was_asked_for_goes_before_that_of_a_rule(noisy: svijax.SVI) -> None:
    rule = IterateRhat(window=100, mcse=0.5)
    both = noisy.run(jax.random.key(2), 4000, Y, stop=rule, average=Average(start=10**6), progress_bar=False)
    own = noisy.run(jax.random.key(2), 4000, Y, stop=[RelativeELBO(window=5000), rule], progress_bar=False)
    np.testing.assert_array_equal(both.averaged.params["loc"], both.params["loc"])
    assert float(own.averaged.params["loc"]) != float(own.params["loc"])
    np.testing.assert_allclose(own.params["loc"], both.params["loc"], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"start": -1},
            "Average: start is out of its range.\n  expected: an int, at least 0\n  got:      -1",
        ),
        ({"start": 0.5}, "Average: start is out of its range"),
        ({"decay": 0.0}, "Average: decay is out of its range"),
        ({"decay": 1.0}, "Average: decay must lie between 0 and 1."),
    ],
)
def test_options_out_of_range_are_errors(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ArgumentError) as error:
        Average(**options)
    assert text in str(error.value)

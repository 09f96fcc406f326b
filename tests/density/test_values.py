"""Checks of values: boolean arrays inside ``jit``, messages with the first bad index outside."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax
import svijax.distributions as dist
from svijax.base import DataError, ModelError, ParameterError, SupportError
from svijax.density import check_values, first_failure, run_guide, run_model
from svijax.distributions import constraints
from svijax.handlers import mask, supply

sample, plate, param = svijax.sample, svijax.plate, svijax.param
N01 = dist.Normal(0.0, 1.0)
KEY = jax.random.key(0)


def traces(model: Any, guide: Any, args: tuple[Any, ...], params: Any) -> Any:
    guide_trace = run_guide(supply(guide, params), args, {}, key=KEY)
    return run_model(supply(model, params), args, {}, guide_trace, key=KEY), guide_trace


def message(model: Any, *args: Any, guide: Any = lambda *args: None, **params: Any) -> str | None:
    """The message of the first check that fails, arguments and parameters being traced."""
    error = first_failure(lambda args, params: traces(model, guide, args, params), args, params)
    return None if error is None else f"{type(error).__name__}: {error}"


def observe(fn: Any, y: Any) -> None:
    sample("y", fn, obs=y)


def test_nan_at_an_observed_entry() -> None:
    y = np.zeros((3, 2), np.float32)
    y[1, 0] = y[2, 1] = np.nan

    def model(y: Any) -> None:
        with plate("data", 3):
            sample("y", dist.Normal(np.zeros((3, 2)), 1.0).to_event(1), obs=y)

    assert message(model, y) == (
        "DataError: model site 'y': the observation is NaN where it is not masked.\n"
        "  plates:   data (size 3, dim -1)\n"
        "  expected: numbers\n"
        "  got:      [nan  0.] at index (1,)\n"
        "  fix:      drop those rows, or leave them out with svijax.sample('y', ..., obs_mask=) or handlers.mask."
    )


@pytest.mark.parametrize("how", ["obs_mask", "mask"])
def test_nan_where_it_is_masked_is_legal(how: str) -> None:
    seen = np.array([True, False, True])

    def guide(y: Any) -> None:
        if how == "obs_mask":
            sample("y_unobserved", N01.expand([3]))

    def model(y: Any) -> None:
        with plate("data", 3):
            if how == "obs_mask":
                sample("y", N01, obs=y, obs_mask=seen)
            else:
                with mask(mask=seen):
                    sample("y", N01, obs=y)

    assert message(model, np.array([0.0, np.nan, 1.0]), guide=guide) is None
    text = message(model, np.array([0.0, 1.0, np.nan]), guide=guide)
    assert text is not None and "got:      nan at index (2,)" in text


def test_an_observation_outside_the_support() -> None:
    text = message(lambda y: observe(dist.Gamma(np.ones(4), 1.0), y), np.array([1.0, 2.0, -3.0, -4.0]))
    assert text == (
        "DataError: model site 'y': the observation is outside the support of Gamma.\n"
        "  expected: positive\n"
        "  got:      -3.0 at index (2,)\n"
        "  fix:      mend the data, or use a distribution with their support."
    )
    text = message(lambda y: observe(dist.Categorical(probs=np.ones(3) / 3), y), np.array(3))
    assert text is not None and "outside the support of Categorical" in text and "got:      3\n" in text
    assert message(lambda y: observe(dist.Poisson(np.ones(2)), y), np.array([0, 5])) is None


def test_masked_observations_may_be_outside() -> None:
    def model(y: Any) -> None:
        with mask(mask=np.array([True, False])):
            sample("y", dist.Gamma(np.ones((2, 3)), 1.0).to_event(1), obs=y)

    good = np.ones((2, 3))
    good[1] = -1
    assert message(model, good) is None
    good[0, 2] = -1
    text = message(model, good)
    assert text is not None and "got:      [ 1.  1. -1.] at index (0,)" in text


def test_a_draw_outside_the_prior() -> None:
    def model() -> None:
        sample("z", dist.HalfNormal(1.0))

    def guide() -> None:
        sample("z", dist.Delta(param("at", 1.0)))

    assert message(model, guide=guide, at=jnp.array(-1.0)) == (
        "SupportError: model site 'z': the draw of the guide is outside the support of HalfNormal.\n"
        "  expected: nonnegative\n"
        "  got:      -1.0\n"
        "  fix:      use a guide whose support lies inside the prior's."
    )


def test_a_param_outside_its_constraint() -> None:
    def model() -> None:
        param("s", np.ones(3), constraint=constraints.positive)
        param("p", np.ones(2) / 2, constraint=constraints.simplex)
        param("tree", {"a": np.zeros(2), "b": np.zeros(())})

    assert message(model, s=jnp.array([1.0, 0.5, -2.0])) == (
        "ParameterError: model param 's' starts outside its constraint.\n"
        "  expected: positive\n"
        "  got:      -2.0 at index (2,)\n"
        "  fix:      start it inside, or change constraint=."
    )
    text = message(model, p=jnp.array([0.5, 0.6]))
    assert text is not None and "model param 'p' starts outside its constraint.\n  expected: simplex" in text
    text = message(model, tree={"a": jnp.array([0.0, jnp.nan]), "b": jnp.zeros(())})
    assert text is not None and "model param 'tree'" in text and "got:      nan at index (1,)" in text
    assert message(model) is None


def test_a_traced_argument_of_a_distribution() -> None:
    def model(x: Any) -> None:
        with plate("data", 2):
            sample("y", dist.Normal(0.0, x), obs=np.zeros(2))

    assert message(model, jnp.array([1.0, -1.0])) == (
        "ParameterError: model site 'y': argument 'scale' of Normal is outside its constraint.\n"
        "  plates:   data (size 2, dim -1)\n"
        "  expected: positive\n"
        "  got:      -1.0 at index (1,)\n"
        "  fix:      map it into the constraint (jnp.exp, jax.nn.softplus, ...), or mend the data that it comes from."
    )


def test_arguments_below_wrappers_and_under_masks() -> None:
    def model(x: Any) -> None:
        with mask(mask=np.array([True, False])):
            sample("y", dist.Normal(0.0, x).to_event(1), obs=np.zeros((2, 3)))

    x = np.ones((2, 3))
    x[1, 1] = -1
    assert message(model, jnp.asarray(x)) is None
    x[0, 2] = -1
    text = message(model, jnp.asarray(x))
    assert text is not None and "argument 'scale' of Normal is outside its constraint" in text

    # A mask over three batch elements beside three event entries: neither is mistaken for the other.
    def square(x: Any) -> None:
        with mask(mask=np.arange(3) > 0):
            sample("y", dist.Normal(0.0, x).to_event(1), obs=np.zeros((3, 3)))

    x = np.ones((3, 3))
    x[0] = -1
    assert message(square, jnp.asarray(x)) is None
    x[0], x[:, 0] = 1, -1
    assert message(square, jnp.asarray(x)) is not None


def test_only_given_arguments_are_checked() -> None:
    def labels(fn: Any) -> list[str]:
        model = lambda x: sample("y", fn(x), obs=np.zeros(2, np.int32))  # noqa: E731
        return [c.label for c in check_values(*traces(model, lambda x: None, (jnp.zeros(2),), {}))]

    by_logits = labels(lambda x: dist.Bernoulli(logits=x))
    assert [s for s in by_logits if "argument" in s] == ["model site y argument logits"]


def test_a_density_that_is_not_finite() -> None:
    def model(x: Any) -> None:
        with plate("data", 2):
            svijax.factor("f", x)

    assert message(model, jnp.array([0.0, -jnp.inf])) == (
        "ModelError: model site 'f': its log density is not finite at the start.\n"
        "  plates:   data (size 2, dim -1)\n"
        "  expected: a finite log density\n"
        "  got:      -inf at index (1,)\n"
        "  fix:      start elsewhere (init_loc_fn=, init_params=), or look at the arguments of the distribution."
    )


def test_parameters_come_first_and_densities_last() -> None:
    def model(x: Any) -> None:
        s = param("s", 1.0, constraint=constraints.positive)
        z = sample("z", N01)
        sample("y", dist.Normal(z, s), obs=x)

    guide = lambda x: sample("z", dist.Normal(param("m", 0.0), 1.0))  # noqa: E731
    found = check_values(*traces(model, guide, (jnp.array(0.0),), {}))
    errors = [c.error for c in found]
    order = [ParameterError, SupportError, DataError, ModelError]
    assert sorted(errors, key=order.index)[:2] == errors[:2] == [ParameterError] * 2
    assert [c.label for c in found if "density" in c.label] == [c.label for c in found][-3:]


def test_one_flag_per_check_inside_jit() -> None:
    def flags(y: Any) -> Any:
        return [
            c.passed() for c in check_values(*traces(lambda y: observe(N01, y), lambda y: None, (y,), {}))
        ]

    with jax.checking_leaks():
        # NaN, support, density.
        assert [bool(f) for f in jax.jit(flags)(jnp.nan)] == [False, False, False]
        assert all(jax.jit(flags)(0.0))
        assert message(lambda y: observe(dist.Normal(0.0, y), y), jnp.array(1.0)) is None


def test_a_support_that_depends_is_not_checked() -> None:
    class Odd(dist.Normal):
        support = constraints.dependent

    assert message(lambda y: observe(Odd(0.0, 1.0), y), np.array(1.0)) is None

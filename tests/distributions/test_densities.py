"""Log densities and log masses of every row: their values, their derivatives, and what happens at the edges."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distribution_case import DistCase, single_precision
from distribution_cases import every, every_case

from svijax.transforms import constraints

STEP = 1e-5
Structured = type(constraints.simplex).__mro__[2]


def _error(log_prob: Any, exact: Any) -> Any:
    """Error relative to max(1, |log p|); infinities must be the same."""
    log_prob, exact = np.asarray(log_prob, np.float64), np.asarray(exact, np.float64)
    with np.errstate(invalid="ignore"):
        gap = np.where(log_prob == exact, 0.0, np.abs(log_prob - exact) / np.maximum(1.0, np.abs(exact)))
    return np.max(gap)


@every(costly=True)
def test_log_prob_in_double_precision(case: DistCase, x64: None) -> None:
    value = case.observations()
    log_prob = case.make().log_prob(value)
    assert log_prob.dtype == np.float64
    assert _error(log_prob, case.truth().log_prob(value)) <= case.double


@every_case
def test_log_prob_in_single_precision(case: DistCase) -> None:
    value = case.observations()
    value = value if case.discrete else value.astype(np.float32)
    exact = case.truth(**single_precision(case.params)).log_prob(value.astype(np.float64))
    log_prob = case.make().log_prob(value)
    assert log_prob.dtype == np.float32 and not log_prob.weak_type
    assert _error(log_prob, exact) <= case.single


def _differences(case: DistCase, name: str, value: Any) -> Any:
    """Derivatives of the log density in every entry of a parameter, by central differences of the truth."""
    param, rows = np.asarray(case.params[name], np.float64), []
    for index in np.ndindex(param.shape):
        h = STEP * max(abs(param[index]), 0.1)
        moved = [param.copy(), param.copy()]
        moved[0][index] += h
        moved[1][index] -= h
        up, down = (np.asarray(case.truth(**{name: at}).log_prob(value)) for at in moved)  # type: ignore[misc]
        rows.append((up - down) / (2 * h))
    stacked = np.reshape(rows, (*param.shape, *np.shape(rows)[1:]))
    return np.moveaxis(stacked, range(param.ndim), range(-param.ndim, 0))


def _free(case: DistCase) -> list[str]:
    """The parameters whose entries can be moved one by one."""
    constraint_of = case.make().arg_constraints
    return [name for name in case.params if not isinstance(constraint_of.get(name), Structured)]


@every(lambda case: case.slopes, costly=True)
def test_derivatives_of_log_prob_in_the_parameters(case: DistCase, x64: None) -> None:
    value = case.observations()
    params = {name: np.asarray(param, np.float64) for name, param in case.params.items()}

    def log_prob(p: Any) -> Any:
        return case.family(**p, **case.fixed).log_prob(value)

    found = jax.jacfwd(log_prob)(params)
    for name in _free(case):
        expected = _differences(case, name, value)
        size = np.maximum(1.0, np.abs(expected))
        np.testing.assert_array_less(np.abs(found[name] - expected) / size, 1e-5, err_msg=name)


@every(costly=True)
def test_edges_are_finite_with_finite_derivatives(case: DistCase) -> None:
    """At the observations and at the row's edges, in single precision; by both modes of differentiation."""
    points = [case.observations()[[0, -1]], *(np.asarray(edge)[None] for edge in case.edges)]
    for value in points:
        floating = jnp.asarray(value, jnp.float32)

        def log_prob(p: Any, x: Any, value: Any = value) -> Any:
            return case.family(**p, **case.fixed).log_prob(value if case.discrete else x).sum()

        params = {name: jnp.asarray(param, jnp.float32) for name, param in case.params.items()}
        result, slopes = jax.value_and_grad(log_prob, (0, 1))(params, floating)
        assert np.isfinite(result), value
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slopes)), (value, slopes)


def _outside(case: DistCase) -> list[Any]:
    found = [np.asarray(value) for value in case.outside]
    support = case.make().support
    if case.scalar:
        for name, step in (("lower", -1), ("upper", 1)):
            bound = getattr(support, name, None)
            if bound is not None and np.all(np.isfinite(bound)):
                found.append(np.asarray(bound) + step)
    return found


@every(costly=True)
def test_outside_the_support_the_density_is_zero_and_its_derivatives_too(case: DistCase) -> None:
    for value in _outside(case):
        dtype = np.int32 if case.discrete and np.all(value == np.floor(value)) else np.float32
        value = value.astype(dtype)
        params = {name: jnp.asarray(param, jnp.float32) for name, param in case.params.items()}

        def log_prob(p: Any, value: Any = value) -> Any:
            return case.family(**p, **case.fixed).log_prob(value)

        result, slopes = jax.value_and_grad(log_prob)(params)
        assert result == -np.inf, value
        assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(slopes)), (value, slopes)


@every(lambda case: case.discrete, costly=True)
def test_masses_over_the_whole_support(case: DistCase, x64: None) -> None:
    d = case.make()
    if d.has_enumerate_support:
        support = d.enumerate_support()
        np.testing.assert_allclose(np.exp(d.log_prob(support)).sum(), 1.0, rtol=1e-10)
        assert np.all(d.support(support)) and support.dtype == d.dtype
        assert len(np.unique(np.asarray(support).reshape((len(support), -1)), axis=0)) == len(support)
        assert d.enumerate_support(expand=False).shape == support.shape
    elif case.scalar:
        top = case.truth().icdf(1 - 1e-9)
        np.testing.assert_allclose(np.exp(d.log_prob(np.arange(int(top) + 1))).sum(), 1.0, atol=2e-9)


@every(lambda case: case.discrete, costly=True)
def test_integers_and_floats_are_the_same_observations(case: DistCase) -> None:
    value = case.observations()
    d = case.make()
    np.testing.assert_allclose(d.log_prob(value), d.log_prob(value.astype(np.float32)), rtol=2e-6, atol=1e-6)


@every(costly=True)
def test_masked_entries_may_be_anything(case: DistCase) -> None:
    value = np.asarray(case.observations()[:2]).copy()
    bad = value.astype(np.float32)
    bad[1] = np.nan
    mask = np.array([True, False])

    def total(p: Any, mask: Any = mask) -> Any:
        return case.family(**p, **case.fixed).expand((2,)).mask(mask).log_prob(bad).sum()

    params = {name: jnp.asarray(param, jnp.float32) for name, param in case.params.items()}
    result, slopes = jax.value_and_grad(total)(params)
    alone, alone_slopes = jax.value_and_grad(lambda p: case.family(**p, **case.fixed).log_prob(bad[0]))(
        params
    )
    np.testing.assert_allclose(result, alone, rtol=1e-5, atol=1e-5)
    for found, expected in zip(jax.tree.leaves(slopes), jax.tree.leaves(alone_slopes)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_error_measure_sees_what_it_must() -> None:
    assert _error([-np.inf, 0.0], [-np.inf, 0.0]) == 0
    assert not _error([np.nan], [0.0]) <= 1 and not _error([0.0], [-np.inf]) <= 1
    assert _error([-1000.001], [-1000.0]) == pytest.approx(1e-6)

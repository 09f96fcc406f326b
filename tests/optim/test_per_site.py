"""Options by the names of parameters."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from svijax.base import ArgumentError, UnknownNameError
from svijax.optim import per_site

PARAMS = {"w": jnp.ones(2), "b_in": jnp.ones(()), "b_out": jnp.ones(3), "net": {"k": jnp.ones((2, 2))}}


def first_step(optim: optax.GradientTransformationExtraArgs, params: Any = PARAMS) -> Any:
    updates, _ = optim.update(params, optim.init(params), params, value=0.0, grad=params, value_fn=None)
    return updates


def test_each_rule_moves_its_own_parameters() -> None:
    out = first_step(per_site({"w": optax.sgd(0.5), "b_*": "freeze", "net": 0.25}))
    np.testing.assert_allclose(out["w"], -0.5)
    np.testing.assert_array_equal(out["b_in"], 0.0)
    np.testing.assert_array_equal(out["b_out"], 0.0)
    np.testing.assert_allclose(out["net"]["k"], -0.25, rtol=1e-4)


def test_default_takes_the_rest() -> None:
    out = first_step(per_site({"w": 0.0}, default=optax.sgd(2.0)))
    np.testing.assert_array_equal(out["w"], 0.0)
    for name in ("b_in", "b_out"):
        np.testing.assert_allclose(out[name], -2.0)


def test_a_name_goes_before_a_pattern_and_a_pattern_before_a_later_one() -> None:
    out = first_step(per_site({"b_*": optax.sgd(1.0), "b_out": optax.sgd(2.0), "*": optax.sgd(3.0)}))
    assert float(out["b_in"]) == -1.0
    assert float(out["b_out"][0]) == -2.0
    assert float(out["w"][0]) == -3.0


def test_schedules_are_rates_of_adam() -> None:
    optim = per_site({"*": optax.piecewise_constant_schedule(0.5, {1: 0.1})})
    params = {"x": jnp.ones(())}
    state, moves = optim.init(params), []
    for _ in range(2):
        updates, state = optim.update(params, state, params)
        moves.append(float(updates["x"]))
    np.testing.assert_allclose(moves, [-0.5, -0.05], rtol=1e-4)


def test_a_frozen_parameter_has_no_moments() -> None:
    state = per_site({"w": "freeze"}, default=1e-2).init(PARAMS)
    # The sizes of the others' moments are 1, 3 and 4; w has 2 entries.
    assert 2 not in [x.size for x in jax.tree.leaves(state)]


def test_a_pattern_without_parameters_is_named() -> None:
    with pytest.raises(UnknownNameError) as error:
        per_site({"b_inn": 0.1}, default=1.0).init(PARAMS)
    assert "per_site: no parameter matches 'b_inn'." in str(error.value)
    assert "did you mean 'b_in'?" in str(error.value)


def test_a_parameter_without_rule_is_named() -> None:
    with pytest.raises(ArgumentError) as error:
        per_site({"b_*": 0.1}).init(PARAMS)
    assert "no rule for the parameters ['w', 'net']" in str(error.value)
    assert "default=1e-2" in str(error.value)


@pytest.mark.parametrize("rule", ["frozen", object(), optax.adam, [1.0]])
def test_a_rule_must_be_an_option(rule: Any) -> None:
    with pytest.raises(ArgumentError):
        per_site({"w": rule})


def test_rules_must_be_a_dictionary() -> None:
    with pytest.raises(ArgumentError, match="per_site takes a dictionary"):
        per_site(1e-2)  # type: ignore[arg-type]

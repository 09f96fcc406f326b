"""Every family as a latent of a model and as what is observed, through the public API."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from distribution_case import DistCase
from distribution_cases import every, every_case

import svijax
import svijax.distributions as dist
from svijax import SVI, Trace_ELBO
from svijax.base import SupportError
from svijax.distributions import biject_to
from svijax.guides import AutoNormal


def _has_bijection(case: DistCase) -> bool:
    d = case.make()
    if d.is_discrete:
        return False
    try:
        biject_to(d.support)
    except SupportError:
        return False
    return True


@pytest.mark.slow
@every(_has_bijection)
def test_as_a_latent_under_an_automatic_guide(case: DistCase) -> None:
    def model(shift: Any) -> None:
        z = svijax.sample("z", case.make())
        svijax.sample("x", dist.Normal(jnp.tanh(jnp.sum(z)), 1.0), obs=shift)

    svi = SVI(model, AutoNormal(model), optax.adam(1e-2), Trace_ELBO())
    fit = svi.run(jax.random.key(0), 20, 0.5, progress_bar=False)
    assert np.all(np.isfinite(fit.losses))
    draw = fit.posterior.sample(3)["z"]
    assert np.all(case.make().support(draw))


@pytest.mark.slow
@every_case
def test_as_what_is_observed_with_its_parameters_optimised(case: DistCase) -> None:
    constraint_of = case.make().arg_constraints

    def model(x: Any) -> None:
        params = {
            name: svijax.param(name, jnp.asarray(value, jnp.float32), constraint=constraint_of[name])
            for name, value in case.params.items()
            if name in constraint_of and not isinstance(constraint_of[name], type(dist.constraints.dependent))
        }
        with svijax.plate("rows", len(x)):
            svijax.sample("x", case.family(**{**case.params, **params}, **case.fixed), obs=x)

    x = np.asarray(case.make().sample(jax.random.key(1), (20,)))
    svi = SVI(model, lambda x: None, optax.sgd(1e-5), Trace_ELBO())
    fit = svi.run(jax.random.key(0), 5, x, progress_bar=False)
    expected = -np.sum(case.make().log_prob(x))
    np.testing.assert_allclose(fit.losses[0], expected, rtol=1e-4, atol=1e-3)
    assert np.all(np.isfinite(fit.losses))

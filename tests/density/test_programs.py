"""Programs bound to parameters and noise, and the log densities of their sites."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax
import svijax.distributions as dist
from svijax.base import StateError, pack, plan
from svijax.density import (
    NoiseLayout,
    abstractly,
    bind,
    constrain,
    cost,
    draw,
    draw_ahead,
    epoch_length,
    log_density,
    log_prob,
    noise_layout,
    run_guide,
    run_model,
    scored_sites,
    total,
    unconstrain,
)
from svijax.distributions import constraints
from svijax.handlers import Trace, mask, scale, seed, trace

sample, plate, param = svijax.sample, svijax.plate, svijax.param
N01 = dist.Normal(0.0, 1.0)
KEY = jax.random.key(0)


def sites_of(fn: Any) -> Trace:
    return trace(seed(fn, KEY)).get_trace()


# Log densities


def test_masked_once_and_scaled_once() -> None:
    x = np.array([0.5, np.nan, 2.0])

    def model() -> None:
        with scale(scale=2.0), plate("p", 6, 3), mask(mask=np.array([True, False, True])):
            sample("x", N01, obs=x)
            svijax.factor("f", jnp.array([1.0, jnp.nan, 3.0]))
        svijax.deterministic("d", 1)

    sites = sites_of(model)
    want = np.where([True, False, True], N01.log_prob(np.where(np.isnan(x), 0, x)), 0)
    np.testing.assert_allclose(log_prob(sites["x"]), want, rtol=1e-6)
    np.testing.assert_allclose(cost(sites["x"]), 4 * want, rtol=1e-6)
    np.testing.assert_allclose(total(sites["x"]), 4 * want.sum(), rtol=1e-6)
    np.testing.assert_allclose(log_prob(sites["f"]), [1, 0, 3])
    assert total(sites["f"]) == 16
    assert [s.name for s in scored_sites(sites)] == list(log_density(sites)) == ["x", "f"]


def test_a_scale_per_element() -> None:
    sites = sites_of(
        scale(lambda: sample("x", N01.expand([2]), obs=np.array([1.0, 2.0])), np.array([1.0, 3.0]))
    )
    np.testing.assert_allclose(total(sites["x"]), N01.log_prob(1.0) + 3 * N01.log_prob(2.0), rtol=1e-6)


@pytest.mark.parametrize("seen", [False, np.array([False, True])])
def test_masked_nan_reaches_no_gradient(seen: Any) -> None:
    def value(loc: Any) -> Any:
        fn = mask(lambda: sample("x", dist.Normal(loc, 1.0).expand([2]), obs=np.array([np.nan, 1.0])), seen)
        return total(sites_of(fn)["x"])

    assert np.isfinite(value(0.5)) and np.isfinite(jax.grad(value)(0.5))


# Parameters


def tree() -> dict[str, Any]:
    return {
        "w": {"a": jnp.arange(3.0), "b": jnp.ones(())},
        "s": jnp.array([-0.5, 0.7]),
        "p": jnp.array([0.2, -0.1]),
    }


def bound_program() -> Any:
    w = param("w", constraint=constraints.real)
    s = param("s", constraint=constraints.positive)
    p = param("p", constraint=constraints.simplex)
    return w, s, p


@pytest.mark.parametrize("form", ["dictionary", "packed", "separate"])
def test_bind_maps_each_parameter_into_its_constraint(form: str) -> None:
    free: Any = tree()
    if form != "dictionary":
        free = pack(free, plan(free, packed=form == "packed"))
    w, s, p = bind(bound_program, free)()
    np.testing.assert_array_equal(w["a"], np.arange(3))
    assert np.all(s > 0) and p.shape == (3,)
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-6)
    for value, constraint, name in (
        (s, constraints.positive, "s"),
        (p, constraints.simplex, "p"),
        (w, None, "w"),
    ):
        back = unconstrain(value, constraint)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), back, tree()[name])
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), constrain(back, constraint), value
        )


def test_bind_does_not_know_a_param() -> None:
    with pytest.raises(StateError) as caught:
        bind(lambda: param("other", 1.0), {"w": jnp.zeros(2)})()
    assert str(caught.value) == (
        "program param 'other' is not in the state.\n"
        "  expected: parameters ['w']\n"
        "  fix:      make the state with init of this SVI; a program must state the same params on each call."
    )


def test_a_value_that_a_handler_gave_is_left_alone() -> None:
    fn = bind(svijax.handlers.substitute(lambda: param("w", 0.0), {"w": 5.0}), {"w": jnp.array(1.0)})
    assert fn() == 5.0


# Noise


def guide() -> None:
    sample("a", dist.Normal(0.0, 1.0).expand([2]))
    sample("k", dist.Bernoulli(0.5))
    sample("u", dist.Uniform(1.0, 3.0))
    sample("g", dist.Gamma(2.0, 1.0))
    sample("twin", N01.has_rsample_(False))
    with plate("p", 5, 3):
        sample("b", dist.Normal(0.0, 1.0).expand([4, 3]).to_event(0))
    sample("many", N01, sample_shape=(2,))
    sample("point", dist.Delta(1.0))


def test_the_layout_of_noise() -> None:
    layout = noise_layout(guide, (), {})
    assert layout.names == ("a", "u", "b") and layout.keyed == ("k", "g", "twin", "many")
    assert (layout.size("normal"), layout.size("uniform")) == (14, 1)
    parts = layout.split(jnp.arange(14.0), jnp.array([0.25]))
    np.testing.assert_array_equal(parts["a"], [0, 1])
    np.testing.assert_array_equal(parts["b"], np.arange(2.0, 14).reshape(4, 3))
    assert parts["u"].shape == () and parts["u"] == 0.25
    assert layout == noise_layout(guide, (), {}) and hash(layout) == hash(noise_layout(guide, (), {}))


def test_noise_drives_what_it_can_and_keys_the_rest() -> None:
    layout = noise_layout(guide, (), {})
    noise = layout.split(jnp.arange(14.0), jnp.array([0.25]))
    sites = run_guide(guide, (), {}, key=KEY, noise_values=noise)
    np.testing.assert_array_equal(sites["a"].value, [0, 1])
    np.testing.assert_allclose(sites["u"].value, 1.5)
    seeded = sites_of(guide)
    for name in layout.keyed:
        np.testing.assert_array_equal(sites[name].value, seeded[name].value)
    for name in layout.names:
        site = sites[name]
        np.testing.assert_allclose(site.log_prob, site.fn.log_prob(site.value), rtol=2e-5, atol=1e-5)
    # A point is neither noise nor chance.
    assert sites["point"].value == 1.0


LAYOUT = NoiseLayout(("a", "u"), (dist.Normal().expand([3]).noise_spec, dist.Uniform().noise_spec), ())


def assert_standard(normal: Any, uniform: Any) -> None:
    assert abs(normal.mean()) < 0.02 and abs(normal.std() - 1) < 0.02
    assert uniform.min() > 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.01
    both = np.hstack([np.asarray(normal).reshape(-1, 3), np.asarray(uniform).reshape(-1, 1)])
    assert np.all(np.abs(np.corrcoef(both.T) - np.eye(4)) < 0.03)


@pytest.mark.parametrize("ahead", [False, True])
def test_draws_are_standard(ahead: bool) -> None:
    first = jnp.zeros((), jnp.int32)
    draws = draw_ahead(KEY, first, 4096, LAYOUT, 5) if ahead else draw(KEY, LAYOUT, 20_000)
    assert draws.normal.shape == ((4096, 5, 3) if ahead else (20_000, 3))
    assert draws.uniform.shape == (*draws.normal.shape[:-1], 1)
    assert_standard(draws.normal, draws.uniform)


def test_a_step_draws_the_same_alone_among_others_and_among_chains() -> None:
    step = lambda t: jnp.array(t, jnp.int32)  # noqa: E731
    keys = jax.random.split(KEY, 2)
    block = draw_ahead(KEY, step(8), 4, LAYOUT, 2)
    chains = draw_ahead(keys, step(8), 4, LAYOUT, 2)
    for i in range(4):
        alone = draw_ahead(KEY, step(8 + i), 1, LAYOUT, 2)
        np.testing.assert_array_equal(alone.normal[0], block.normal[i])
        np.testing.assert_array_equal(alone.uniform[0], block.uniform[i])
        np.testing.assert_array_equal(
            jax.random.key_data(alone.key[0]), jax.random.key_data(jax.random.fold_in(KEY, 8 + i))
        )
        for k in range(2):
            single = draw_ahead(keys[k], step(8 + i), 1, LAYOUT, 2)
            np.testing.assert_array_equal(single.normal[0], chains.normal[i, ..., k])
            np.testing.assert_array_equal(single.uniform[0], chains.uniform[i, ..., k])
            same = jax.random.key_data(single.key[0]) == jax.random.key_data(chains.key[i, k])
            assert np.all(same)
    epoch = epoch_length(LAYOUT, 2)
    across = [draw_ahead(KEY, step(epoch + i), 1, LAYOUT, 2).normal for i in (-1, 0)]
    assert not np.array_equal(*across)


def test_one_more_noise_site_changes_no_keyed_draw() -> None:
    def longer() -> None:
        sample("first", N01)
        guide()

    def values(fn: Any) -> Any:
        layout = noise_layout(fn, (), {})
        d = draw(KEY, layout, 1)
        return run_guide(fn, (), {}, key=d.key, noise_values=layout.split(d.normal[0], d.uniform[0]))

    for name in ("k", "g", "twin", "p"):
        np.testing.assert_array_equal(values(guide)[name].value, values(longer)[name].value)


# Runs


def test_draws_without_pathwise_gradient_pass_none() -> None:
    def program(loc: Any) -> None:
        sample("path", dist.Normal(loc, 1.0))
        sample("twin", dist.Normal(loc, 1.0).has_rsample_(False))

    def values(loc: Any) -> Any:
        sites = run_guide(program, (loc,), {}, key=KEY)
        return sites["path"].value, sites["twin"].value

    assert jax.jacobian(values)(0.5) == (1.0, 0.0)

    # Nor does a value that a handler put there.
    def replaced(loc: Any) -> Any:
        fn = svijax.handlers.substitute(program, {"twin": 2 * loc, "path": 2 * loc})
        sites = run_guide(fn, (loc,), {}, key=KEY)
        return sites["path"].value, sites["twin"].value

    assert jax.jacobian(replaced)(0.5) == (2.0, 0.0)


def test_model_and_guide_have_their_labels_and_share_rows_and_draws() -> None:
    said: list[str] = []

    def program() -> None:
        said.append(svijax.effects.where())
        with plate("p", 50, 5):
            sample("z", N01)

    guide_trace = run_guide(program, (), {}, key=KEY)
    model_trace = run_model(program, (), {}, guide_trace, key=jax.random.key(1))
    assert said == ["guide", "model"]
    np.testing.assert_array_equal(guide_trace["p"].value, model_trace["p"].value)
    np.testing.assert_array_equal(guide_trace["z"].value, model_trace["z"].value)


def test_rows_of_the_model_alone_depend_on_the_plate_key_only() -> None:
    def program() -> None:
        svijax.plate("p", 50, 5)

    rows = [run_model(program, (), {}, {}, key=jax.random.key(k), plate_key=KEY)["p"].value for k in (1, 2)]
    np.testing.assert_array_equal(*rows)


def test_abstract_facts_run_nothing_and_are_heard_by_nobody() -> None:
    ran: list[int] = []

    def program() -> None:
        jax.debug.callback(lambda: ran.append(1))
        sample("z", N01.expand([3]))

    with trace() as outer, jax.checking_leaks():
        shape = abstractly(lambda key: run_guide(program, (), {}, key=key)["z"].value.shape)
    assert shape == (3,) and not outer and not ran
    with pytest.raises(ZeroDivisionError):
        abstractly(lambda key: 1 // 0)

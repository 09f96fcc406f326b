"""The peers' optimisers against their formulas, and what counts as an optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import svijax.optim as so
from svijax.base import ArgumentError

pytestmark = pytest.mark.usefixtures("x64")

START = np.array([1.0, -2.0, 30.0, 0.5])
RATE = 0.05


def gradient(x: Any) -> Any:
    return x**3 - 2.0 * x


def run(optim: Any, steps: int = 7) -> np.ndarray:
    transformation = so.as_transformation(optim)
    x = jnp.asarray(START)
    state = transformation.init(x)
    for _ in range(steps):
        updates, state = transformation.update(gradient(x), state, x, value=0.0, grad=None, value_fn=None)
        x = optax.apply_updates(x, updates)
    return np.asarray(x)


def adam(rate: Callable[[int], float], clip: float = np.inf) -> Iterator[np.ndarray]:
    x, m, v = START, 0.0, 0.0
    for t in range(1, 100):
        g = np.clip(gradient(x), -clip, clip)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x = x - rate(t - 1) * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        yield x


def sgd(momentum: float) -> Iterator[np.ndarray]:
    x, v = START, 0.0
    while True:
        v = momentum * v + gradient(x)
        x = x - 1e-4 * v
        yield x


def rmsprop(momentum: float) -> Iterator[np.ndarray]:
    x, s, v = START, 0.0, 0.0
    while True:
        g = gradient(x)
        s = 0.8 * s + 0.2 * g**2
        v = momentum * v + RATE * g / np.sqrt(s + 1e-8)
        x = x - v
        yield x


def adagrad(momentum: float) -> Iterator[np.ndarray]:
    x, s, m = START, 0.0, 0.0
    while True:
        g = gradient(x)
        s = s + g**2
        m = momentum * m + (1 - momentum) * g / np.sqrt(s)
        x = x - RATE * m
        yield x


def halving(step: Any) -> Any:
    return RATE * 0.5**step


CASES = {
    "Adam": (lambda: so.Adam(RATE), lambda: adam(lambda t: RATE)),
    "Adam schedule": (lambda: so.Adam(halving), lambda: adam(halving)),
    "float": (lambda: RATE, lambda: adam(lambda t: RATE)),
    "0-d array": (lambda: np.float64(RATE), lambda: adam(lambda t: RATE)),
    "ClippedAdam": (lambda: so.ClippedAdam(RATE, clip_norm=2.0), lambda: adam(lambda t: RATE, 2.0)),
    "SGD": (lambda: so.SGD(1e-4), lambda: sgd(0.0)),
    "Momentum": (lambda: so.Momentum(1e-4, 0.7), lambda: sgd(0.7)),
    "RMSProp": (lambda: so.RMSProp(RATE, gamma=0.8), lambda: rmsprop(0.0)),
    "RMSPropMomentum": (lambda: so.RMSPropMomentum(RATE, gamma=0.8, momentum=0.6), lambda: rmsprop(0.6)),
    "Adagrad": (lambda: so.Adagrad(RATE, momentum=0.3), lambda: adagrad(0.3)),
}


@pytest.mark.parametrize("name", CASES)
def test_steps_follow_the_formula(name: str) -> None:
    make, formula = CASES[name]
    path = formula()
    for _ in range(7):
        expected = next(path)
    np.testing.assert_allclose(run(make()), expected, rtol=1e-12)


def test_adagrad_stays_where_the_gradient_is_zero() -> None:
    optim = so.Adagrad(0.1)
    x = jnp.zeros(2)
    updates, _ = optim.update(x, optim.init(x), x)
    np.testing.assert_array_equal(updates, 0.0)


def test_clipping_is_by_entry() -> None:
    g = jnp.array([1e3, 1.0])
    optim = so.ClippedAdam(1.0, b1=0.0, b2=0.0, eps=1.0, clip_norm=3.0)
    updates, _ = optim.update(g, optim.init(g), g)
    np.testing.assert_allclose(updates, [-3 / 4, -1 / 2])


def test_minimize_reaches_a_minimum_in_few_steps() -> None:
    def loss(x: Any) -> Any:
        return jnp.sum((x - jnp.arange(3.0)) ** 2 * jnp.array([1.0, 10.0, 100.0]))

    optim = so.Minimize()

    @jax.jit
    def step(x: Any, state: Any) -> Any:
        value, grad = jax.value_and_grad(loss)(x)
        updates, state = optim.update(grad, state, x, value=value, grad=grad, value_fn=loss)
        return optax.apply_updates(x, updates), state

    x = jnp.full(3, 5.0)
    state = optim.init(x)
    for _ in range(12):
        x, state = step(x, state)
    np.testing.assert_allclose(x, [0, 1, 2], atol=1e-4)


def test_minimize_knows_one_method() -> None:
    with pytest.raises(ArgumentError, match=r"(?s)Minimize knows one method.*got:.*'Nelder-Mead'"):
        so.Minimize("Nelder-Mead")


@pytest.mark.parametrize(
    "make",
    [
        lambda: so.Adam(1e-2),
        lambda: so.ClippedAdam(1e-2, clip_norm=3.0),
        lambda: so.SGD(0.1),
        lambda: so.Momentum(0.1, 0.9),
        lambda: so.RMSProp(0.1),
        lambda: so.RMSPropMomentum(0.1),
        lambda: so.Adagrad(0.1),
        lambda: so.Minimize(),
        lambda: so.as_transformation(1e-2),
        lambda: so.as_transformation(jnp.asarray(0.5)),
        lambda: so.as_transformation(SHARED),
        lambda: so.per_site({"a": 0.1, "b": "freeze"}, default=SHARED),
        lambda: so.Adam(halving),
    ],
)
def test_equal_arguments_give_equal_optimisers(make: Callable[[], Any]) -> None:
    assert make() == make()
    assert hash(make()) == hash(make())


SHARED = optax.add_decayed_weights(0.1)


def test_keywords_and_positions_are_one() -> None:
    assert so.Adam(1e-2) == so.Adam(step_size=1e-2) == so.as_transformation(1e-2)
    assert so.Adam(1e-2) != so.Adam(1e-3)
    assert so.as_transformation(optax.sgd(0.1)) != so.as_transformation(optax.sgd(0.1))


def test_a_transformation_without_extras_takes_them() -> None:
    transformation = so.as_transformation(SHARED)
    x = jnp.ones(2)
    updates, _ = transformation.update(x, transformation.init(x), x, value=1.0, grad=x, value_fn=None)
    np.testing.assert_allclose(updates, 1.1)


def test_a_traced_rate_is_a_rate() -> None:
    def first_step(rate: Any) -> Any:
        optim = so.as_transformation(rate)
        g = jnp.array([2.0])
        return optax.apply_updates(g, optim.update(g, optim.init(g), g)[0])

    with jax.checking_leaks():
        out = jax.vmap(first_step)(jnp.array([0.1, 0.5]))
    np.testing.assert_allclose(out[:, 0], [1.9, 1.5], atol=1e-7)


class Foreign:
    """Stands for an optimiser of another library."""


@pytest.mark.parametrize(
    ("optim", "got", "fix"),
    [
        ("adam", "'adam', a builtins.str", "pass optax.adam(1e-2), or 1e-2 for the same."),
        (optax.adam, "the function optax._src.alias.adam", "call it with its step size: optax.adam(1e-2)."),
        (
            so.Adam,
            "the function svijax.optim._peers.Adam",
            "call it with its step size: svijax.optim.Adam(1e-2).",
        ),
        (halving, "halving", "a schedule belongs to an optimiser: optax.adam(schedule)."),
        (np.ones(3), "an array of shape (3,), dtype float64", "svijax.optim.per_site({name: rate})"),
        ({"w": 0.1}, "{'w': 0.1}", "svijax.optim.per_site"),
        (True, "True, a builtins.bool", "pass optax.adam(1e-2)"),
        (None, "None", "pass optax.adam(1e-2)"),
        (Foreign(), "Foreign", "pass optax.adam(1e-2)"),
    ],
)
def test_what_is_no_optimiser(optim: Any, got: str, fix: str) -> None:
    with pytest.raises(ArgumentError) as error:
        so.as_transformation(optim)
    text = str(error.value)
    assert text.startswith("optim is no optimiser.")
    assert "expected: an optax transformation such as optax.adam(1e-2)" in text
    assert got in text.split("got:")[1]
    assert fix in text.split("fix:")[1]


def test_an_optimiser_of_numpyro_is_told_its_name_here() -> None:
    kind = type("ClippedAdam", (), {"__module__": "numpyro.optim"})
    with pytest.raises(ArgumentError, match=r"svijax\.optim\.ClippedAdam\(step_size\)"):
        so.as_transformation(kind())


@pytest.mark.parametrize("rate", [-1e-3, 0.0, 0, float("nan"), float("inf"), np.float32(0.0), jnp.zeros(())])
def test_a_rate_must_be_a_step_size(rate: Any) -> None:
    makers = (so.as_transformation, so.Adam, so.SGD, so.ClippedAdam, so.RMSProp, so.Adagrad)
    makers += (so.RMSPropMomentum, lambda x: so.Momentum(x, 0.9))
    for make in makers:
        with pytest.raises(ArgumentError) as error:
            make(rate)
        text = f"a step size must be finite and greater than zero.\n  got:      {float(rate):g}\n  fix:      try 1e-2"
        assert text in str(error.value)
        assert ("freeze" in str(error.value)) == (float(rate) == 0.0)


def test_a_rate_of_zero_freezes_by_site_and_a_schedule_may_begin_there() -> None:
    optim = so.per_site({"a": 0.0}, default=1e-2)
    start = {"a": jnp.ones(2), "b": jnp.ones(2)}
    updates, _ = optim.update(start, optim.init(start), start)
    assert (updates["a"] == 0).all() and (updates["b"] != 0).all()
    so.Adam(optax.linear_schedule(0.0, 1e-2, 10))


@pytest.mark.parametrize("rate", [0.0, -0.1, float("nan"), np.array([0.1, 0.0])])
def test_an_injected_rate_must_be_a_step_size(rate: Any) -> None:
    inner = optax.inject_hyperparams(optax.adam)(learning_rate=jnp.asarray(rate))
    for optim in (inner, optax.chain(optax.clip(1.0), inner), so.per_site({"x": inner})):
        with pytest.raises(ArgumentError) as error:
            so.check_injected(optim.init({"x": jnp.ones(2)}))
        assert "the optimiser's learning_rate, in optax.inject_hyperparams, moves no parameter" in str(
            error.value
        )
        assert "optax.inject_hyperparams(optax.adam)(learning_rate=1e-2)" in str(error.value)


def test_injected_rates_that_move_something_pass() -> None:
    for rate in (1e-3, optax.linear_schedule(0.0, 1e-2, 10)):
        so.check_injected(optax.inject_hyperparams(optax.adam)(learning_rate=rate).init({"x": jnp.ones(2)}))
    zeros = optax.inject_hyperparams(optax.adam)(learning_rate=0.0)
    jax.jit(lambda x: so.check_injected(zeros.init(x)))({"x": jnp.ones(2)})

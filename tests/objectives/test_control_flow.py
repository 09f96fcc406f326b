"""Programs with ``scan`` and ``cond``: loss and gradient are those of the unrolled ones, and unbiased."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_expectations import (
    Expectation,
    assert_unbiased,
    compare,
    enumerated,
    gauss_hermite,
    over_minibatches,
    product,
)

import svijax
import svijax.distributions as dist
from svijax import Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from svijax.density._run import cut
from svijax.handlers import mask, scale, seed, substitute, trace
from svijax.objectives import ClosedFormEntropy, NoBaseline, PathDerivative, ScoreFunction, _score, _terms

sample, plate, param = svijax.sample, svijax.plate, svijax.param
Bernoulli, Normal = dist.Bernoulli, dist.Normal
pytestmark = pytest.mark.usefixtures("x64")
T, ROWS = 2, 3
Y = np.array([[0.3, -0.4, 1.1], [1.2, 0.1, -0.7]])
SEEN = np.array([[True, False, True], [True, True, False]])
OBJECTIVES = (Trace_ELBO(), TraceGraph_ELBO())
every_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)


def over_time(step: Any, init: Any, xs: Any, unrolled: bool) -> None:
    """The scan, or its steps one after another with names of their own."""
    if not unrolled:
        svijax.scan(lambda carry, x: (step(carry, x, ""), None), init, xs)
        return
    for t in range(T):
        init = step(init, jax.tree.map(lambda x, t=t: x[t], xs), f"_{t}")


# Reparameterised: the same numbers at the same noise


def state_space(rows: int | None, masked: bool, outer: bool, unrolled: bool) -> tuple[Any, Any]:
    size = ROWS if rows is None else rows

    def model() -> None:
        level = sample("level", Normal(0.0, 2.0))

        def step(x: Any, inputs: Any, end: str) -> Any:
            y, seen = inputs
            x = sample(f"x{end}", Normal(0.8 * x + level, 1.0))
            y, seen = svijax.subsample(y), svijax.subsample(seen)
            with mask(mask=seen if masked else True), scale(scale=1.5):
                sample(f"y{end}", Normal(x, param("noise", 0.7)), obs=y)
            return x

        within_plate(step)

    def guide() -> None:
        sample("level", Normal(param("m", 0.1), 0.5))

        def step(x: Any, inputs: Any, end: str) -> Any:
            loc = param("table", np.zeros(ROWS), event_dim=0)
            return sample(f"x{end}", Normal(param("k", 0.2) * x + loc, param("s", 0.6)))

        within_plate(step)

    def within_plate(step: Any) -> None:
        def inside(*inputs: Any) -> Any:
            with plate("N", ROWS, rows):
                return step(*inputs)

        xs = (jnp.asarray(Y), jnp.asarray(SEEN))
        if outer:
            with plate("N", ROWS, rows):
                over_time(step, jnp.zeros(size), xs, unrolled)
        else:
            over_time(inside, jnp.zeros(size), xs, unrolled)

    return model, guide


PARAMS = {
    "noise": np.array(0.7),
    "m": np.array(0.1),
    "k": np.array(0.2),
    "s": np.array(0.6),
    "table": np.array([0.3, -0.2, 0.5]),
}


@pytest.mark.parametrize("outer", [True, False], ids=["outer", "inner"])
@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize("rows", [None, 2], ids=["full", "subsampled"])
def test_loss_and_gradient_are_those_of_the_unrolled_program(
    rows: int | None, masked: bool, outer: bool
) -> None:
    e = np.random.default_rng(0).normal(size=(T, rows or ROWS))
    noise = {"level": np.array(0.4), "x": e}
    apart = {"level": np.array(0.4), **{f"x_{t}": e[t] for t in range(T)}}
    found = []
    for unrolled, here in ((False, noise), (True, apart)):
        for objective in OBJECTIVES[: 1 if unrolled else 2]:
            expectation = Expectation(
                *state_space(rows, masked, outer, unrolled), gauss_hermite({}), objective=objective
            )
            expectation.rows = {} if rows is None else {"N": np.array([2, 0])}
            run = jax.value_and_grad(lambda p, e=expectation, n=here: e.at(p, {}, n)[0])
            found.append(jax.jit(run)(PARAMS))
    for other in found[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), found[0], other)


@pytest.mark.parametrize("scanned", ["model", "guide"])
def test_one_of_the_two_is_a_scan(scanned: str) -> None:
    """The other states the steps as a vector."""

    def model(scan: bool) -> None:
        if scan:
            step = lambda c, y: (c, sample("y", Normal(sample("x", Normal(0.5, 2.0)), 1.0), obs=y))  # noqa: E731
            svijax.scan(step, 0.0, jnp.array([0.3, -1.0, 0.2]))
        else:
            x = sample("x", Normal(0.5, 2.0).expand([3]))
            sample("y", Normal(x, 1.0), obs=jnp.array([0.3, -1.0, 0.2]))

    def guide(scan: bool) -> None:
        loc, s = param("loc", jnp.zeros(3)), param("s", 1.0)
        if scan:
            svijax.scan(lambda c, m: (c, sample("x", Normal(m, s))), 0.0, loc)
        else:
            sample("x", Normal(loc, s))

    params = {"loc": jnp.array([0.1, -0.3, 0.7]), "s": jnp.array(0.4)}
    e = {"x": np.array([0.5, -1.0, 0.2])}
    found = []
    for scans in ((False, False), (scanned == "model", scanned == "guide")):
        pair = (lambda s=scans: model(s[0])), (lambda s=scans: guide(s[1]))
        expectation = Expectation(*pair, gauss_hermite({}))
        found.append(jax.value_and_grad(lambda p, x=expectation: x.at(p, {}, e)[0])(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), *found)


def levels(reverse: bool, unrolled: bool) -> Any:
    def model() -> None:
        level = sample("level", Normal(0.0, 1.0))

        def step(c: Any, y: Any, end: str) -> Any:
            x = sample(f"x{end}", Normal(0.8 * c + level, 1.0))
            sample(f"y{end}", Normal(0.3 * x * x, 1.0), obs=y)
            return x

        over_time(step, jnp.zeros(()), jnp.asarray(Y[:, 0]), unrolled)

    def guide() -> None:
        sample("level", Normal(param("m", 0.1), 0.7))
        k, loc = param("k", 0.5), param("loc", jnp.zeros(T))
        one = lambda c, m, end: sample(f"x{end}", Normal(m + k * c, param("s", 0.6)))  # noqa: E731
        if not unrolled:
            svijax.scan(lambda c, m: (one(c, m, ""), None), 0.0, loc, reverse=reverse)
            return
        c = jnp.zeros(())
        for t in reversed(range(T)) if reverse else range(T):
            c = one(c, loc[t], f"_{t}")

    return model, guide


LEVELS = {"m": np.array(0.1), "k": np.array(0.5), "s": np.array(0.6), "loc": np.array([0.2, -0.1])}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("estimator", [PathDerivative(), ClosedFormEntropy()], ids=lambda e: type(e).__name__)
def test_estimators_are_those_of_the_unrolled_program(reverse: bool, estimator: Any) -> None:
    e = np.array([0.5, -0.7])
    apart = {f"x_{t}": e[t] for t in range(T)}
    found = []
    for unrolled, noise in ((False, {"x": e}), (True, apart)):
        pair, objective = levels(reverse, unrolled), Trace_ELBO(estimator=estimator)
        at = Expectation(*pair, gauss_hermite({}), objective=objective).at
        noise = {"level": np.array(0.3), **noise}
        found.append(jax.jit(jax.value_and_grad(lambda p, at=at, n=noise: at(p, {}, n)[0]))(LEVELS))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), *found)


@pytest.mark.parametrize("reverse", [False, True])
def test_closed_forms_have_the_same_expectation(reverse: bool) -> None:
    nodes = gauss_hermite({"level": (), "x": (T,)}, 6)
    pair = levels(reverse, False)
    _, got = assert_unbiased(Expectation(*pair, nodes, objective=TraceMeanField_ELBO()), LEVELS)
    want = jax.jit(Expectation(*pair, nodes).of_derivative)(LEVELS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), got, want)


# Draws without pathwise gradients: what comes later in a step is read by what comes earlier in the next


def switching(rows: int | None = None, masked: bool = False, unrolled: bool = False, size: int = 2) -> Any:
    count = size if rows is None else rows

    def model() -> None:
        def step(c: Any, inputs: Any, end: str) -> Any:
            y, seen = inputs
            a = sample(f"a{end}", Bernoulli(logits=0.3 * c))
            b = sample(f"b{end}", Bernoulli(logits=0.5 * a - 0.2 * c))
            with mask(mask=svijax.subsample(seen) if masked else True):
                sample(f"y{end}", Normal(a + 0.7 * b + 0.2 * c, 1.0), obs=svijax.subsample(y))
            return a + 2.0 * b

        around(step)

    def guide() -> None:
        k = param("k", 0.2)

        def step(c: Any, inputs: Any, end: str) -> Any:
            a = sample(f"a{end}", Bernoulli(logits=param("p", 0.3) + k * c))
            b = sample(f"b{end}", Bernoulli(logits=param("q", 0.1) * a - k * c))
            return 1.0 * (a - b)

        around(step)

    def around(step: Any) -> None:
        with plate("N", size, rows):
            over_time(
                step, jnp.zeros(count), (jnp.asarray(Y[:, :size]), jnp.asarray(SEEN[:, :size])), unrolled
            )

    return model, guide


SWITCH = {"k": np.array(0.4), "p": np.array(0.3), "q": np.array(-0.5)}


@pytest.mark.parametrize(
    ("objective", "masked"),
    [(Trace_ELBO(), True), (TraceGraph_ELBO(), False)],
    ids=lambda x: x if isinstance(x, bool) else type(x).__name__,
)
def test_scores_of_a_scan(objective: Any, masked: bool) -> None:
    nodes = enumerated({"a": (T, 2), "b": (T, 2)})
    pair = switching(masked=masked)
    loss, got = assert_unbiased(Expectation(*pair, nodes, objective=objective), SWITCH)
    apart = enumerated({f"{n}_{t}": (2,) for n in "ab" for t in range(T)})
    plain = switching(masked=masked, unrolled=True)
    want = jax.jit(jax.value_and_grad(Expectation(*plain, apart, objective=objective).loss))(SWITCH)
    np.testing.assert_allclose(loss, want[0], rtol=1e-10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), got, want[1])


@every_objective
def test_scores_of_a_scan_in_a_minibatch(objective: Any) -> None:
    nodes = enumerated({"a": (T, 1), "b": (T, 1)})
    part = Expectation(*switching(rows=1), nodes, objective=objective)
    full = Expectation(*switching(), enumerated({"a": (T, 2), "b": (T, 2)}), objective=objective)
    loss, got = over_minibatches(part, SWITCH, "N", 2, 1)
    want = jax.jit(jax.value_and_grad(full.loss))(SWITCH)
    np.testing.assert_allclose(loss, want[0], rtol=1e-10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), got, want[1])


def mixed_pair() -> Any:
    def model() -> None:
        def step(c: Any, y: Any) -> Any:
            z = sample("z", Bernoulli(logits=0.4 * c))
            x = sample("x", Normal(0.5 * c + z, 1.0))
            sample("y", Normal(x, 1.0), obs=y)
            return x - z, None

        svijax.scan(step, 0.3, jnp.asarray(Y[:, 0]))

    def guide() -> None:
        def step(c: Any, y: Any) -> Any:
            z = sample("z", Bernoulli(logits=param("p", 0.3) + 0.5 * c))
            x = sample("x", Normal(param("q", 0.1) * c + 0.4 * z, 0.8))
            return 0.7 * x + 0.1 * z, None

        svijax.scan(step, 0.1, jnp.asarray(Y[:, 0]))

    return model, guide


@every_objective
def test_pathwise_and_score_sites_in_one_scan(objective: Any) -> None:
    # Nodes put the discrete draws in, and the normal noise comes by name.
    nodes = product(enumerated({"z": (T,)}), gauss_hermite({"x": (T,)}, 8))
    params = {"p": jnp.array(0.3), "q": jnp.array(0.4)}
    # exp of the log q of the put-in draws is no polynomial in the noise, and 8 nodes are enough for 1e-5.
    assert_unbiased(Expectation(*mixed_pair(), nodes, objective=objective), params, rtol=1e-5)


def test_two_per_cent_more_of_a_term_is_seen() -> None:
    model, guide = switching()
    nodes = enumerated({"a": (T, 2), "b": (T, 2)})
    want = jax.jit(jax.grad(Expectation(model, guide, nodes).loss))(SWITCH)
    for pair in ((model, more("b", guide)), (more("y", model), guide)):
        got = jax.jit(Expectation(*pair, nodes).of_derivative)(SWITCH)
        assert max(abs(got[name] - want[name]) for name in got) > 1e-3


def more(name: str, program: Any) -> Any:
    def changed() -> None:
        with trace() as sites:
            program()
        site = sites[name]
        svijax.factor(f"{name}_more", 0.02 * site.fn.log_prob(site.value))

    return changed


def test_what_is_cut_off_is_cut_off_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A draw that takes a score passes no derivative to what the body makes of it."""

    def model() -> None:
        sample("y", Normal(sample("x", Normal()) * sample("w", Normal()), 1.0), obs=0.3)

    def step(c: Any, _: Any) -> Any:
        x = sample("x", Normal(param("k", 0.4) + c, 0.8))
        return sample("w", Normal(0.7 * x, 0.5)), None

    def gradient(plain: bool) -> Any:
        guide = (lambda: step(0.1, None)) if plain else (lambda: svijax.scan(step, 0.1, None, length=1))
        score = Trace_ELBO(estimator={"x": ScoreFunction(NoBaseline())})
        at = Expectation(model_of(plain), guide, gauss_hermite({}), objective=score).at
        e = np.array(0.5) if plain else np.array([0.5])
        return jax.grad(lambda k: at({"k": k}, {}, {"x": e, "w": -e})[0])(jnp.array(0.4))

    def model_of(plain: bool) -> Any:
        return model if plain else lambda: svijax.scan(lambda c, _: (c, model()), 0.0, None, length=1)

    want = gradient(True)
    np.testing.assert_allclose(gradient(False), want, rtol=1e-10)
    monkeypatch.setattr(cut, "sees_inside", False)
    assert abs(gradient(False) - want) > 1e-3


def test_the_sites_of_a_scan_count_as_made_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the order of statements alone the earlier site would lack the score of the later one's last step."""
    nodes = enumerated({"a": (T, 2), "b": (T, 2)})
    monkeypatch.setattr(_score, "loop_of", lambda site: site)
    _, got, want = compare(Expectation(*switching(), nodes), SWITCH)
    assert max(abs(got[name] - want[name]) for name in got) > 1e-3


# What is kept apart


def links(model: Any, guide: Any) -> Any:
    guide_trace = trace(seed(guide, 0)).get_trace()
    values = {name: site.value for name, site in guide_trace.items() if hasattr(site, "fn")}
    model_trace = trace(seed(substitute(model, values), 0)).get_trace()
    scores = _terms.scores_of(guide_trace, model_trace, lambda s: False, lambda s: None)
    return {
        term: {link.score: tuple(n for n, _ in link.plates) for link in found}
        for term, found in _score.links_by_order(model_trace, guide_trace, scores).items()
    }


def test_elements_of_plates_around_a_scan_are_kept_apart() -> None:
    for term, found in links(*switching()).items():
        assert found == {"a": ("N",), "b": ("N",)}, term


def carried_across(first: bool) -> tuple[Any, Any]:
    """A draw outside the plate carries each element to all of them: in its own step or in the next one."""

    def program(guide: bool) -> None:
        def step(c: Any, y: Any) -> Any:
            weight = param("w", 0.3) if guide else 0.1

            def total(c: Any) -> Any:
                return sample("g", Bernoulli(logits=weight * jnp.sum(c)))

            g = total(c) if first else 0.0
            with plate("N", 2):
                z = sample("z", Bernoulli(logits=weight * g + 0.2 * c))
                if not guide:
                    sample("y", Normal(z + 0.5 * g, 1.0), obs=y)
            last = z + (0.0 if first else total(z))
            return 1.0 * last, None

        svijax.scan(step, jnp.ones(2), jnp.asarray(Y[:, :2]))

    return (lambda: program(False)), (lambda: program(True))


@every_objective
@pytest.mark.parametrize("first", [True, False])
def test_a_draw_outside_the_plate_joins_its_elements(objective: Any, first: bool) -> None:
    pair = carried_across(first)
    assert all(plates == () for found in links(*pair).values() for plates in found.values())
    nodes = enumerated({"g": (T,), "z": (T, 2)})
    assert_unbiased(Expectation(*pair, nodes, objective=objective), {"w": jnp.array(0.3)})


# cond


@every_objective
def test_a_choice_that_depends_on_a_draw(objective: Any) -> None:
    def model() -> None:
        z = sample("z", Bernoulli(0.4))
        x = svijax.cond(
            z > 0,
            lambda _: sample("x", Bernoulli(logits=0.7)),
            lambda _: sample("x", Bernoulli(logits=-0.3)),
            None,
        )
        sample("y", Normal(x + z, 1.0), obs=0.6)

    def guide() -> None:
        z = sample("z", Bernoulli(logits=param("p", 0.2)))
        one = lambda _: sample("x", Bernoulli(logits=param("a", 0.3)))  # noqa: E731
        other = lambda _: sample("x", Bernoulli(logits=2.0 * param("b", -0.4)))  # noqa: E731
        svijax.cond(z > 0, one, other, None)

    params = {"p": jnp.array(0.2), "a": jnp.array(0.3), "b": jnp.array(-0.4)}
    nodes = enumerated({"z": (), "x": ()})
    loss, _ = assert_unbiased(Expectation(model, guide, nodes, objective=objective), params)
    p, q = jax.nn.sigmoid(0.2), {1: jax.nn.sigmoid(0.3), 0: jax.nn.sigmoid(-0.8)}
    prior = {1: jax.nn.sigmoid(0.7), 0: jax.nn.sigmoid(-0.3)}
    want = 0.0
    for z in (0, 1):
        for x in (0, 1):
            log_q = jnp.log(p if z else 1 - p) + jnp.log(q[z] if x else 1 - q[z])
            log_p = jnp.log(0.4 if z else 0.6) + jnp.log(prior[z] if x else 1 - prior[z])
            want += jnp.exp(log_q) * (log_q - log_p - Normal(x + z, 1.0).log_prob(0.6))
    np.testing.assert_allclose(loss, want, rtol=1e-10)

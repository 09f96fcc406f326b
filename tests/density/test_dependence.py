"""Which inputs outputs are computed from, and which draws the terms of two programs read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax
import svijax.distributions as dist
from svijax.density import Dependence, dependence, run_guide, run_model
from svijax.density._provenance import provenance
from svijax.effects import Handler, Sample, Site
from svijax.guides import AutoDiagonalNormal, AutoMultivariateNormal, AutoNormal
from svijax.handlers import mask, scale

sample, plate, param, factor = svijax.sample, svijax.plate, svijax.param, svijax.factor
Bernoulli, Normal = dist.Bernoulli, dist.Normal

NUMBER = jax.ShapeDtypeStruct((), jnp.float32)
VECTOR = jax.ShapeDtypeStruct((3,), jnp.float32)


def read_by(function: Callable[..., Any], *shapes: Any) -> list[str]:
    """For each output, the names a, b, c, ... of the inputs that it is computed from, in one string."""
    shapes = shapes or (NUMBER,) * function.__code__.co_argcount
    found = provenance(function, "abcd"[: len(shapes)], *shapes)
    return ["".join(sorted(names)) for names in jax.tree.leaves(found)]


@jax.custom_jvp
def twice(x: Any) -> Any:
    return 2 * x


twice.defjvp(lambda primals, tangents: (twice(*primals), 2 * tangents[0]))


@jax.custom_vjp
def pair(x: Any, y: Any) -> Any:
    return x + 1, y * 2


pair.defvjp(lambda x, y: (pair(x, y), ()), lambda _, g: (g[0], 2 * g[1]))


def looped(a: Any, b: Any, c: Any, d: Any) -> Any:
    # d needs two rounds to reach the first entry of the carry; c goes to the stacked outputs only.
    return jax.lax.scan(lambda s, x: ((s[1], s[2], s[2]), c * x), (a, b, d), jnp.arange(3.0))


def counted(a: Any, b: Any, c: Any, d: Any) -> Any:
    return jax.lax.while_loop(lambda s: s[0] < a, lambda s: (s[0] + 1, s[1] * b, s[2] * 2), (0.0, c, d))


def written(a: Any, b: Any) -> Any:
    held = jax.new_ref(b)

    @jax.jit
    def write(x: Any) -> Any:
        held[...] = held[...] + x
        return 2.0 * b

    before = held[...]
    other = write(a)
    return before, other, held[...]


def written_in_a_loop(a: Any, b: Any) -> Any:
    held = jax.new_ref(b)

    def step(carry: Any, x: Any) -> Any:
        seen = held[...]
        held[...] = a
        return carry, seen

    return jax.lax.scan(step, 0.0, jnp.arange(2.0))[1]


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (lambda a, b: (a + 1, a * b, 3.0, b), ["a", "ab", "", "b"]),
        (lambda a, b: jax.lax.stop_gradient(a), ["a"]),
        (lambda a, b: (a > 0) * b, ["ab"]),
        (lambda a, b: jax.jit(lambda x, y: (x + 1, y))(a, b), ["a", "b"]),
        (lambda a, b: jax.jit(lambda x: (x * b, 2 * x))(a), ["ab", "a"]),
        (lambda a, b: jax.checkpoint(lambda x, y: (jnp.sin(x), y * 2))(a, b), ["a", "b"]),
        (lambda a, b: (twice(a), twice(b) + a), ["a", "ab"]),
        (lambda a, b: pair(a, b), ["a", "b"]),
        (lambda a, b: jax.grad(lambda x: x**2 * b)(a), ["ab"]),
        (lambda a, b: jax.lax.cond(True, lambda: (a, b), lambda: (b, b)), ["ab", "b"]),
        (lambda a, b, c: jax.lax.cond(c > 0, lambda: (a, b), lambda: (3 * a, 2 * b)), ["ac", "bc"]),
        (lambda a, b, c: jax.lax.switch(1, [lambda: a, lambda: b, lambda: c]), ["abc"]),
        (looped, ["abd", "bd", "d", "c"]),
        (counted, ["a", "abc", "ad"]),
        (written, ["b", "b", "ab"]),
        (written_in_a_loop, ["ab"]),
        (lambda a, b: jax.pure_callback(lambda x, y: (x, y), (NUMBER, NUMBER), a, b), ["ab", "ab"]),
        (lambda a, b: jax.vmap(lambda x: x + b)(a * jnp.ones(3)), ["ab"]),
    ],
)
def test_what_outputs_are_computed_from(function: Any, want: list[str]) -> None:
    assert read_by(function) == want


def test_values_from_outside_are_read_by_nobody() -> None:
    def outer(x: Any) -> Any:
        assert read_by(lambda a: (a, x, jax.jit(lambda y: y * x)(a), jax.jit(lambda: x)())) == [
            "a",
            "",
            "a",
            "",
        ]
        return x

    with jax.checking_leaks():
        jax.jit(outer)(1.0)
        jax.vmap(outer)(np.ones(2))
        jax.grad(outer)(1.0)


# Programs


def found(model: Any, guide: Any, *args: Any) -> Dependence:
    key = jax.random.key(0)

    def traces() -> Any:
        guide_trace = run_guide(guide, args, {}, key=key)
        return run_model(model, args, {}, guide_trace, key=key), guide_trace

    _, guide_trace = traces()
    return dependence(traces, {s.name: s.value for s in guide_trace.values() if isinstance(s, Sample)})


def text(names: Any) -> str:
    return " ".join(sorted(names))


def chain_model() -> None:
    a = sample("a", Bernoulli(0.3))
    sample("b", Bernoulli(0.2 + 0.3 * a))
    c = sample("c", Normal(0.0, 1.0))
    sample("y", Normal(c, 1.0), obs=0.5)
    factor("f", 2.0 * a)


def chain_guide() -> None:
    a = sample("a", Bernoulli(0.5))
    sample("b", Bernoulli(0.4))
    sample("c", Normal(2.0 * a, 1.0))


def test_direct_parents_and_what_lies_behind_them() -> None:
    graph = found(chain_model, chain_guide)
    assert {n: text(r.distribution) for n, r in graph.guide.items()} == {"a": "", "b": "", "c": "a"}
    assert {n: text(r.term) for n, r in graph.guide.items()} == {"a": "a", "b": "b", "c": "a c"}
    assert {n: text(r.distribution) for n, r in graph.model.items() if n in "abc"} == {
        "a": "",
        "b": "a",
        "c": "",
    }
    assert {n: text(r.term) for n, r in graph.model.items()} == {
        "a": "a",
        "b": "a b",
        "c": "c",
        "y": "c",
        "f": "a",
    }
    assert text(graph.upstream(graph.model["y"].term)) == "a c"
    assert (text(graph.descendants("a")), text(graph.descendants("b"))) == ("c", "")
    assert (text(graph.ancestors("c")), text(graph.ancestors("a"))) == ("a", "")


def test_weights_are_read_too() -> None:
    def model() -> None:
        a, b = sample("a", Bernoulli(0.3)), sample("b", Bernoulli(0.3))
        with mask(mask=a > 0), scale(scale=1.0 + b):
            sample("y", Normal(0.0, 1.0), obs=0.5)
            factor("f", 1.0)

    graph = found(model, lambda: [sample(n, Bernoulli(0.5)) for n in "ab"])
    assert (
        text(graph.model["y"].weights) == text(graph.model["y"].term) == text(graph.model["f"].term) == "a b"
    )


def test_functions_inside_a_distribution_read_draws() -> None:
    def model() -> None:
        rate = sample("rate", Normal(0.0, 1.0))
        walk = dist.EulerMaruyama(jnp.arange(4.0), lambda x, t: (rate * x, 0.1), Normal(0.0, 1.0))
        sample("path", walk)

    def guide() -> None:
        sample("rate", Normal(0.0, 1.0))
        sample("path", Normal(jnp.zeros(4), 1.0).to_event(1))

    assert text(found(model, guide).model["path"].distribution) == "rate"


def test_a_distribution_of_another_library_is_asked_for_its_density() -> None:
    class Foreign:
        """No pytree: what it holds is seen by nobody."""

        batch_shape, event_shape, support = (), (), dist.constraints.real
        has_rsample = False

        def __init__(self, loc: Any) -> None:
            self.loc = loc

        def sample(self, key: Any, sample_shape: Any = ()) -> Any:
            return self.loc + jax.random.normal(key, sample_shape)

        def log_prob(self, value: Any) -> Any:
            return -0.5 * (value - self.loc) ** 2

    def guide() -> None:
        a = sample("a", Foreign(0.0))
        sample("b", Foreign(a))

    def model() -> None:
        a = sample("a", Foreign(0.0))
        sample("b", Foreign(a))

    graph = found(model, guide)
    assert (text(graph.guide["a"].distribution), text(graph.guide["b"].distribution)) == ("", "a")
    assert text(graph.model["b"].distribution) == "a"


def test_a_value_that_a_program_gives_itself_counts_as_its_parents() -> None:
    class set_b(Handler):
        value: Any = None

        def process(self, site: Site) -> Site:
            return site.having(value=self.value) if site.name == "b" else site

    def guide() -> None:
        a = sample("a", Bernoulli(0.5))
        handler = set_b()
        handler.value = a
        with handler:
            sample("b", Bernoulli(0.5))

    graph = found(lambda: [sample(n, Bernoulli(0.3)) for n in "ab"], guide)
    assert text(graph.guide["b"].distribution) == "a"


def test_plates_that_all_ways_lie_in_keep_draws_apart() -> None:
    def model() -> None:
        with plate("i", 2, dim=-1):
            a = sample("a", Bernoulli(0.3))
            b = sample("b", Bernoulli(0.3))
        g = sample("g", Bernoulli(0.3))
        with plate("i", 2, dim=-1):
            sample("y", Normal(a + 0.0, 1.0), obs=np.ones(2))
            sample("z", Normal(g + a, 1.0), obs=np.ones(2))
            sample("w", Normal(b + 0.0, 1.0), obs=np.ones(2))
        sample("v", Normal(b.sum(), 1.0), obs=1.0)

    def guide() -> None:
        with plate("i", 2, dim=-1):
            a = sample("a", Bernoulli(0.5))
        sample("g", Bernoulli(0.2 + 0.3 * a[0]))
        with plate("i", 2, dim=-1):
            sample("b", Bernoulli(0.2 + 0.3 * a))

    graph = found(model, guide)

    def kept(name: str, plates: str = "i") -> dict[str, str]:
        up = graph.upstream(graph.model[name].term, frozenset(plates.split()))
        return {draw: text(names) for draw, names in sorted(up.items())}

    assert kept("y") == {"a": "i"}  # g, which is drawn after a and outside, lies on no way
    assert kept("z") == {"a": "", "g": ""}  # by way of g, a[0] reaches all elements
    assert kept("w") == {"a": "i", "b": "i"}
    assert kept("v", "") == {"a": "", "b": ""}


def test_state_keeps_nothing_apart_and_carries_what_was_written() -> None:
    def model() -> None:
        held = svijax.mutable("norm", {"mean": jnp.zeros(())})
        sample("x", Normal(held["mean"], 1.0), obs=0.5)
        with plate("i", 2):
            sample("a", Bernoulli(0.3))

    def guide() -> None:
        held = svijax.mutable("norm", {"mean": jnp.zeros(())})
        with plate("i", 2):
            a = sample("a", Bernoulli(0.5))
        held["mean"] = a.mean()

    key = jax.random.key(0)

    def traces() -> Any:
        guide_trace = run_guide(guide, (), {}, key=key)
        state = {"norm": guide_trace["norm"].value}
        return run_model(model, (), {}, guide_trace, key=key, state=state), guide_trace

    graph = dependence(traces, {"a": np.zeros(2, np.int32)})
    assert text(graph.model["x"].term) == "a"
    assert graph.upstream(frozenset("a"), frozenset("i")) == {"a": frozenset()}


@pytest.mark.parametrize("kind", [AutoNormal, AutoDiagonalNormal, AutoMultivariateNormal])
def test_slices_of_a_vector(kind: Any) -> None:
    def model() -> None:
        m = sample("m", Normal(0.0, 1.0))
        top = sample("top", dist.HalfNormal(1.0))
        sample("u", dist.Uniform(0.0, top))
        sample("y", Normal(m, 1.0), obs=0.5)

    guide = kind(model)
    graph = found(model, guide)
    independent = kind is not AutoMultivariateNormal
    names = {n: text(r.distribution) for n, r in graph.guide.items()}
    vector = "" if independent else "_auto_latent"
    # The support of u ends at top, in the guide too.
    assert names == {
        "_auto_latent": "",
        "m": vector,
        "top": vector,
        "u": " ".join(filter(None, [vector, "top"])),
    }
    assert text(graph.model["u"].distribution) == "top"


def test_draws_that_read_each_other_in_a_ring_are_followed_to_the_end() -> None:
    from svijax.density._dependence import Reads

    def reads(names: str) -> Reads:
        return Reads(frozenset(names), frozenset(), frozenset(names))

    guide = {"a": reads(""), "b": reads("ac"), "c": reads("b"), "d": reads("")}
    plates = {n: frozenset("i") if n != "c" else frozenset() for n in guide}
    graph = Dependence(guide, {}, plates)
    assert graph.upstream(frozenset("b"), frozenset("i")) == {
        "a": frozenset(),
        "b": frozenset(),
        "c": frozenset(),
    }
    assert text(graph.descendants("b")) == "b c"


def test_nothing_runs_and_nobody_outside_hears_it() -> None:
    ran: list[Any] = []

    def heard(x: Any) -> Any:
        ran.append(x)
        return np.asarray(x, np.float32)

    def model() -> None:
        a = sample("a", Normal(0.0, 1.0))
        factor("f", jax.pure_callback(heard, NUMBER, a))

    def guide() -> None:
        sample("a", Normal(0.0, 1.0))

    key = jax.random.key(0)

    def traces() -> Any:
        guide_trace = run_guide(guide, (), {}, key=key)
        return run_model(model, (), {}, guide_trace, key=key), guide_trace

    with svijax.handlers.trace() as sites:
        graph = dependence(traces, {"a": np.float32(0.0)})
    assert not ran and not sites
    assert text(graph.model["f"].term) == "a"

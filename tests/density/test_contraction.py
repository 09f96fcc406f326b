"""Elimination of discrete variables against sums over all their values, one by one."""

import itertools
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from svijax.base import ModelError
from svijax.density._chains import log_chain_product
from svijax.density._contraction import LogFactor, Plates, contract, total
from svijax.density._elimination import assign
from svijax.density._log_products import log_sum_exp, log_sum_product

A, B, AB, NONE = frozenset("A"), frozenset("B"), frozenset("AB"), frozenset()


def plates(**sizes):
    dims = {"A": -1, "B": -2}
    return Plates(2, {n: dims[n] for n in sizes}, sizes)


def table(rng, variables, inside, where, cards, thin=()):
    shape = [cards[v] for v in variables] + list(where.shape(set(inside) - set(thin)))
    return LogFactor(
        jnp.asarray(rng.normal(size=shape)), tuple(variables), frozenset(inside), ("".join(variables) or "c",)
    )


def brute(factors, homes, where, cards, weigh=lambda terms: np.logaddexp.reduce(terms)):
    """log Σ over every value of every element of every variable."""
    cells = [
        (v, i) for v, home in homes.items() for i in itertools.product(*(range(n) for n in where.shape(home)))
    ]
    terms = []
    for values in itertools.product(*(range(cards[v]) for v, _ in cells)):
        value = dict(zip(cells, values))
        terms.append(sum(_at(f, value, homes, where) for f in factors))
    return weigh(np.array(terms)), {"cells": cells, "terms": np.array(terms)}


def _at(f, value, homes, where):
    out = 0.0
    for i in itertools.product(*(range(n) for n in where.shape(f.plates))):

        def cell(v, i=i):
            return tuple(k if n > 1 else 0 for k, n in zip(i, where.shape(homes[v])))

        index = tuple(value[v, cell(v)] for v in f.variables)
        array = np.asarray(f.array)
        spot = tuple(k if n > 1 else 0 for k, n in zip(i, array.shape[len(f.variables) :]))
        out += array[index + spot]
    return out


CASES = {
    "one": ({"A": 1, "B": 1}, {"x": NONE}, [("x", "")], ()),
    "chain": (
        {"A": 1, "B": 1},
        dict.fromkeys("uvwxyz", NONE),
        [("u", ""), *((p, "") for p in ("uv", "vw", "wx", "xy", "yz")), ("w", "")],
        (),
    ),
    "history 2": (
        {"A": 1, "B": 1},
        dict.fromkeys("uvwxyz", NONE),
        [("uv", ""), ("uvw", ""), ("vwx", ""), ("wxy", ""), ("xyz", "")],
        (),
    ),
    "loop": ({"A": 1, "B": 1}, dict.fromkeys("uvwx", NONE), [(p, "") for p in ("uv", "vw", "wx", "xu")], ()),
    "star": ({"A": 1, "B": 1}, dict.fromkeys("uvwx", NONE), [(p, "") for p in ("ux", "vx", "wx", "x")], ()),
    "plate": ({"A": 3, "B": 1}, {"x": NONE, "y": A}, [("x", ""), ("xy", "A"), ("y", "A"), ("", "A")], ()),
    "alike": ({"A": 3, "B": 1}, {"x": NONE, "y": A}, [("x", ""), ("xy", "A"), ("x", "A")], ("A",)),
    "nested": (
        {"A": 2, "B": 2},
        {"x": NONE, "y": A, "z": AB},
        [("x", ""), ("xy", "A"), ("yz", "AB"), ("xz", "AB")],
        (),
    ),
    "crossed": (
        {"A": 2, "B": 2},
        {"x": NONE, "y": A, "z": B},
        [("x", ""), ("xy", "A"), ("xz", "B"), ("x", "AB")],
        (),
    ),
    "crossed below": ({"A": 2, "B": 2}, {"y": A, "z": AB}, [("y", "A"), ("yz", "AB"), ("z", "AB")], ()),
}


@pytest.mark.parametrize("name", CASES)
def test_sum_is_that_over_all_values(name, x64):
    sizes, homes, factors, thin = CASES[name]
    rng = np.random.default_rng(0)
    where, cards = plates(**sizes), dict(zip(homes, itertools.cycle((2, 3))))
    made = [table(rng, v, p, where, cards, thin) for v, p in factors]
    want, _ = brute(made, homes, where, cards)
    best, _ = brute(made, homes, where, cards, np.max)

    @jax.jit
    def both(arrays):
        factors = [replace(f, array=a) for f, a in zip(made, arrays)]
        parts = (contract(factors, homes, where, largest=largest).factors for largest in (False, True))
        return [sum(total(f, where) for f in part) for part in parts]

    np.testing.assert_allclose(both([f.array for f in made]), [want, best], rtol=1e-12)


@pytest.mark.parametrize("name", ["chain", "history 2", "loop", "star", "nested", "crossed"])
def test_best_assignment_and_draws(name, x64):
    sizes, homes, factors, thin = CASES[name]
    rng = np.random.default_rng(1)
    where, cards = plates(**sizes), dict.fromkeys(homes, 2)
    made = [table(rng, v, p, where, cards, thin) for v, p in factors]
    log_z, found = brute(made, homes, where, cards)

    @jax.jit
    def assigned():
        return assign(contract(made, homes, where, largest=True).steps, lambda w, i: jnp.argmax(w, axis=1))

    best = assigned()
    values = list(itertools.product(range(2), repeat=len(found["cells"])))[int(np.argmax(found["terms"]))]
    for (v, i), value in zip(found["cells"], values):
        assert best[v][i] == value

    def draw(key):
        def pick(weights, number):
            return jax.random.categorical(jax.random.fold_in(key, number), weights, axis=1)

        values = assign(contract(made, homes, where).steps, pick)
        return jnp.stack([values[v][i] for v, i in found["cells"]])

    draws = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(2), 20_000)))
    code = draws @ (2 ** np.arange(draws.shape[1])[::-1])
    probs = np.exp(found["terms"] - log_z)
    counts = np.bincount(code, minlength=len(probs))
    big = probs * 20_000 >= 5
    chi2 = np.sum((counts - probs * 20_000)[big] ** 2 / (probs * 20_000)[big])
    assert chi2 < big.sum() + 5 * math.sqrt(2 * big.sum())


def test_long_chain_is_a_tree_of_few_operations(x64):
    rng = np.random.default_rng(0)
    tables = jnp.asarray(rng.normal(size=(50, 5, 5)))
    names = [f"x{t}" for t in range(51)]

    def log_z(tables):
        factors = [LogFactor(tables[t], (names[t], names[t + 1]), NONE) for t in range(50)]
        out = contract(factors, dict.fromkeys(names, NONE), Plates(0))
        assert len(out.steps) < 3 * math.log2(50)
        return sum(f.array for f in out.factors)

    def forward(message, table):
        return log_sum_exp(message[:, None] + table, (0,)), None

    message, _ = jax.lax.scan(forward, jnp.zeros(5), tables)
    np.testing.assert_allclose(jax.jit(log_z)(tables), log_sum_exp(message, (0,)), rtol=1e-12)
    marginals = jax.jit(jax.grad(log_z))(tables)
    np.testing.assert_allclose(marginals.sum((1, 2)), 1.0, rtol=1e-10)


@pytest.mark.parametrize("gap", [0.0, 50.0, 400.0, np.inf])
def test_matrix_product_loses_nothing_to_underflow(gap):
    """Each term of the sum is far below both largest ones of its row and column."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1, 16, 64)).astype(np.float32)
    a[..., 8:] -= gap
    b[..., :8] -= gap

    def log_c(a, b):
        return log_sum_product([(a, (1, 0)), (b, (2, 0))], 1, (64, 16, 16), 0)

    exact = a[:, :, None].astype(float) + b[:, None, :]
    got = jnp.asarray(log_c(jnp.asarray(a), jnp.asarray(b)))
    np.testing.assert_allclose(got, np.logaddexp.reduce(exact, axis=-1), rtol=1e-5)
    grad = jax.grad(lambda a, b: jnp.sum(log_c(a, b)), (0, 1))(jnp.asarray(a), jnp.asarray(b))
    assert all(np.isfinite(g).all() for g in grad)
    np.testing.assert_allclose(grad[0].sum(), 256.0 if gap < np.inf else 0.0, rtol=1e-4)


@pytest.mark.parametrize("size", [3, 64])
def test_nothing_possible_has_derivative_zero(size, x64):
    """As a sum in log space and as a matrix product: a row without a possible value, beside one with."""
    a = jnp.zeros((1, size, size)).at[0, 0].set(-jnp.inf)

    def finite_part(a):
        out = log_sum_product([(a, (1, 0)), (a, (2, 0))], 1, (size, size, size), 0)
        return jnp.sum(jnp.where(jnp.isfinite(out), out, 0.0))

    value, grad = jax.value_and_grad(finite_part)(a)
    np.testing.assert_allclose(value, (size - 1) ** 2 * np.log(size))
    np.testing.assert_array_equal(grad[0, 0], 0.0)
    np.testing.assert_allclose(grad[0, 1:], 2 * (size - 1) / size)


def test_errors_name_sites_and_plates():
    where = plates(A=2, B=2)
    ones = jnp.zeros((2, 2, 1, 1))
    with pytest.raises(ModelError) as caught:
        contract([LogFactor(ones, ("x", "y"), NONE, ("obs",))], {"x": NONE, "y": A}, where)
    assert "site 'obs' reads the enumerated site 'y' from outside of its plates" in str(caught.value)
    with pytest.raises(ModelError) as caught:
        contract([LogFactor(jnp.zeros((2, 2, 2, 2)), ("x", "y"), AB, ("obs",))], {"x": A, "y": B}, where)
    text = str(caught.value)
    assert "'x' in ['A'], 'y' in ['B'] cannot be summed out: site 'obs' in plates ['A', 'B']" in text
    with pytest.raises(ModelError) as caught:
        contract([LogFactor(jnp.zeros((2, 2, 1, 2)), ("x", "g"), A, ("obs",))], {"x": NONE}, where, {"g": A})
    assert "model enumeration more global than guide enumeration" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "tree"), [("open", True), ("open", False), ("loop", False), ("tail", False), ("plates", True)]
)
def test_long_chain_is_a_product_of_matrices(path, tree, x64, monkeypatch):
    """Both ways of multiplying against elimination step by step; ends that are free, or read by others too."""
    if tree:
        monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, cpu, default: default(*args))
        monkeypatch.setattr("svijax.density._chains._FAN", 3)
    rng = np.random.default_rng(0)
    n, cards = 12, 3
    names = [f"x{t}" for t in range(n + 1)]
    where = plates(A=2) if path == "plates" else Plates(0)
    inside = A if path == "plates" else NONE
    extra = {
        "open": [],
        "plates": [],
        "loop": [("x12", "x0", "u")],
        "tail": [("x0", "u"), ("x12", "u", "w")],
    }[path]
    variables = [*names, *sorted({v for pair in extra for v in pair if v not in names})]
    pairs = [*itertools.pairwise(names), *((v,) for v in names[1:9]), ("x0",), *extra]
    arrays = [jnp.asarray(rng.normal(size=[cards] * len(p) + list(where.shape(inside)))) for p in pairs]

    def log_z(arrays, steps_wanted):
        factors = [LogFactor(a, p, inside) for a, p in zip(arrays, pairs)]
        found = contract(factors, dict.fromkeys(variables, inside), where, steps_wanted=steps_wanted)
        assert steps_wanted or len(found.steps) < 4
        return sum(jnp.sum(total(f, where)) for f in found.factors)

    got, want = (jax.jit(jax.value_and_grad(lambda a, s=s: log_z(a, s)))(arrays) for s in (False, True))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("gap", [5.0, 300.0, np.inf])
def test_chain_product_loses_nothing_to_underflow(gap):
    """A state that each step makes less likely by far, until the last one asks for it."""
    tables = jnp.zeros((40, 2, 2)).at[:, 0, 1].set(-gap).at[:, 1, 0].set(-gap).at[:, 1, 1].set(-gap)
    got = log_chain_product(tables)
    want = np.asarray(tables[0], float)
    for table in np.asarray(tables[1:], float):
        want = np.logaddexp.reduce(want[:, :, None] + table[None], axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)

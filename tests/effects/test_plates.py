"""Plates: dims, sizes, rows in play, scales, and what they refuse."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax
import svijax.distributions as dist
from svijax.base import ArgumentError, MissingKeyError, ModelError, ShapeError
from svijax.distributions import constraints
from svijax.handlers import seed, substitute, trace

KEY = jax.random.key(0)


def sites_of(fn: Any, *args: Any) -> Any:
    return trace(seed(fn, KEY)).get_trace(*args)


def frames(site: Any) -> list[tuple[str, int, int]]:
    return [(f.name, f.size, f.dim) for f in site.plates]


def test_dims_are_the_free_ones_from_the_right() -> None:
    def model() -> None:
        with svijax.plate("a", 2):
            with svijax.plate("b", 3):
                svijax.sample("ab", dist.Normal())
            with svijax.plate("c", 4):
                svijax.sample("ac", dist.Normal())
            svijax.sample("x", dist.Normal())
        with svijax.plate("d", 5):
            svijax.sample("y", dist.Normal())

    sites = sites_of(model)
    assert frames(sites["ab"]) == [("a", 2, -1), ("b", 3, -2)] and sites["ab"].value.shape == (3, 2)
    assert frames(sites["ac"]) == [("a", 2, -1), ("c", 4, -2)] and sites["ac"].value.shape == (4, 2)
    assert sites["x"].value.shape == (2,) and sites["y"].value.shape == (5,)


def test_explicit_dims() -> None:
    def model() -> None:
        outer, inner = svijax.plate("a", 2, dim=-2), svijax.plate("b", 3, dim=-1)
        with outer:
            svijax.sample("x", dist.Normal())
            with inner:
                svijax.sample("y", dist.Normal())
        with inner, outer:
            svijax.sample("z", dist.Normal().expand([3]).to_event(1))
        with svijax.plate("c", 4), outer, svijax.plate("d", 6):
            svijax.sample("w", dist.Normal())

    shapes = {n: s.value.shape for n, s in sites_of(model).items() if n in "xyzw"}
    assert shapes == {"x": (2, 1), "y": (2, 3), "z": (2, 3, 3), "w": (6, 2, 4)}


def test_plate_stack_has_the_names_and_dims_of_numpyro() -> None:
    def model() -> None:
        with svijax.plate_stack("p", (2, 3, 4)):
            svijax.sample("x", dist.Normal())
        with svijax.plate_stack("q", [5], rightmost_dim=-2):
            svijax.sample("y", dist.Normal())

    sites = sites_of(model)
    assert frames(sites["x"]) == [("p_0", 4, -1), ("p_1", 3, -2), ("p_2", 2, -3)]
    assert sites["x"].value.shape == (2, 3, 4)
    assert frames(sites["y"]) == [("q_0", 5, -2)] and sites["y"].value.shape == (5, 1)


def test_a_plate_may_be_entered_again_and_has_the_same_rows() -> None:
    def model() -> Any:
        plate = svijax.plate("a", 10, 3)
        with plate as first:
            pass
        with plate as second:
            pass
        with svijax.plate("a", 10, 3) as third:
            return first, second, third

    for other in seed(model, KEY)()[1:]:
        np.testing.assert_array_equal(seed(model, KEY)()[0], other)


def test_subsampled_rows_scale_and_indices() -> None:
    def model() -> None:
        with svijax.plate("a", 10, 4, dim=-1) as indices:
            svijax.deterministic("indices", indices)
            svijax.sample("x", dist.Normal())
            svijax.factor("f", jnp.zeros(4))
            with svijax.plate("b", 6, 3):
                svijax.sample("y", dist.Normal())
            with svijax.plate("c", 6):
                svijax.sample("z", dist.Normal())

    sites = sites_of(model)
    indices = np.asarray(sites["indices"].value)
    assert indices.shape == (4,) and len(set(indices.tolist())) == 4 and set(indices) <= set(range(10))
    assert indices.dtype == np.int32
    assert sites["x"].scale == sites["f"].scale == sites["z"].scale == 2.5 and sites["y"].scale == 5.0
    assert sites["x"].value.shape == (4,) and sites["y"].value.shape == (3, 4)
    np.testing.assert_array_equal(sites["x"].plates[0].indices, indices)


def test_a_whole_plate_does_not_scale_and_needs_no_key() -> None:
    with trace() as sites, svijax.plate("a", 3) as indices:
        svijax.sample("x", dist.Normal(), obs=np.zeros(3))
    assert sites["x"].scale is None and not sites["x"].plates[0].subsampled
    np.testing.assert_array_equal(indices, np.arange(3))


def test_factors_spread_over_their_plates() -> None:
    def model() -> None:
        with svijax.plate("a", 3):
            svijax.factor("f", 1.0)
            svijax.factor("g", jnp.arange(3.0))

    sites = sites_of(model)
    np.testing.assert_array_equal(sites["f"].value, np.ones(3))
    np.testing.assert_array_equal(sites["g"].value, np.arange(3))


# Gathering


def test_subsample_gathers_rows_along_the_right_axis() -> None:
    data = np.arange(40.0).reshape(10, 4)

    def model() -> None:
        with svijax.plate("a", 10, 3) as i:
            svijax.deterministic("i", i)
            svijax.deterministic("rows", svijax.subsample(data, event_dim=1))
            svijax.deterministic("again", svijax.subsample(svijax.subsample(data, event_dim=1), event_dim=1))
            svijax.deterministic("shared", svijax.subsample(np.zeros((1, 4)), event_dim=1))
            svijax.deterministic("few", svijax.subsample(np.zeros(4), event_dim=1))
            with svijax.plate("b", 7, 2) as j:
                svijax.deterministic("j", j)
                svijax.deterministic("block", svijax.subsample(np.arange(70.0).reshape(7, 10)))

    s = {n: np.asarray(v.value) for n, v in sites_of(model).items()}
    np.testing.assert_array_equal(s["rows"], data[s["i"]])
    np.testing.assert_array_equal(s["again"], data[s["i"]])
    assert s["shared"].shape == (1, 4) and s["few"].shape == (4,)
    np.testing.assert_array_equal(s["block"], np.arange(70.0).reshape(7, 10)[s["j"]][:, s["i"]])


def test_tables_of_parameters_are_gathered_and_gradients_reach_the_rows_in_play() -> None:
    def program(table: Any) -> Any:
        with svijax.plate("a", 6, 2) as i:
            w = svijax.param("w", np.zeros((6, 3)), event_dim=1)
            v = svijax.param("v", np.zeros(3))
            return i, w, v

    def loss(table: Any) -> Any:
        _, w, _ = seed(substitute(program, data={"w": table}), KEY)(table)
        return jnp.sum(w**2)

    table = jnp.arange(18.0).reshape(6, 3)
    i, w, v = seed(substitute(program, data={"w": table}), KEY)(table)
    np.testing.assert_array_equal(w, table[i])
    assert v.shape == (3,)
    want = np.zeros((6, 3))
    want[np.asarray(i)] = 2 * np.asarray(table)[np.asarray(i)]
    np.testing.assert_allclose(jax.grad(loss)(table), want)


def test_a_tree_of_tables_is_gathered_leaf_by_leaf_and_recorded_whole() -> None:
    tree = {"loc": np.arange(6.0), "scale": np.ones(6)}

    def program() -> Any:
        with svijax.plate("a", 6, 2) as i:
            w = svijax.param("w", tree, event_dim=0, constraint=constraints.real)
            return i, w

    sites = sites_of(program)
    assert sites["w"].value["loc"].shape == (6,) and frames(sites["w"]) == [("a", 6, -1)]
    i, w = seed(program, KEY)()
    np.testing.assert_array_equal(w["loc"], i)


def test_nested_plates_gather_both_dims() -> None:
    table = np.arange(12.0).reshape(3, 4)

    def program() -> Any:
        with svijax.plate("a", 4, 2) as i, svijax.plate("b", 3, 2) as j:
            return i, j, svijax.param("w", table, event_dim=0)

    i, j, w = seed(program, KEY)()
    np.testing.assert_array_equal(w, table[np.asarray(j)][:, np.asarray(i)])


@pytest.mark.parametrize("rows", [np.array([4, 1]), np.array([2, 0, 1, 4, 3]), jnp.arange(5)])
def test_rows_put_in_by_a_handler(rows: Any) -> None:
    table = np.arange(5.0) * 10

    def program() -> Any:
        with svijax.plate("a", 5) as i:
            z = svijax.sample("z", dist.Normal())
            return i, svijax.param("w", table, event_dim=0), svijax.subsample(table), z

    with trace() as sites:
        i, w, data, z = seed(substitute(program, data={"a": rows}), KEY)()
    np.testing.assert_array_equal(i, rows)
    np.testing.assert_array_equal(w, table[np.asarray(rows)])
    np.testing.assert_array_equal(data, table[np.asarray(rows)])
    assert z.shape == (len(rows),)
    assert sites["z"].scale == (2.5 if len(rows) == 2 else None)


def test_rows_must_be_a_vector() -> None:
    with pytest.raises(ShapeError, match=r"its indices, which a handler put in, are no vector"):
        substitute(lambda: svijax.plate("a", 5), data={"a": np.zeros((2, 2), int)})()


# What is refused


def fails(error: type[Exception], fn: Any) -> str:
    with pytest.raises(error) as caught:
        seed(fn, KEY)()
    return str(caught.value)


def test_data_of_another_length_than_the_plate() -> None:
    def model() -> None:
        with svijax.plate("data", 5):
            svijax.sample("y", dist.Normal(np.zeros(4), 1.0), obs=np.zeros(4))

    assert fails(ShapeError, model) == (
        "program site 'y' does not fit its plate 'data'. The data has another length than the plate.\n"
        "  plates:   data (size 5, dim -1)\n"
        "  expected: 5 (or 1) at dim -1 of the batch shape\n"
        "  got:      batch shape (4,)\n"
        "  fix:      write svijax.plate('data', 4), or move dims of one element out with .to_event()."
    )

    def scalar() -> None:
        with svijax.plate("data", 5):
            svijax.sample("y", dist.Normal(), obs=np.zeros(4))

    assert fails(ShapeError, scalar) == (
        "program site 'y': the shape of the observation is not the shape of the site.\n"
        "  plates:   data (size 5, dim -1)\n"
        "  expected: (5,) = batch (5,) + event ()\n"
        "  got:      (4,)\n"
        "  fix:      give the site that shape with .expand([4]) or a plate of that size."
    )


def test_whole_data_in_a_subsampled_plate() -> None:
    def observed() -> None:
        with svijax.plate("data", 5, 2):
            svijax.sample("y", dist.Normal(), obs=np.zeros(5))

    assert fails(ShapeError, observed) == (
        "program site 'y': the shape of the observation is not the shape of the site.\n"
        "  plates:   data (size 5, subsample 2, dim -1)\n"
        "  expected: (2,) = batch (2,) + event ()\n"
        "  got:      (5,)\n"
        "  fix:      take the rows in play: svijax.subsample(observation, event_dim=0) inside the plate."
    )

    def whole() -> None:
        with svijax.plate("data", 5, 2):
            svijax.sample("y", dist.Normal(np.zeros(5), 1.0))

    assert fails(ShapeError, whole).endswith(
        "fix:      take the rows in play: svijax.subsample(data, event_dim=...) or data[indices] inside the plate."
    )


def test_subsample_of_data_of_another_length() -> None:
    def model() -> None:
        with svijax.plate("data", 5, 2):
            svijax.subsample(np.zeros((4, 3)), event_dim=1)

    assert fails(ShapeError, model) == (
        "program plate 'data': the data has another length than the plate.\n"
        "  plates:   data (size 5, subsample 2, dim -1)\n"
        "  expected: 5 at dim -2, or 2\n"
        "  got:      (4, 3)\n"
        "  fix:      give it one entry per element of the plate, or mend event_dim=1."
    )


@pytest.mark.parametrize("rows", [2, 4])
def test_a_table_must_be_whole(rows: int) -> None:
    def model() -> None:
        with svijax.plate("data", 5, 2):
            svijax.param("w", np.zeros(rows), event_dim=0)

    assert fails(ShapeError, model) == (
        "program plate 'data': param 'w' has another length than the plate.\n"
        "  plates:   data (size 5, subsample 2, dim -1)\n"
        "  expected: 5 at dim -1\n"
        f"  got:      ({rows},)\n"
        "  fix:      give it one entry per element of the plate, or mend event_dim=0."
    )


def test_one_dim_for_two_plates() -> None:
    def model() -> None:
        with svijax.plate("a", 2, dim=-1), svijax.plate("b", 3, dim=-1):
            pass

    assert fails(ModelError, model) == (
        "program plate 'b': dim -1 is taken by an enclosing plate.\n"
        "  plates:   a (size 2, dim -1)\n"
        "  expected: one plate per dim\n"
        "  got:      dim=-1\n"
        "  fix:      leave dim out, or use dim=-2."
    )


def test_a_plate_inside_itself() -> None:
    def model() -> None:
        with svijax.plate("a", 2), svijax.plate("a", 2):
            pass

    assert fails(ModelError, model) == (
        "program plate 'a' is entered inside itself.\n"
        "  plates:   a (size 2, dim -1)\n"
        "  fix:      give the inner plate another name."
    )


def test_one_plate_name_with_two_sizes() -> None:
    def model() -> None:
        svijax.plate("a", 4)
        svijax.plate("a", 5, 2)

    with pytest.raises(ModelError) as caught:
        sites_of(model)
    assert str(caught.value) == (
        "program: plate 'a' has two sizes.\n"
        "  expected: size 4, as where it first stands\n"
        "  got:      size 5, subsample_size 2\n"
        "  fix:      give the plates different names, or the same sizes."
    )
    with pytest.raises(ModelError, match="expected: size 4, subsample_size 2, as where it first stands"):
        sites_of(lambda: (svijax.plate("a", 4, 2), svijax.plate("a", 4, 3)))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            (0,),
            "the sizes do not fit.\n  expected: 1 <= subsample_size <= size\n  got:      size 0, subsample_size None",
        ),
        (
            (3, 4),
            "the sizes do not fit.\n  expected: 1 <= subsample_size <= size\n  got:      size 3, subsample_size 4",
        ),
        ((3, 0), "the sizes do not fit."),
        (
            (3.0,),
            "size must be an int.\n  got:      3.0, a float\n  fix:      take it from a shape (X.shape[0]).",
        ),
        (((3,),), "size must be an int.\n  got:      (3,), a tuple"),
        (
            (3, None, 0),
            "dim counts from the right of the batch shape.\n  expected: a negative dim, -1 for the last\n  got:      0",
        ),
    ],
)
def test_sizes_and_dims_that_are_none(arguments: Any, text: str) -> None:
    assert f"program plate 'a': {text}" in fails(ArgumentError, lambda: svijax.plate("a", *arguments))


def test_a_traced_size() -> None:
    with pytest.raises(ArgumentError) as caught:
        jax.jit(lambda n: svijax.plate("a", n).size)(3)
    assert str(caught.value) == (
        "program plate 'a': size must be a number that is known before the program runs.\n"
        "  got:      a traced value\n"
        "  fix:      take it from a shape (X.shape[0]), or pass it to the model as a Python int."
    )


def test_a_subsample_without_a_key() -> None:
    with pytest.raises(MissingKeyError) as caught:
        svijax.plate("a", 5, 2)
    assert str(caught.value) == (
        "program plate 'a' draws 2 of 5 and has no key.\n"
        "  fix:      run the program under svijax.handlers.seed(fn, rng_seed=key), or leave subsample_size out."
    )

"""Which optimisers may run on packed parameters: the verdict against what packed steps really do."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import svijax.optim as so
from svijax.optim import is_elementwise

TREE = {
    "loc": jnp.array(0.3),
    "scale": jnp.array([0.5, 1.5, -2.0]),
    "net": {"kernel": jnp.linspace(-1.0, 1.0, 12).reshape(4, 3), "bias": jnp.array([0.1, -0.2, 0.7])},
}

ELEMENTWISE = {
    "adam": lambda: optax.adam(1e-2),
    "adamw": lambda: optax.adamw(1e-2),
    "amsgrad": lambda: optax.amsgrad(1e-2),
    "sgd": lambda: optax.sgd(1e-2),
    "sgd momentum": lambda: optax.sgd(1e-2, momentum=0.9, nesterov=True),
    "rmsprop": lambda: optax.rmsprop(1e-2, centered=True, momentum=0.9),
    "lion": lambda: optax.lion(1e-2),
    "adagrad": lambda: optax.adagrad(1e-2),
    "adadelta": lambda: optax.adadelta(1e-2),
    "adam cosine": lambda: optax.adam(optax.cosine_decay_schedule(1e-2, 5)),
    "adam warmup": lambda: optax.adam(optax.warmup_cosine_decay_schedule(0.0, 1e-2, 2, 5)),
    "clip then adam": lambda: optax.chain(optax.clip(0.5), optax.adam(1e-2)),
    "hyperparameters": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=1e-2),
    "schedule free": lambda: optax.contrib.schedule_free_adamw(1e-2, warmup_steps=3),
    "a rate": lambda: 1e-2,
    "ClippedAdam": lambda: so.ClippedAdam(1e-2),
    "Momentum": lambda: so.Momentum(1e-2, 0.9),
    "RMSProp": lambda: so.RMSProp(1e-2),
    "RMSPropMomentum": lambda: so.RMSPropMomentum(1e-2),
    "Adagrad": lambda: so.Adagrad(1e-2),
}


def _names_mask(params: Any) -> Any:
    return {name: name == "scale" for name in params}


def _paths_mask(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, x: "bias" in jax.tree_util.keystr(path), params)


def _first_only(params: Any) -> Any:
    leaves, structure = jax.tree.flatten(params)
    return jax.tree.unflatten(structure, [i == 0 for i in range(len(leaves))])


WHOLE = {
    "global norm": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2)),
    "block norm": lambda: optax.chain(optax.clip_by_block_rms(0.1), optax.sgd(1e-2)),
    "lamb": lambda: optax.lamb(1e-2),
    "lars": lambda: optax.lars(1e-2),
    "adafactor": lambda: optax.adafactor(1e-2, min_dim_size_to_factor=2),
    "sm3": lambda: optax.sm3(1e-2),
    "centralized": lambda: optax.chain(optax.centralize(), optax.sgd(1e-2)),
    "polyak": lambda: optax.polyak_sgd(),
    "lbfgs": lambda: optax.lbfgs(),
    "Minimize": lambda: so.Minimize(),
    "multi_transform": lambda: optax.multi_transform(
        {"a": optax.adam(1e-2), "b": optax.sgd(1e-2)}, {"loc": "a", "scale": "b", "net": "a"}
    ),
    "labels by name": lambda: optax.multi_transform(
        {True: optax.adam(1e-2), False: optax.sgd(1e-2)}, _names_mask
    ),
    "per_site": lambda: so.per_site({"loc": "freeze"}, default=1e-2),
    "mask by name": lambda: optax.adamw(1e-2, weight_decay=0.1, mask=_names_mask),
    "mask by path": lambda: optax.adamw(1e-2, weight_decay=0.1, mask=_paths_mask),
    "mask by rank": lambda: optax.adamw(
        1e-2, weight_decay=0.1, mask=lambda params: jax.tree.map(lambda x: x.ndim > 1, params)
    ),
    "mask by place": lambda: optax.adamw(1e-2, weight_decay=0.1, mask=_first_only),
    "skip on nan": lambda: optax.apply_if_finite(optax.adam(1e-2), 3),
    "constant of one size": lambda: optax.stateless(
        lambda g, p: jax.tree.map(lambda x: x * jnp.arange(3.0), g)
    ),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_and_packed_steps_agree(name: str) -> None:
    optim = ELEMENTWISE[name]()
    assert is_elementwise(optim, TREE)
    np.testing.assert_allclose(_packed_steps(optim), _steps(optim), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("name", WHOLE)
def test_what_needs_the_whole_tree_is_not_elementwise(name: str) -> None:
    assert not is_elementwise(WHOLE[name](), TREE)


@pytest.mark.parametrize("name", ["lamb", "lars", "adafactor", "centralized", "block norm"])
def test_packing_these_would_be_wrong(name: str) -> None:
    # The verdict matters: with these the packed path is another path.
    optim = WHOLE[name]()
    assert np.abs(_packed_steps(optim) - _steps(optim)).max() > 1e-5


def test_the_answer_depends_on_the_shapes() -> None:
    optim = optax.adamw(1e-2, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p))
    assert is_elementwise(optim, {"a": jnp.ones(3), "b": jnp.ones(4)})
    assert not is_elementwise(optim, {"a": jnp.ones((3, 2))})


def test_stand_ins_and_several_dtypes() -> None:
    tree = {"a": jax.ShapeDtypeStruct((5,), jnp.float32), "b": jax.ShapeDtypeStruct((), jnp.bfloat16)}
    assert is_elementwise(optax.adam(1e-2), tree)
    assert not is_elementwise(optax.lamb(1e-2), tree)
    assert not is_elementwise(optax.adam(1e-2), {})


def test_a_traced_rate_and_traced_parameters() -> None:
    seen = []

    def step(rate: Any, x: Any) -> Any:
        seen.append(is_elementwise(optax.adam(rate), {"x": x}))
        return x

    with jax.checking_leaks():
        jax.vmap(step)(jnp.ones(3), jnp.ones((3, 2)))
    assert seen == [True]


def test_many_shapes_are_cheap() -> None:
    def shaped(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    tree = {f"layer{i}": {"k": shaped(i + 1, 7), "b": shaped(i + 1)} for i in range(60)}
    optim = optax.adam(1e-2)
    is_elementwise(optim, tree)
    start = time.perf_counter()
    assert is_elementwise(optim, tree)
    # Some 10 ms; tracing all 120 leaves takes ten times that.
    assert time.perf_counter() - start < 0.5


def _gradients(step: int, x: Any) -> Any:
    return jnp.sin(3.0 * x + step) * 2.0


def _steps(optim: Any, steps: int = 5) -> np.ndarray:
    transformation, params = so.as_transformation(optim), TREE
    state = transformation.init(params)
    for step in range(steps):
        grads = jax.tree.map(lambda x, s=step: _gradients(s, x), params)
        updates, state = transformation.update(grads, state, params, value=1.0, grad=grads, value_fn=None)
        params = optax.apply_updates(params, updates)
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(params)])


def _packed_steps(optim: Any, steps: int = 5) -> np.ndarray:
    transformation = so.as_transformation(optim)
    x = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(TREE)])
    state = transformation.init(x)
    for step in range(steps):
        grads = _gradients(step, x)
        updates, state = transformation.update(grads, state, x, value=1.0, grad=grads, value_fn=None)
        x = optax.apply_updates(x, updates)
    return np.asarray(x)

"""Checks of shapes, dtypes, transformations of functions, and copies of other shape."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._check_case import Case
from ._check_report import Fault, Unseen


def _expect(got: Any, expected: Any, what: str, fix: str) -> None:
    if got != expected:
        raise Fault(f"{what} {expected}", got, fix)


def shapes(case: Case) -> None:
    """Draws have sample_shape + batch_shape + event_shape; densities and supports lose the event axes."""
    d, batch, shape = case.d, case.batch, case.shape
    for sample in ((), (3,), (2, 3)):
        value = d.sample(case.subkey(2), sample)
        want = (*sample, *shape)
        fix = "draw sample_shape + batch_shape + event_shape: self.shape(sample_shape)."
        _expect(np.shape(value), want, f"sample(key, {sample}) of shape", fix)
        want = (*sample, *batch)
        fix = "sum the log density over the event axes; broadcast it over the batch."
        _expect(
            np.shape(d.log_prob(value)), want, f"log_prob of a value of shape {np.shape(value)} of shape", fix
        )
        fix = "state the support of a whole event: constraints.independent(base, event_dim)."
        _expect(np.shape(d.support(value)), want, "support(value) of shape", fix)
    _expect(d.support.event_dim, len(case.event), "support.event_dim", "wrap it in constraints.independent.")


def support(case: Case) -> str:
    """All draws lie in the support, and have a finite log density."""
    inside = np.asarray(case.d.support(jnp.asarray(case.draws)))
    if not inside.all():
        worst = case.draws[tuple(np.argwhere(~inside)[0])]
        share = f"{np.mean(~inside):.3g} of the draws outside, such as {np.array2string(worst, precision=6)}"
        raise Fault(f"draws in {case.d.support!r}", share, "correct the sampler or the support.")
    finite = np.isfinite(np.asarray(case.d.log_prob(jnp.asarray(case.draws))))
    if not finite.all():
        worst = case.draws[tuple(np.argwhere(~finite)[0])]
        raise Fault(
            "a finite log_prob at every draw",
            f"one that is not at {np.array2string(worst, precision=6)}",
            "give every value in the support a finite log density.",
        )
    return f"{len(case.draws):,} draws"


def dtypes(case: Case) -> None:
    """Draws and densities keep the dtype of the parameters, strongly typed."""
    d = case.d
    kind = "discrete draws are integers" if case.is_discrete else "draws have the dtype of the parameters"
    fix = "cast constants to self.dtype; jnp.asarray(x, dtype) gives strong types."
    value = d.sample(case.subkey(2))
    own = jnp.result_type(getattr(d, "dtype", value.dtype))
    _expect(jnp.result_type(value), own, f"{kind}:", fix)
    dtypes = [jnp.float32, jnp.float16] if case.is_tree and case.float_leaves else []
    for dtype in dtypes:
        small = case.cast(dtype)
        drawn = jax.eval_shape(lambda key, small=small: small.sample(key), case.key)
        want = own if case.is_discrete else jnp.dtype(dtype)
        _expect(drawn.dtype, want, f"parameters in {jnp.dtype(dtype)} and draws in", fix)
        log_prob = jax.eval_shape(small.log_prob, jax.ShapeDtypeStruct(drawn.shape, drawn.dtype))
        _expect(log_prob.dtype, jnp.dtype(dtype), f"parameters in {jnp.dtype(dtype)} and log_prob in", fix)
        if log_prob.weak_type or drawn.weak_type:
            raise Fault("strong types", "a weak type, which changes with what it meets", fix)


def _same(got: Any, expected: Any, what: str, fix: str, tolerance: float = 2e-4) -> None:
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if got.shape != expected.shape:
        raise Fault(f"{what} of shape {expected.shape}", got.shape, fix)
    if not np.allclose(got, expected, rtol=tolerance, atol=tolerance, equal_nan=True):
        place = np.unravel_index(np.argmax(np.abs(got - expected)), got.shape)
        raise Fault(f"{what} as without: {expected[place]:.7g}", f"{got[place]:.7g}", fix)


def pytree(case: Case) -> None:
    """Flattened and built again, the distribution is the same, and its leaves are arrays."""
    if not case.is_tree:
        raise Unseen("the object is no pytree, so it cannot enter jit or vmap as an argument")
    leaves, tree = jax.tree.flatten(case.d)
    again = jax.tree.unflatten(tree, leaves)
    fix = "derive from svijax.distributions.Distribution and pass all arrays to self._init."
    _expect(
        (again.batch_shape, again.event_shape), (case.batch, case.event), "after a round trip shapes", fix
    )
    _same(again.log_prob(case.few), case.d.log_prob(case.few), "log_prob after a round trip", fix)
    plain = [type(x).__name__ for x in leaves if not hasattr(x, "dtype") and not isinstance(x, (int, float))]
    if plain:
        raise Fault("leaves that are arrays", ", ".join(plain), "list what is no array in _static.")


def jit(case: Case) -> None:
    """Densities and draws are the same under ``jax.jit``."""
    fix = "use jnp functions and jnp.where; no Python branch on values."
    fn = (lambda d, x: d.log_prob(x)) if case.is_tree else (lambda d, x: case.d.log_prob(x))
    arg = case.d if case.is_tree else 0
    _same(jax.jit(fn)(arg, case.few), case.d.log_prob(case.few), "log_prob under jit", fix)
    draw = (lambda d, key: d.sample(key, (7,))) if case.is_tree else (lambda d, key: case.d.sample(key, (7,)))
    _same(jax.jit(draw)(arg, case.subkey(0)), case.few, "draws under jit", fix)


def vmap(case: Case) -> None:
    """Densities, draws and shapes are right where each leaf has one more axis, and inside ``jax.vmap``."""
    if not case.is_tree or not jax.tree.leaves(case.d):
        raise Unseen("there are no leaves to map over")
    fix = "store no shapes: derive batch_shape and event_shape from the leaves (the base class does)."
    stacked = jax.tree.map(lambda x: np.stack([np.asarray(x)] * 2), case.d)
    _expect(
        tuple(stacked.batch_shape), (2, *case.batch), "with one more axis on every leaf, batch_shape", fix
    )
    few = jnp.stack([case.few, case.few])
    want = jnp.stack([case.d.log_prob(case.few)] * 2)
    seen = []

    def one(d: Any, x: Any) -> Any:
        seen.append((tuple(d.batch_shape), tuple(d.event_shape)))
        return d.log_prob(x)

    _same(jax.vmap(one)(stacked, few), want, "log_prob under vmap", fix)
    _expect(seen[0], (case.batch, case.event), "inside vmap batch_shape and event_shape", fix)
    keys = jnp.stack([case.subkey(0)] * 2)
    _same(jax.vmap(lambda d, key: d.sample(key, (7,)))(stacked, keys), few, "draws under vmap", fix)


def copies(case: Case) -> str | None:
    """``expand``, ``to_event`` and ``mask`` have the right shapes and densities."""
    d = case.d
    if not all(hasattr(d, name) for name in ("expand", "to_event", "mask")):
        raise Unseen("the object has not expand, to_event and mask")
    fix = "leave them to svijax.distributions.Distribution, or carry all parameters over."
    want, target = d.log_prob(case.few), (2, *case.batch)
    bigger = d.expand(target)
    _expect(tuple(bigger.batch_shape), target, f"expand({target}) of batch_shape", fix)
    _expect(np.shape(bigger.sample(case.subkey(2))), (*target, *case.event), "its draws of shape", fix)
    values = jnp.broadcast_to(case.few[:, None], (7, *target, *case.event))
    _same(
        bigger.log_prob(values),
        jnp.broadcast_to(want[:, None], (7, *target)),
        "log_prob of the expanded",
        fix,
    )
    if case.batch:
        whole = d.to_event()
        _expect((whole.batch_shape, whole.event_shape), ((), case.shape), "to_event() of shapes", fix)
        total = jnp.sum(want, axis=tuple(range(1, want.ndim)))
        _same(whole.log_prob(case.few), total, "log_prob of to_event()", fix)
    mask = np.zeros(case.batch, bool)
    _same(d.mask(mask).log_prob(case.few), np.zeros(want.shape), "log_prob of what is masked", fix)
    return None

"""What each output of a traced function is computed from, by the names of its inputs.

An output has the names of all inputs that any of its operations reads. Programs inside are followed: called ones, loops
until nothing is added to what they carry, all branches of a choice. Of every other operation each output is computed
from each input. So a name may be too much and never too little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
from jax.ref import AbstractRef

from svijax.base import called_jaxpr

if TYPE_CHECKING:
    # Only for its names: importing it loads Pallas, a tenth of a second.
    from jax.extend.core import ClosedJaxpr, Jaxpr

Names = frozenset[str]
NOTHING: Names = frozenset()

_CALLS = frozenset(
    {
        "jit",
        "pjit",
        "closed_call",
        "core_call",
        "custom_jvp_call",
        "custom_vjp_call",
        "remat",
        "remat2",
        "checkpoint",
    }
)


def provenance(function: Callable[..., Any], names: Sequence[str], *inputs: Any) -> Any:
    """For each leaf of ``function(*inputs)`` the names of the inputs that it is computed from; nothing is executed.

    :param names: one for each input, an array or ``jax.ShapeDtypeStruct``; "" for one that is not asked about.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*inputs)
    reads = [frozenset({name}) if name else NOTHING for name in names]
    return jax.tree.unflatten(jax.tree.structure(shape), _closed(closed, reads))


def _closed(closed: ClosedJaxpr, reads: Sequence[Names]) -> list[Names]:
    # What comes from outside the traced function is the same whatever its inputs are.
    return _run(closed.jaxpr, [NOTHING] * len(closed.consts), reads)


def _run(jaxpr: Jaxpr, consts: Sequence[Names], reads: Sequence[Names]) -> list[Names]:
    """The names of the outputs, from those of the inputs."""
    known: dict[Any, Names] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *reads], strict=True))

    def read(atom: Any) -> Names:
        return NOTHING if hasattr(atom, "val") else known[atom]  # a literal is computed from nothing

    for eqn in jaxpr.eqns:
        reads_here = [read(atom) for atom in eqn.invars]
        known.update(zip(eqn.outvars, _apply(eqn, reads_here), strict=True))
        # Whoever is handed a reference may write into it.
        known.update({atom: union(reads_here) for atom in eqn.invars if _is_reference(atom)})
    return [read(atom) for atom in jaxpr.outvars]


def _apply(eqn: Any, reads: list[Names]) -> list[Names]:
    everything = union(reads)
    if not everything:
        return [NOTHING] * len(eqn.outvars)
    name = eqn.primitive.name
    if name not in _CALLS and any(_is_reference(atom) for atom in eqn.invars):
        return [everything] * len(eqn.outvars)
    if name == "cond":
        return _cond(eqn, reads)
    if name == "scan":
        return _scan(eqn, reads)
    if name == "while":
        return _while(eqn, reads)
    inner = called_jaxpr(eqn) if name in _CALLS else None
    if inner is not None and len(inner[0].invars) == len(reads) and len(inner[0].outvars) == len(eqn.outvars):
        return _run(inner[0], [NOTHING] * len(inner[1]), reads)
    return [everything] * len(eqn.outvars)


def _cond(eqn: Any, reads: list[Names]) -> list[Names]:
    """Each output is that of any branch, and of the choice."""
    choice, *operands = reads
    branches = [_closed(branch, operands) for branch in eqn.params["branches"]]
    return [union([choice, *outs]) for outs in zip(*branches, strict=True)]


def _scan(eqn: Any, reads: list[Names]) -> list[Names]:
    first, count = eqn.params["num_consts"], eqn.params["num_carry"]
    consts, carry, xs = reads[:first], reads[first : first + count], reads[first + count :]
    while True:
        outs = _closed(eqn.params["jaxpr"], [*consts, *carry, *xs])
        grown = [a | b for a, b in zip(carry, outs[:count], strict=True)]
        if grown == carry:
            return [*carry, *outs[count:]]
        carry = grown


def _while(eqn: Any, reads: list[Names]) -> list[Names]:
    """How often the body runs is computed from what the condition reads, and with it all that is carried."""
    first, second = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    of_test, of_body, carry = reads[:first], reads[first : first + second], reads[first + second :]
    while True:
        (test,) = _closed(eqn.params["cond_jaxpr"], [*of_test, *carry])
        outs = _closed(eqn.params["body_jaxpr"], [*of_body, *carry])
        grown = [a | b | test for a, b in zip(carry, outs, strict=True)]
        if grown == carry:
            return carry
        carry = grown


def _is_reference(atom: Any) -> bool:
    return isinstance(atom.aval, AbstractRef)


def union(sets: Sequence[Names]) -> Names:
    """All names of some sets."""
    return NOTHING.union(*sets)

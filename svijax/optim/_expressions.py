"""What a jaxpr computes, as expressions that can be compared: equal numbers for equal expressions."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from svijax.base import called_jaxpr

if TYPE_CHECKING:
    # Only for its names: importing it loads Pallas, a tenth of a second.
    from jax.extend.core import ClosedJaxpr, Jaxpr

_NAMES = (
    "abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type "
    "copy copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt imag "
    "integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg nextafter not or "
    "population_count pow real reduce_precision rem round rsqrt select_n shift_left "
    "shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh "
    "xor"
)

ELEMENTWISE = frozenset(_NAMES.split())
"""Primitives whose output entry i depends on entry i of each input, or on a scalar input."""

_INLINED = frozenset({"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"})


class NotElementwise(Exception):
    """The optimiser is not elementwise; never leaves this room."""


@dataclass(frozen=True, slots=True)
class Value:
    """One array of a jaxpr: the number of its expression, and the one leaf it depends on (None: on none)."""

    expression: int
    leaf: int | None


class Expressions:
    """Numbers for expressions, shared by all the jaxprs that are to be compared."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._held: list[Any] = []

    def intern(self, expression: Hashable) -> int:
        return self._numbers.setdefault(expression, len(self._numbers))

    def evaluate(self, closed: ClosedJaxpr, inputs: list[Value], length: int | None) -> list[Value]:
        """Values of the outputs. With ``length``, arrays of that length allow elementwise operations only.

        :raises NotElementwise: another operation on such an array, or one that mixes leaves.
        """
        consts = [self._constant(const, length) for const in closed.consts]
        return self._run(closed.jaxpr, consts, inputs, length)

    def _run(self, jaxpr: Jaxpr, consts: list[Value], inputs: list[Value], length: int | None) -> list[Value]:
        known: dict[Any, Value] = dict(
            zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *inputs], strict=True)
        )

        def read(atom: Any) -> Value:
            return self._literal(atom) if hasattr(atom, "val") else known[atom]

        for eqn in jaxpr.eqns:
            values = [read(atom) for atom in eqn.invars]
            inner = called_jaxpr(eqn) if eqn.primitive.name in _INLINED else None
            if inner is not None:
                called = [self._constant(const, length) for const in inner[1]]
                results = self._run(inner[0], called, values, length)
            else:
                results = self._apply(eqn, values, length)
            known.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _apply(self, eqn: Any, values: list[Value], length: int | None) -> list[Value]:
        if eqn.primitive.name == "broadcast_in_dim" and eqn.invars[0].aval.shape == ():
            return values[:1]
        if length is not None:
            _check_elementwise(eqn, length)
        leaves = {value.leaf for value in values if value.leaf is not None}
        if len(leaves) > 1:
            raise NotElementwise("mixes leaves")
        leaf = leaves.pop() if leaves else None
        params = tuple(sorted((name, str(value)) for name, value in eqn.params.items()))
        head = (eqn.primitive.name, params, tuple(value.expression for value in values))
        return [Value(self.intern((*head, i)), leaf) for i in range(len(eqn.outvars))]

    def _literal(self, literal: Any) -> Value:
        value = np.asarray(literal.val)
        return Value(self.intern(("literal", literal.aval.str_short(), value.tobytes())), None)

    def _constant(self, const: Any, length: int | None) -> Value:
        if length is not None and jnp.shape(const) == (length,):
            raise NotElementwise("a constant of the length of the parameters")
        # By identity, which tells a traced rate from another; it holds as long as the object is kept.
        self._held.append(const)
        return Value(self.intern(("constant", id(const))), None)


def _check_elementwise(eqn: Any, length: int) -> None:
    shapes = [getattr(atom.aval, "shape", ()) for atom in (*eqn.invars, *eqn.outvars)]
    if not any(length in shape for shape in shapes):
        return
    fits = all(shape in ((), (length,)) for shape in shapes)
    if eqn.primitive.name not in ELEMENTWISE or not fits:
        raise NotElementwise(f"applies {eqn.primitive.name} to all parameters")

"""The programs that the equations of a jaxpr call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Only for its names: importing it loads Pallas, a tenth of a second.
    from jax.extend.core import Jaxpr


def called_jaxpr(eqn: Any) -> tuple[Jaxpr, tuple[Any, ...]] | None:
    """The program that the equation calls, with its constants: a closed one has a jaxpr, an open one equations."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        found = eqn.params.get(name)
        if hasattr(found, "jaxpr"):
            return found.jaxpr, tuple(found.consts)
        if hasattr(found, "eqns"):
            return found, ()
    return None

"""Values that estimators of first derivatives hold fixed: a second derivative is an error and no wrong number."""

from __future__ import annotations

from functools import partial
from typing import Any, NoReturn

import jax
import jax.numpy as jnp

from ._errors import DerivativeError


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def no_derivative(x: Any, reason: str) -> Any:
    """x; to differentiate it raises ``DerivativeError(reason)``."""
    return x


@no_derivative.defjvp
def _refuse(reason: str, primals: tuple[Any], tangents: tuple[Any]) -> NoReturn:
    raise DerivativeError(reason)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def constant(x: Any, reason: str) -> Any:
    """``stop_gradient(x)`` in an estimator of first derivatives: their own derivatives are an error."""
    return x


@constant.defjvp
def _constant(reason: str, primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    return no_derivative(primals[0], reason), jnp.zeros_like(tangents[0])

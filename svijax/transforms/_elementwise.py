"""Bijections of single numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import (
    array_module,
    as_array,
    is_concrete,
    log_sigmoid,
    open_unit,
    softplus,
    softplus_inverse,
    sum_rightmost,
)

from . import constraints
from ._constraint import Constraint
from ._ranges import Range
from ._structured import OrderedVector
from ._transform import Transform

# There is no constraint for (lower, upper]: it is taken with its lower end.
_BETWEEN = {
    (True, True): constraints.interval,
    (False, True): constraints.interval,
    (True, False): constraints.half_open_interval,
    (False, False): constraints.open_interval,
}


class AffineTransform(Transform):
    """y = loc + scale * x, with scale of either sign; ``domain`` says what x may be."""

    _fields = ("loc", "scale", "_domain")
    loc: Any
    scale: Any

    def __init__(self, loc: Any, scale: Any, domain: Constraint = constraints.real) -> None:
        self._assign(loc=as_array(loc), scale=as_array(scale), _domain=domain)

    @property
    def domain(self) -> Constraint:
        domain: Constraint = self.__dict__["_domain"]
        return domain

    @property
    def codomain(self) -> Constraint:
        domain = self.domain
        if isinstance(domain, Range) and domain.lower is None and domain.upper is None:
            return domain
        if not isinstance(domain, Range) or not is_concrete(self.scale):
            return constraints.dependent
        signs = np.sign(np.asarray(self.scale))
        if not (np.all(signs > 0) or np.all(signs < 0)):
            return constraints.dependent
        return self._image(domain, bool(np.all(signs > 0)))

    def _image(self, domain: Range, increasing: bool) -> Constraint:
        def moved(bound: Any) -> Any:
            # loc itself, and not loc + 0 * scale, so that the image of x > 0 is exactly x > loc.
            at_zero = is_concrete(bound) and np.ndim(bound) == 0 and bound == 0
            return self.loc if at_zero else self.loc + self.scale * bound

        lower, upper = (domain.lower, domain.upper) if increasing else (domain.upper, domain.lower)
        closed = domain.closed if increasing else domain.closed[::-1]
        if upper is None:
            kind = constraints.greater_than_eq if closed[0] else constraints.greater_than
            return kind(moved(lower))
        if lower is None:
            return (constraints.less_than_eq if closed[1] else constraints.less_than)(moved(upper))
        return _BETWEEN[closed](moved(lower), moved(upper))

    @property
    def sign(self) -> Any:
        return array_module(self.scale).sign(self.scale)

    def __call__(self, x: Any) -> Any:
        return self.loc + self.scale * x

    def _inverse(self, y: Any) -> Any:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        dtype = jnp.result_type(x, self.scale)
        shape = np.broadcast_shapes(np.shape(x), np.shape(self.loc), np.shape(self.scale))
        xp = array_module(self.scale)
        return jnp.broadcast_to(xp.log(abs(xp.asarray(self.scale, dtype))), shape)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return np.broadcast_shapes(tuple(shape), np.shape(self.loc), np.shape(self.scale))

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.forward_shape(shape)


class ExpTransform(Transform):
    """y = exp(x), log |dy/dx| = x; ``domain`` says what x may be: a range, or ordered vectors."""

    _fields = ("_domain",)

    def __init__(self, domain: Constraint = constraints.real) -> None:
        self._assign(_domain=domain)

    @property
    def domain(self) -> Constraint:
        domain: Constraint = self.__dict__["_domain"]
        return domain

    @property
    def codomain(self) -> Constraint:
        domain = self.domain
        if isinstance(domain, OrderedVector):
            return constraints.positive_ordered_vector
        if not isinstance(domain, Range):
            return constraints.dependent(event_dim=domain.event_dim)
        if domain.upper is None:
            if domain.lower is None:
                return constraints.positive
            kind = constraints.greater_than_eq if domain.closed[0] else constraints.greater_than
            return kind(self._of_bound(domain.lower))
        lower = 0.0 if domain.lower is None else self._of_bound(domain.lower)
        closed = (domain.lower is not None and domain.closed[0], domain.closed[1])
        return _BETWEEN[closed](lower, self._of_bound(domain.upper))

    def _of_bound(self, bound: Any) -> Any:
        return array_module(bound).exp(bound)

    @property
    def sign(self) -> Any:
        return 1

    def __call__(self, x: Any) -> Any:
        return jnp.exp(x)

    def _inverse(self, y: Any) -> Any:
        return jnp.log(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return sum_rightmost(x, self.domain.event_dim)

    def __repr__(self) -> str:
        return f"ExpTransform({'' if self.domain == constraints.real else f'domain={self.domain!r}'})"


class SigmoidTransform(Transform):
    """y = 1 / (1 + exp(-x)), kept strictly inside (0, 1); log |dy/dx| = -softplus(x) - softplus(-x)."""

    @property
    def codomain(self) -> Constraint:
        return constraints.unit_interval

    @property
    def sign(self) -> Any:
        return 1

    def __call__(self, x: Any) -> Any:
        return open_unit(jax.nn.sigmoid(x))

    def _inverse(self, y: Any) -> Any:
        return jnp.log(y) - jnp.log1p(-y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        # softplus(-x) = softplus(x) - x: one softplus does.
        return x - 2.0 * softplus(x)


class SoftplusTransform(Transform):
    """y = log(1 + exp(x)), log |dy/dx| = -softplus(-x)."""

    @property
    def codomain(self) -> Constraint:
        return constraints.softplus_positive

    @property
    def sign(self) -> Any:
        return 1

    def __call__(self, x: Any) -> Any:
        return softplus(x)

    def _inverse(self, y: Any) -> Any:
        return softplus_inverse(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return log_sigmoid(x)


class PowerTransform(Transform):
    """y = x^exponent on the positive numbers; the exponent is not 0."""

    _fields = ("exponent",)
    exponent: Any

    def __init__(self, exponent: Any) -> None:
        self._assign(exponent=as_array(exponent))

    @property
    def domain(self) -> Constraint:
        return constraints.positive

    @property
    def codomain(self) -> Constraint:
        return constraints.positive

    @property
    def sign(self) -> Any:
        return array_module(self.exponent).sign(self.exponent)

    def __call__(self, x: Any) -> Any:
        return jnp.power(x, self.exponent)

    def _inverse(self, y: Any) -> Any:
        return jnp.power(y, 1.0 / self.exponent)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return jnp.log(jnp.abs(jnp.asarray(self.exponent, x.dtype))) + (self.exponent - 1.0) * jnp.log(x)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return np.broadcast_shapes(tuple(shape), np.shape(self.exponent))

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.forward_shape(shape)

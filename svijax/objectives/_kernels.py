"""Kernels: positive definite functions of two vectors, for objectives that compare sets of points."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, check_names, message

PairFunction = Callable[[Any, Any], Any]
"""k(x, y) of two vectors: one number."""


@dataclass(frozen=True)
class Kernel(ABC):
    """k(x, y). What it takes from the points, a bandwidth say, is a constant to derivatives."""

    @abstractmethod
    def on(self, points: Any) -> PairFunction:
        """The function of two vectors that it is for these points, (number, size)."""

    @property
    def is_scalar(self) -> bool:
        """Whether one number compares whole vectors; otherwise each entry, or group of entries, has its own."""
        return True

    def gram(self, x: Any, y: Any, points: Any) -> Any:
        """k(x_i, y_j): (number of x, number of y)."""
        function = self.on(points)
        return jax.vmap(lambda a: jax.vmap(lambda b: function(a, b))(y))(x)

    def steer(self, points: Any, drift: Any, parts: Mapping[str, slice]) -> tuple[Any, Any]:
        """(1/K Σ_j k(x_j, x_i) v_j, 1/K Σ_j ∇_{x_j} k(x_j, x_i)) for each of K points x_i with drifts v_i.

        ``parts``: which entries belong to which name.
        """
        function, count = self.on(points), points.shape[0]

        def moved(shift: Any) -> Any:
            """Σ_ij k(x_j + shift_i, x_i): its derivative at 0 is the sum over j for each i."""
            row = lambda x, s: jnp.sum(jax.vmap(lambda y: function(y + s, x))(points))  # noqa: E731
            return jnp.sum(jax.vmap(row)(points, shift))

        weights = self.gram(points, points, points)
        pull = jnp.matmul(weights.T, drift, precision=jax.lax.Precision.HIGHEST)
        return pull / count, jax.grad(moved)(jnp.zeros_like(points)) / count


@dataclass(frozen=True)
class _ByMode(Kernel):
    """A kernel of the distance, either of whole vectors ("norm") or entry by entry ("vector")."""

    mode: str = "norm"

    def __post_init__(self) -> None:
        if self.mode not in ("norm", "vector"):
            raise ArgumentError(
                message(
                    f"{type(self).__name__}: mode must be 'norm' or 'vector'.",
                    got=repr(self.mode),
                    fix="mode='norm' compares whole vectors, mode='vector' entry by entry; matrices with these on "
                    "the diagonal do the same.",
                )
            )

    @property
    def is_scalar(self) -> bool:
        return self.mode == "norm"

    def steer(self, points: Any, drift: Any, parts: Mapping[str, slice]) -> tuple[Any, Any]:
        whole = super().steer
        if self.is_scalar:
            return whole(points, drift, parts)
        column = lambda x, v: tuple(f[:, 0] for f in whole(x[:, None], v[:, None], parts))  # noqa: E731
        return jax.vmap(column, in_axes=1, out_axes=1)(points, drift)


def one_over_log(count: int) -> float:
    """1 / log(K + 1), so that Σ_j k(x_i, x_j) is about 1 (Liu and Wang 2016, section 5)."""
    return 1.0 / math.log(count + 1.0)


@dataclass(frozen=True)
class RBFKernel(_ByMode):
    """k(x, y) = exp(−‖x − y‖² / h), h = ``bandwidth_factor(K)`` · median of ‖x_i − x_j‖² over pairs of the K points.

    :param mode: "norm", or "vector" for a kernel and a bandwidth of each entry.
    :param bandwidth: h, in place of the median. :param bandwidth_factor: a function of the number of points.
    """

    _: KW_ONLY
    bandwidth: float | None = None
    bandwidth_factor: Callable[[int], float] = one_over_log

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bandwidth is not None and not 0.0 < self.bandwidth < math.inf:
            raise _bad(
                "RBFKernel: bandwidth must be positive.", self.bandwidth, "leave it out for the median."
            )

    def on(self, points: Any) -> PairFunction:
        h = self.bandwidth
        width = _median(points, self.bandwidth_factor) if h is None else h
        return lambda x, y: jnp.exp(-jnp.sum((x - y) ** 2) / width)


@dataclass(frozen=True)
class IMQKernel(_ByMode):
    """k(x, y) = (const² + ‖x − y‖²)^expon, −1 < expon < 0: the inverse multiquadric (Gorham and Mackey 2017)."""

    const: float = 1.0
    expon: float = -0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.const < math.inf:
            raise _bad("IMQKernel: const must be positive.", self.const, "write const=1.0.")
        if not -1.0 < self.expon < 0.0:
            raise _bad("IMQKernel: expon must be in (-1, 0).", self.expon, "write expon=-0.5.")

    def on(self, points: Any) -> PairFunction:
        return lambda x, y: (self.const**2 + jnp.sum((x - y) ** 2)) ** self.expon


@dataclass(frozen=True)
class LinearKernel(Kernel):
    """k(x, y) = x·y + 1: Stein forces with it fit the first two moments (Liu and Wang 2018, theorem 3.3)."""

    def on(self, points: Any) -> PairFunction:
        return lambda x, y: jnp.sum(x * y) + 1


@dataclass(frozen=True)
class FunctionKernel(Kernel):
    """k(x, y) = function(x, y), of two vectors."""

    function: PairFunction

    def on(self, points: Any) -> PairFunction:
        return self.function


@dataclass(frozen=True)
class MixtureKernel(Kernel):
    """k(x, y) = Σ_i ws_i k_i(x, y), ws_i > 0."""

    ws: tuple[float, ...]
    kernel_fns: tuple[Kernel, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ws", tuple(self.ws))
        kernels = tuple(as_kernel("MixtureKernel", k) for k in self.kernel_fns)
        object.__setattr__(self, "kernel_fns", kernels)
        if not kernels or len(kernels) != len(self.ws) or not all(0.0 < w < math.inf for w in self.ws):
            raise ArgumentError(
                message(
                    "MixtureKernel takes one positive weight for each kernel.",
                    got=f"weights {list(self.ws)} for {len(kernels)} kernels",
                    fix="write MixtureKernel([0.5, 0.5], [RBFKernel(), IMQKernel()]).",
                )
            )

    @property
    def is_scalar(self) -> bool:
        return all(kernel.is_scalar for kernel in self.kernel_fns)

    def on(self, points: Any) -> PairFunction:
        functions = [kernel.on(points) for kernel in self.kernel_fns]
        return lambda x, y: sum(w * f(x, y) for w, f in zip(self.ws, functions, strict=True))

    def steer(self, points: Any, drift: Any, parts: Mapping[str, slice]) -> tuple[Any, Any]:
        # Linear in the kernel, whatever the modes of the parts.
        found = [kernel.steer(points, drift, parts) for kernel in self.kernel_fns]
        pull, push = ([w * f[i] for w, f in zip(self.ws, found, strict=True)] for i in (0, 1))
        return jnp.sum(jnp.stack(pull), axis=0), jnp.sum(jnp.stack(push), axis=0)


@dataclass(frozen=True)
class GraphicalKernel(Kernel):
    """A kernel of its own for each name: diag(k_l(x_l, y_l)) (Wang, Zeng and Liu 2018, theorem 1).

    :param local_kernel_fns: kernels by the name of the parameter. :param default_kernel_fn: of all others.
    """

    local_kernel_fns: Mapping[str, Kernel] | tuple[tuple[str, Kernel], ...] = ()
    default_kernel_fn: Kernel = RBFKernel()

    def __post_init__(self) -> None:
        # A dictionary has no hash.
        pairs = self.local_kernel_fns
        pairs = tuple(pairs.items()) if isinstance(pairs, Mapping) else tuple(pairs or ())
        made = tuple((name, as_kernel("GraphicalKernel", kernel)) for name, kernel in pairs)
        object.__setattr__(self, "local_kernel_fns", made)
        object.__setattr__(self, "default_kernel_fn", as_kernel("GraphicalKernel", self.default_kernel_fn))

    @property
    def is_scalar(self) -> bool:
        return False

    def on(self, points: Any) -> PairFunction:
        raise ArgumentError("GraphicalKernel is no function of two whole vectors: each name has its own.")

    def steer(self, points: Any, drift: Any, parts: Mapping[str, slice]) -> tuple[Any, Any]:
        local = dict(self.local_kernel_fns)
        check_names(local, parts, "GraphicalKernel")
        pull, push = [], []
        for name, part in parts.items():
            kernel = local.get(name, self.default_kernel_fn)
            size = part.stop - part.start
            found = kernel.steer(points[:, part], drift[:, part], {name: slice(0, size)})
            pull.append(found[0])
            push.append(found[1])
        return jnp.concatenate(pull, axis=1), jnp.concatenate(push, axis=1)


def as_kernel(owner: str, kernel: Any) -> Kernel:
    """A kernel from one, or from a function of two vectors.

    :raises ArgumentError: something else.
    """
    if isinstance(kernel, Kernel):
        return kernel
    if callable(kernel) and not isinstance(kernel, type):
        return FunctionKernel(kernel)
    raise ArgumentError(
        message(
            f"{owner}: a kernel is needed.",
            expected="RBFKernel(), IMQKernel(), ... of svijax.objectives, or a function of two vectors",
            got=repr(kernel),
            fix=f"write {kernel.__name__}()." if isinstance(kernel, type) else None,
        )
    )


def _median(points: Any, factor: Callable[[int], float]) -> Any:
    """factor(K) · median of ‖x_i − x_j‖² over i < j; 1 where there is no such pair, or none apart."""
    count = points.shape[0]
    if count == 1:
        return 1.0
    fixed = jax.lax.stop_gradient(points)
    first, second = np.triu_indices(count, 1)
    width = factor(count) * jnp.median(jnp.sum((fixed[first] - fixed[second]) ** 2, axis=1))
    return jnp.where(width > 0, width, 1.0)


def _bad(summary: str, got: Any, fix: str) -> ArgumentError:
    return ArgumentError(message(summary, got=repr(got), fix=fix))

"""The base class of distributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NoReturn, Self

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, NoiseSpec, ShapeError, as_key, broadcast, draw_noise, message
from svijax.transforms import Constraint, Record, constraints

from ._parameters import check, check_axes, parameters, promote, to_common_batch


class Distribution(Record):
    """A family with its parameters: an immutable pytree whose leaves are the parameters, broadcast together.

    ``batch_shape`` follows from the leaves, so that ``jax.vmap`` over a distribution is right. Parameters
    that are not JAX arrays stay numpy arrays. A family states ``arg_constraints`` and ``support``, passes its
    parameters to ``_init``, and writes ``log_prob`` and either ``from_noise`` (with ``_noise_kind``) or
    ``_sample``. Parameters outside their constraints raise ``ParameterError`` where their values can be read;
    ``validate_args=False`` switches that off. Shapes that do not broadcast raise ``ShapeError``.
    """

    arg_constraints: ClassVar[Mapping[str, Constraint]] = parameters()
    support: Constraint = constraints.dependent
    _static: ClassVar[tuple[str, ...]] = ("_detached",)
    _keep_dtype: ClassVar[tuple[str, ...]] = ()
    # Matrices that many rows may share: one copy is held, read by ``_held``, and as a leaf it is broadcast.
    _own_batch: ClassVar[tuple[str, ...]] = ()
    _noise_kind: ClassVar[Literal["normal", "uniform"] | None] = None
    _pathwise: ClassVar[bool] = False
    _enumerable: ClassVar[bool] = False
    # The family whose KL divergences hold for this class; it does not pass to subclasses.
    _kl_as: ClassVar[type | None] = None
    # The wrappers' modules import this one, and enter themselves here.
    _wrappers: ClassVar[dict[str, Callable[..., Any]]] = {}
    _detached: bool = False

    # Identity: comparing parameters would read arrays.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if "arg_constraints" in cls.__dict__ and "_fields" not in cls.__dict__:
            cls._fields = tuple(cls.arg_constraints)
        super().__init_subclass__(**kwargs)

    def _init(self, validate_args: bool | None, **params: Any) -> None:
        """Set the parameters: promoted, checked, broadcast. None is a parameter that is not given."""
        owner = type(self).__name__
        arrays = promote(params, self._keep_dtype)
        event_dims = {name: self._event_dim_of(name) for name in arrays}
        check_axes(owner, arrays, event_dims)
        if validate_args is not False:
            for name, value in arrays.items():
                check(owner, name, value, self._constraint_of(name))
        arrays = to_common_batch(owner, arrays, event_dims, self._own_batch)
        self._assign(**{name: arrays.get(name) for name in params})
        if validate_args is not False:
            for name, constraint in self._joint_constraints().items():
                check(owner, name, getattr(self, name), constraint)

    def _constraint_of(self, name: str) -> Constraint:
        return self.arg_constraints[name.lstrip("_")]

    def _event_dim_of(self, name: str) -> int:
        return self._constraint_of(name).event_dim

    def _held(self, name: str) -> Any:
        """A parameter as it is held, which for those of ``_own_batch`` may be one for many rows."""
        return self.__dict__[name] if name in self.__dict__ else getattr(self, name)

    def _joint_constraints(self) -> dict[str, Constraint]:
        """Constraints on parameters that depend on other parameters."""
        return {}

    # Shapes

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The axes of independent draws, not identically distributed."""
        shapes = []
        for name in self._fields:
            leaf = self._held(name)
            if leaf is not None:
                shape = np.shape(leaf)
                shapes.append(shape[: len(shape) - self._event_dim_of(name)])
        return np.broadcast_shapes(*shapes)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one value."""
        return ()

    @property
    def event_dim(self) -> int:
        """The number of axes of one value."""
        return len(self.event_shape)

    def shape(self, sample_shape: Sequence[int] = ()) -> tuple[int, ...]:
        """The shape of a draw of ``sample_shape`` many."""
        return (*sample_shape, *self.batch_shape, *self.event_shape)

    @property
    def dtype(self) -> Any:
        """The dtype of draws."""
        if self.is_discrete:
            return jnp.result_type(int)
        return next(leaf.dtype for name in self._fields if (leaf := self._held(name)) is not None)

    @property
    def is_discrete(self) -> bool:
        """Whether values are integers, so that the density is a mass."""
        return self.support.is_discrete

    # Draws

    @property
    def has_rsample(self) -> bool:
        """Whether draws have pathwise derivatives in the parameters."""
        return not self._detached and self._has_pathwise()

    def _has_pathwise(self) -> bool:
        return self._pathwise or self._noise_kind is not None

    def _has_cdf_derivatives(self) -> bool:
        """Whether ``cdf`` has derivatives in all parameters: so it is where draws of single numbers have."""
        return self._has_pathwise() and not self.event_shape and type(self).cdf is not Distribution.cdf

    @property
    def has_enumerate_support(self) -> bool:
        """Whether ``enumerate_support`` lists the values."""
        return self._enumerable

    @property
    def noise_spec(self) -> NoiseSpec | None:
        """The noise that one draw of the whole batch is a function of; None where draws need a key."""
        return None if self._detached else self._noise_spec()

    def _noise_spec(self) -> NoiseSpec | None:
        kind = self._noise_kind
        return None if kind is None else NoiseSpec(kind, self.shape(), self.dtype)

    def from_noise(self, noise: Any) -> Any:
        """The draw that this noise makes; the noise may have sample axes in front."""
        self._lacks("a noise form", "draw it with sample(key)")

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        """``from_noise(noise)`` and its log density, which can be cheaper than ``log_prob`` of the draw."""
        value = self.from_noise(noise)
        return value, self.log_prob(value)

    def sample(self, key: Any, sample_shape: Sequence[int] = ()) -> Any:
        """A draw of shape ``sample_shape + batch_shape + event_shape``, with a typed or a raw key."""
        shape = tuple(sample_shape)
        spec = self._noise_spec()
        if spec is None:
            value = self._sample(as_key(key), shape)
        elif spec.size == 0:
            value = self.from_noise(np.zeros((*shape, *spec.shape), spec.dtype))
        else:
            value = self.from_noise(draw_noise(as_key(key), spec, shape))
        return jax.lax.stop_gradient(value) if self._detached else value

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        self._lacks("a sampler", "draw from another distribution on its support")

    def has_rsample_(self, flag: bool) -> Self:
        """A copy whose draws are declared not reparameterised (False), or declared so again (True)."""
        if flag and not self._has_pathwise():
            self._lacks("pathwise derivatives", "leave has_rsample False")
        return self._replace(_detached=not flag)

    # Densities and summaries

    def log_prob(self, value: Any) -> Any:
        """Log density or log mass, of shape ``sample_shape + batch_shape``."""
        raise NotImplementedError

    @property
    def mean(self) -> Any:
        """E X, of shape ``batch_shape + event_shape``."""
        self._lacks("a mean in closed form", "average draws of sample(key, (n,))")

    @property
    def variance(self) -> Any:
        """E (X - E X)^2 by entries, of shape ``batch_shape + event_shape``."""
        self._lacks("a variance in closed form", "take the variance of draws of sample(key, (n,))")

    def cdf(self, value: Any) -> Any:
        """P(X <= value)."""
        self._lacks("a cdf", "count draws of sample(key, (n,))")

    def icdf(self, q: Any) -> Any:
        """The value x with P(X <= x) = q."""
        self._lacks("an icdf", "take quantiles of draws of sample(key, (n,))")

    def log_cdf(self, value: Any) -> Any:
        """log P(X <= value)."""
        return jnp.log(self.cdf(value))

    def survival_function(self, value: Any) -> Any:
        """P(X > value)."""
        return 1 - self.cdf(value)

    def log_survival_function(self, value: Any) -> Any:
        """log P(X > value)."""
        return jnp.log(self.survival_function(value))

    def _isf(self, q: Any) -> Any:
        """The value x with P(X > x) = q, for families whose upper tail 1 - q would round."""
        return self.icdf(1 - q)

    def entropy(self) -> Any:
        """-E log p(X)."""
        self._lacks("an entropy in closed form", "average -log_prob over draws of sample(key, (n,))")

    def enumerate_support(self, expand: bool = True) -> Any:
        """All values along a new leading axis; batch axes have size 1 unless ``expand``."""
        self._lacks("an enumerable support", "draw it with sample(key)")

    def _enumerated(self, values: Any, expand: bool) -> Any:
        batch = self.batch_shape
        values = values.reshape((-1, *(1,) * len(batch)))
        return broadcast(values, (len(values), *batch)) if expand else values

    def _lacks(self, what: str, instead: str) -> NoReturn:
        raise ArgumentError(message(f"{type(self).__name__} has not {what}.", fix=f"{instead}."))

    # Copies of other shape

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        """The distribution with its parameters broadcast to ``batch_shape``."""
        new: dict[str, Any] = {}
        target = self._expandable(batch_shape)
        for name in self._fields:
            leaf = self._held(name)
            if leaf is not None and name not in self._own_batch:
                shape = np.shape(leaf)
                new[name] = broadcast(leaf, (*target, *shape[len(shape) - self._event_dim_of(name) :]))
        return self._replace(**new)

    def _expandable(self, batch_shape: Sequence[int]) -> tuple[int, ...]:
        target = tuple(int(size) for size in batch_shape)
        old = self.batch_shape
        tail = target[len(target) - len(old) :] if len(target) >= len(old) else None
        if tail is None or any(a not in (1, b) for a, b in zip(old, tail)):
            raise ShapeError(
                message(
                    f"{type(self).__name__}.expand: a batch shape can only grow.",
                    expected=f"a shape to which {old} broadcasts",
                    got=target,
                )
            )
        return target

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> Distribution:
        """The last batch axes (None: all) made part of the event."""
        n = len(self.batch_shape) if reinterpreted_batch_ndims is None else reinterpreted_batch_ndims
        return self if n == 0 else self._wrappers["independent"](self, n)

    def mask(self, mask: Any) -> Distribution:
        """The distribution with log density 0, of derivative 0, where ``mask`` is False."""
        wrapped: Distribution = self._wrappers["masked"](self, mask)
        return wrapped

    def over_steps(self, stacked: Any, length: int) -> Distribution:
        """``stacked``, this distribution with an axis in front of each leaf, with that axis first in its batch."""
        steps: Distribution = (
            stacked if self._grows_left() else self._wrappers["stacked"](stacked, self, length)
        )
        return steps

    def _grows_left(self) -> bool:
        """Whether an axis in front of each leaf is one in front of the batch: the leaves have all axes of the batch."""
        batch = self.batch_shape
        try:
            dims = [self._event_dim_of(name) for name in self._fields]
        except KeyError:
            return False
        leaves = [getattr(self, name) for name in self._fields]
        return all(
            leaf is None or (not isinstance(leaf, Record) and np.shape(leaf)[: np.ndim(leaf) - dim] == batch)
            for leaf, dim in zip(leaves, dims)
        )

    def __repr__(self) -> str:
        shapes = f"batch_shape={self.batch_shape}, event_shape={self.event_shape}"
        return f"{type(self).__name__}({shapes})"

"""KL divergences of wrappers: from those of what they hold."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from svijax.base import is_concrete, sum_rightmost

from ._delta import Delta
from ._distribution import Distribution
from ._independent import Independent
from ._kl_registry import has_kl, kl_divergence, register_kl
from ._masked import MaskedDistribution
from ._transformed import TransformedDistribution


@register_kl(Delta, Distribution)
def _delta_any(p: Delta, q: Any) -> Any:
    # Where q is 0 at the point, -(-inf).
    return p.log_density - q.log_prob(p.v)


def _split(p: Independent, q: Independent) -> tuple[Any, Any, int]:
    """The two without the axes that both have made part of the event, and their number."""
    n, m = p.reinterpreted_batch_ndims, q.reinterpreted_batch_ndims
    shared = min(n, m)
    return (
        Independent(p.base_dist, n - shared) if n > shared else p.base_dist,
        Independent(q.base_dist, m - shared) if m > shared else q.base_dist,
        shared,
    )


def _independent_pair(p: Any, q: Any) -> bool:
    return has_kl(*_split(p, q)[:2])


@register_kl(Independent, Independent, when=_independent_pair)
def _independent(p: Independent, q: Independent) -> Any:
    inner_p, inner_q, shared = _split(p, q)
    return sum_rightmost(kl_divergence(inner_p, inner_q), shared)


def _same_mask(a: Any, b: Any) -> bool:
    """Whether two masks are known to be the same."""
    if a is b:
        return True
    if not (is_concrete(a) and is_concrete(b)):
        return False
    x, y = np.asarray(a), np.asarray(b)
    return bool(np.all(x == y)) if x.shape == y.shape or 0 in (x.ndim, y.ndim) else False


def _mask_of(dist: Any) -> Any:
    return dist.mask_value if type(dist) is MaskedDistribution else True


def _base_of(dist: Any) -> Any:
    return dist.base_dist if type(dist) is MaskedDistribution else dist


def _masked_pair(p: Any, q: Any) -> bool:
    mask = _mask_of(p)
    return _same_mask(mask, _mask_of(q)) and (mask is False or has_kl(_base_of(p), _base_of(q)))


@register_kl(MaskedDistribution, MaskedDistribution, when=_masked_pair)
@register_kl(MaskedDistribution, Distribution, when=_masked_pair)
@register_kl(Distribution, MaskedDistribution, when=_masked_pair)
def _masked(p: Any, q: Any) -> Any:
    mask = _mask_of(p)
    if mask is False:
        return jnp.zeros((), jnp.result_type(float))
    value = kl_divergence(_base_of(p), _base_of(q))
    return jnp.where(mask, value, jnp.zeros((), value.dtype))


def _transformed_pair(p: Any, q: Any) -> bool:
    # Bijections are equal where their values are; those that cannot be read are equal to themselves only.
    return p.transform == q.transform and has_kl(p.base_dist, q.base_dist)


@register_kl(TransformedDistribution, TransformedDistribution, when=_transformed_pair)
def _transformed(p: TransformedDistribution, q: TransformedDistribution) -> Any:
    return kl_divergence(p.base_dist, q.base_dist)

"""KL divergences of discrete families."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ShapeError, is_concrete, log_sigmoid, message

from ._bernoulli import Bernoulli
from ._binomial import Binomial
from ._categorical import Categorical
from ._discrete_uniform import DiscreteUniform
from ._geometric import Geometric
from ._kl_numerics import excess, log_excess, safe_log
from ._kl_registry import inf_unless, register_kl
from ._multinomial import Multinomial
from ._negative_binomial import NegativeBinomial
from ._one_hot_categorical import OneHotCategorical
from ._parameters import as_float
from ._poisson import Poisson


def _log_pair(d: Any) -> tuple[Any, Any]:
    """log(probs) and log(1 - probs)."""
    if d._logits is None:
        return safe_log(d._probs), _log_rest(d._probs)
    return log_sigmoid(d._logits), log_sigmoid(-d._logits)


def _log_rest(probs: Any) -> Any:
    return jnp.where(probs < 1, jnp.log1p(-jnp.where(probs < 1, probs, 0.0)), -jnp.inf)


def _bernoulli_kl(p: Any, q: Any) -> Any:
    """Of one trial: two terms, neither of which is negative."""
    (p_one, p_none), (q_one, q_none) = _log_pair(p), _log_pair(q)
    return log_excess(p_one, q_one) + log_excess(p_none, q_none)


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Any:
    return _bernoulli_kl(p, q)


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Any:
    return excess(p.rate, q.rate)


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Bernoulli, q: Poisson) -> Any:
    one, none = _log_pair(p)
    return log_excess(one, safe_log(q.rate)) + log_excess(none, jnp.zeros_like(none))


# Counts without a bound leave the support of counts that have one.
@register_kl(Poisson, Bernoulli)
@register_kl(Poisson, Binomial)
def _unbounded_bounded(p: Poisson, q: Any) -> Any:
    shape = np.broadcast_shapes(p.batch_shape, q.batch_shape)
    rate = jnp.broadcast_to(p.rate, shape)
    return inf_unless(rate == 0, -jnp.broadcast_to(_log_none(q), shape).astype(rate.dtype))


def _log_none(q: Any) -> Any:
    """log of the probability of no success."""
    count = as_float(getattr(q, "total_count", 1), jnp.result_type(float))
    log_rest = _log_pair(q)[1]
    return jnp.where(count == 0, 0.0, jnp.where(count == 0, 1.0, count) * log_rest)


def _fixed_counts(p: Any, q: Any) -> bool:
    """Whether no count of p is smaller than q's: with fewer trials than q the divergence has no closed form."""
    a, b = p.total_count, q.total_count
    return a is b or (is_concrete(a) and is_concrete(b) and bool(np.all(np.asarray(a) >= np.asarray(b))))


@register_kl(Binomial, Binomial, when=_fixed_counts)
def _binomial(p: Binomial, q: Binomial) -> Any:
    trial = _bernoulli_kl(p, q)
    value = as_float(p.total_count, trial.dtype) * trial
    outside = (p.total_count > q.total_count) & (_log_pair(p)[0] > -jnp.inf)
    return inf_unless(~outside, value)


def _log_probs(d: Any) -> Any:
    return safe_log(d._probs) if d._logits is None else jax.nn.log_softmax(d._logits, axis=-1)


def categorical_kl(p: Any, q: Any) -> Any:
    """Sum over the categories of terms of which none is negative."""
    return jnp.sum(log_excess(_log_probs(p), _log_probs(q)), axis=-1)


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> Any:
    if p._size != q._size:
        raise ShapeError(
            message(
                f"KL({type(p).__name__} || {type(q).__name__}): the two have unlike numbers of categories.",
                got=f"{p._size} and {q._size}",
            )
        )
    return categorical_kl(p, q)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p: OneHotCategorical, q: OneHotCategorical) -> Any:
    return categorical_kl(p, q)


def _same_counts(p: Any, q: Any) -> bool:
    a, b = p.total_count, q.total_count
    return a is b or (is_concrete(a) and is_concrete(b) and bool(np.all(np.asarray(a) == np.asarray(b))))


@register_kl(Multinomial, Multinomial, when=_same_counts)
def _multinomial(p: Multinomial, q: Multinomial) -> Any:
    trial = categorical_kl(p, q)
    return as_float(p.total_count, trial.dtype) * trial


@register_kl(Geometric, Geometric)
def _geometric(p: Geometric, q: Geometric) -> Any:
    # One trial for each of the 1 / p that are made on average.
    return _bernoulli_kl(p, q) / p.probs


@register_kl(NegativeBinomial, NegativeBinomial, when=_same_counts)
def _negative_binomial(p: NegativeBinomial, q: NegativeBinomial) -> Any:
    # probs is of a trial that is counted, and trials end with the total_count-th that is not.
    return p.total_count * _bernoulli_kl(p, q) * jnp.exp(-_log_pair(p)[1])


@register_kl(DiscreteUniform, DiscreteUniform)
def _discrete_uniform(p: DiscreteUniform, q: DiscreteUniform) -> Any:
    inside = (p.low >= q.low) & (p.high <= q.high)
    dtype = jnp.result_type(float)
    sizes = [as_float(d.high - d.low + 1, dtype) for d in (p, q)]
    return inf_unless(inside, jnp.log(sizes[1] / sizes[0]))

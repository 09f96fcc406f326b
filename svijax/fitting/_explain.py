"""Where a step went wrong: one step outside the compiled loop, site by site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from svijax.base import site_key
from svijax.density import bind, log_density, mutable_state, run_guide, run_model
from svijax.effects import Sample, no_handlers

from ._feed import Feed, call_at
from ._loop import next_draws
from ._state import SVIState, from_view

if TYPE_CHECKING:
    from ._svi import SVI


@dataclass(frozen=True)
class SiteReport:
    """log p and log q of a site, and the range of its value, in one replayed step."""

    name: str
    log_p: float | None
    log_q: float | None
    low: float
    high: float
    bad: int


@dataclass(frozen=True)
class ParamReport:
    """Norm of the gradient of a parameter (unconstrained), and the range of its constrained value."""

    name: str
    gradient_norm: float
    low: float
    high: float


@dataclass(frozen=True)
class Explanation:
    """One replayed step: its loss, its sites, its parameters. ``str()`` is a table."""

    step: int
    loss: float
    sites: tuple[SiteReport, ...]
    params: tuple[ParamReport, ...]

    @property
    def suspects(self) -> tuple[str, ...]:
        """Sites and parameters with something that is not finite."""
        sites = [s.name for s in self.sites if s.bad or not _finite(s.log_p) or not _finite(s.log_q)]
        return (*sites, *(p.name for p in self.params if not np.isfinite(p.gradient_norm)))

    def __str__(self) -> str:
        head = f"step {self.step}: loss {self.loss:.6g}"
        found = f"not finite: {', '.join(self.suspects)}" if self.suspects else "everything is finite"
        names = [*(s.name for s in self.sites), *(p.name for p in self.params)]
        width = max(map(len, names), default=4)
        lines = [head, found, "", f"{'site':<{width}}  {'log p':>12}  {'log q':>12}  value range"]
        for s in self.sites:
            lines.append(
                f"{s.name:<{width}}  {_number(s.log_p):>12}  {_number(s.log_q):>12}  {_range(s.low, s.high)}"
                + (f"  ({s.bad} not finite)" if s.bad else "")
            )
        lines += ["", f"{'param':<{width}}  {'|gradient|':>12}  value range"]
        for p in self.params:
            lines.append(f"{p.name:<{width}}  {_number(p.gradient_norm):>12}  {_range(p.low, p.high)}")
        return "\n".join(lines)


def explain(svi: SVI, state: SVIState, feed: Feed) -> Explanation:
    """Replay the state's next step op by op and report per site and per parameter."""
    with no_handlers():
        free = state.free
        call = call_at(feed, state.key, state.step)
        args, kwargs = call.args, call.kwargs
        guide, model = bind(call.bind(svi.guide), free), bind(call.bind(svi.model), free)
        problem = svi.problem().at(call).laid_out(state)
        draws = next_draws(problem, state)
        result, view = problem.differentiate(state, draws)
        noise = problem.noise.split(draws.normal[0], draws.uniform[0])
        key = jax.random.fold_in(draws.key, 0)
        guide_trace = run_guide(
            guide, args, kwargs, key=key, plate_key=draws.key, noise_values=noise, state=state.mutable
        )
        mutable = {**state.mutable, **mutable_state(guide_trace)}
        model_key = site_key(key, "model")
        model_trace = run_model(
            model, args, kwargs, guide_trace, key=model_key, plate_key=draws.key, state=mutable
        )
    log_p, log_q = log_density(model_trace), log_density(guide_trace)
    gradient = from_view(view, free)
    values = {
        s.name: s.value for t in (guide_trace, model_trace) for s in t.values() if isinstance(s, Sample)
    }
    names = dict.fromkeys((*guide_trace, *model_trace))
    sites = [_site(n, log_p.get(n), log_q.get(n), values.get(n)) for n in names if n in log_p or n in log_q]
    params = [_param(n, gradient[n], value) for n, value in state.params.items()]
    return Explanation(int(state.step), float(result.loss), tuple(sites), tuple(params))


def _site(name: str, log_p: Any, log_q: Any, value: Any) -> SiteReport:
    array = np.asarray(value, dtype=float) if value is not None else np.zeros(0)
    low, high = _extent(array)
    return SiteReport(name, _float(log_p), _float(log_q), low, high, int((~np.isfinite(array)).sum()))


def _param(name: str, gradient: Any, value: Any) -> ParamReport:
    norm = float(np.sqrt(sum(np.sum(np.asarray(g, float) ** 2) for g in jax.tree.leaves(gradient))))
    leaves = [np.ravel(np.asarray(leaf, float)) for leaf in jax.tree.leaves(value)]
    return ParamReport(name, norm, *_extent(np.concatenate(leaves)))


def _extent(array: np.ndarray) -> tuple[float, float]:
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)


def _float(x: Any) -> float | None:
    return None if x is None else float(x)


def _finite(x: float | None) -> bool:
    return x is None or bool(np.isfinite(x))


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:.5g}"


def _range(low: float, high: float) -> str:
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"

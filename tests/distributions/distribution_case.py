"""One row of the table of distributions: a family with parameters, and the truth about it.

A row module ``cases_*.py`` holds ``CASES = {"name": DistCase(...), ...}``; ``distribution_cases.py`` merges them, and
each test of a property is crossed with all rows. What a distribution has must be in its reference, and what its
reference has it must have, unless the row names it in ``lacks``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

QUANTILES = np.array([1e-3, 0.02, 0.2, 0.5, 0.8, 0.98, 0.999])


@dataclass(frozen=True)
class Reference:
    """Truths in double precision: functions of numpy arrays, and the values of the moments; None: not known."""

    log_prob: Callable[[Any], Any] | None = None
    cdf: Callable[[Any], Any] | None = None
    icdf: Callable[[Any], Any] | None = None
    mean: Any = None
    variance: Any = None
    entropy: Any = None
    log_cdf: Callable[[Any], Any] | None = None
    log_survival_function: Callable[[Any], Any] | None = None


def reference_of(truth: Any) -> Reference:
    """A ``Reference`` as it is, or that of one of SciPy's frozen distributions."""
    if isinstance(truth, Reference):
        return truth
    density = getattr(truth, "logpmf", None) or truth.logpdf
    if not hasattr(truth, "ppf"):
        moments = {
            "mean": _called(truth, "mean"),
            "variance": _called(truth, "var"),
            "entropy": _called(truth, "entropy"),
        }
        return Reference(log_prob=density, **moments)
    return Reference(
        density,
        truth.cdf,
        truth.ppf,
        truth.mean(),
        truth.var(),
        truth.entropy(),
        truth.logcdf,
        truth.logsf,
    )


def _called(truth: Any, name: str) -> Any:
    value = getattr(truth, name, None)
    return value() if callable(value) else value


@dataclass(frozen=True)
class DistCase:
    """``family(**params, **fixed)`` and its truth ``reference(**params, **fixed)``, both by keyword.

    ``params`` have derivatives, ``fixed`` (counts, sizes, options) have none. A reference is one of SciPy's frozen
    distributions or a ``Reference``.
    """

    family: Callable[..., Any]
    params: Mapping[str, Any]
    reference: Callable[..., Any]
    bump: str = ""  # the parameter whose change the draws must show; "": none, and the row says why
    change: float = 0.02  # the relative change that 10^6 draws can see
    bump_to: Any = None  # the changed value, where it is no multiple of the parameter's
    fixed: Mapping[str, Any] = field(default_factory=dict)
    values: Any = None  # observations; quantiles of the reference, unless given
    outside: Any = ()  # values of density zero
    edges: Any = ()  # values at which log density and derivatives are finite, besides ``values``
    lacks: frozenset[str] | tuple[str, ...] = ()  # what the reference knows and the family does not offer
    # (statistic of a draw of shape (n, *event), its law) for families whose draws are no single numbers:
    # marginals(**params, **fixed) is a list of such pairs; each law has ``cdf`` and ``ppf`` or is a Reference.
    marginals: Callable[..., Any] | None = None
    # A reparameterised draw moves along its quantile ("quantile"), or does so on the average ("expectation").
    pathwise: str = "quantile"
    sharp: bool = True  # whether 2 x 10^5 draws see 2 % in the derivative of an expectation along ``bump``
    slopes: bool = True  # whether the reference's log density can be differentiated by differences
    double: float = 1e-10  # relative error of the log density in float64
    single: float = 1e-5  # the same in float32, with a sentence in the row where it is larger
    moments: float = 1e-9  # relative error of moments and entropy in float64
    inverse: float = 1e-9  # relative error of cdf and icdf in float64
    atom: bool = False  # whether a continuous law has a mass at the lower end of its support
    half: bool = True  # whether float16 and bfloat16 parameters are taken

    def make(self, **changes: Any) -> Any:
        return self.family(**{**self.params, **self.fixed, **changes})

    def truth(self, **changes: Any) -> Reference:
        return reference_of(self.reference(**{**self.params, **self.fixed, **changes}))

    @property
    def discrete(self) -> bool:
        return bool(self.make().is_discrete)

    @property
    def scalar(self) -> bool:
        return bool(self.make().event_shape == ())

    def observations(self) -> Any:
        """Values from one tail to the other; of single numbers as many in each row, so that rows share programs."""
        if self.values is not None:
            values = np.asarray(self.values)
            few = self.scalar and values.shape < QUANTILES.shape
            return np.resize(values, QUANTILES.shape) if few else values
        icdf = self.truth().icdf
        if icdf is None:
            raise ValueError("a row whose reference has no icdf needs values")
        return icdf(QUANTILES).astype(int) if self.discrete else icdf(QUANTILES)

    @property
    def bumped(self) -> Any:
        """The changed value of the parameter ``bump``."""
        if self.bump_to is not None:
            return np.asarray(self.bump_to, np.float64)
        return (1 + self.change) * np.asarray(self.params[self.bump], np.float64)

    @property
    def has_laws(self) -> bool:
        truth = self.truth()
        return self.marginals is not None or (self.scalar and (self.discrete or truth.icdf is not None))

    def laws(self, **changes: Any) -> list[tuple[Callable[[Any], Any], Reference]]:
        """Statistics of draws with their laws; the draw itself where it is a single number."""
        if self.marginals is not None:
            pairs = self.marginals(**{**self.params, **self.fixed, **changes})
            return [(statistic, _law(law)) for statistic, law in pairs]
        return [(lambda draw: draw, self.truth(**changes))]


def _law(law: Any) -> Reference:
    if isinstance(law, Reference):
        return law
    return Reference(getattr(law, "logpmf", None), law.cdf, law.ppf)


def single_precision(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as float32 holds them, in float64."""
    return {name: np.asarray(np.float32(value), np.float64)[()] for name, value in params.items()}

"""What a report on gradients says, as numbers and as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from svijax.base import align

FALSE_ALARMS = 1e-3
"""How often a right estimator is called biased, over all its elements together."""

_MARGIN = 2.0
"""How far beyond its limit z must be to be no matter of chance: gradients have heavier tails than a normal."""


_ROUNDING = 64.0
"""Roundings of the typical gradient that a mean may be off without being biased."""


@dataclass(frozen=True, eq=False)
class Gradient:
    """The gradient in one unconstrained parameter (one leaf of it), over ``count`` draws, element by element.

    ``eps``: the rounding of its dtype. ``z``: ``against`` the reference; None without one.
    """

    name: str
    mean: np.ndarray
    variance: np.ndarray
    count: int
    eps: float
    z: np.ndarray | None = None

    @property
    def error(self) -> np.ndarray:
        """The standard error of ``mean``."""
        return np.sqrt(self.variance / self.count)

    def against(self, other: Gradient) -> np.ndarray:
        """(mean − the other's) / standard error, element by element."""
        gap, error = self.mean - other.mean, self.gap_error(other)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where((gap == 0.0) & (error == 0.0), 0.0, gap / error)

    def gap_error(self, other: Gradient) -> np.ndarray:
        """The standard error of the difference of two means.

        A mean is known to some roundings of the typical gradient at the best. And an event that no draw has shown may
        have a probability of 3 / count (the rule of three): a rare class, say, in whose element all draws were alike.
        """
        square = np.zeros(np.shape(self.mean))
        for g in (self, other):
            typical = np.max(g.mean**2 + g.variance, initial=0.0)
            unseen = (3.0 / g.count) ** 2 * np.max(g.variance, initial=0.0)
            square = square + g.error**2 + unseen + (_ROUNDING * g.eps) ** 2 * typical
        return np.sqrt(square)

    @property
    def total_variance(self) -> float:
        """Σ of the variances of the elements."""
        return float(self.variance.sum())

    @property
    def signal_to_noise(self) -> float:
        """|mean| / √(Σ variance), of one gradient; below 1/√n a mean of n cannot be told from 0."""
        return _ratio(float(np.sqrt((self.mean**2).sum())), math.sqrt(self.total_variance))

    @property
    def worst(self) -> tuple[tuple[int, ...], float]:
        """(index, z) of the element that lies furthest from the reference."""
        if self.z is None or not self.z.size:
            return (), 0.0
        index = np.unravel_index(int(np.argmax(np.nan_to_num(np.abs(self.z), nan=np.inf))), self.z.shape)
        return tuple(int(i) for i in index), float(self.z[index])

    def entry(self, index: tuple[int, ...]) -> str:
        """What an element is called."""
        return f"{self.name}[{','.join(map(str, index))}]" if index else self.name


@dataclass(frozen=True, eq=False)
class EstimatorGradients:
    """What one estimator gave: its gradients by parameter, its loss, and how it compares with the reference.

    ``sites``: by guide site, the names of parameters of which its distribution alone reads. ``seconds``: of one
    gradient, in batches, indicative. ``reference``: whose mean the z are taken against; ``resolution``: the smallest
    bias, as a share of the reference's gradient, that would have been seen.
    """

    label: str
    objective: Any
    params: Mapping[str, Gradient]
    sites: Mapping[str, tuple[str, ...]]
    loss: float
    loss_error: float
    seconds: float
    num_samples: int
    num_nonfinite: int
    reference: str | None = None
    given_reference: bool = False
    resolution: float = math.nan

    @property
    def total_variance(self) -> float:
        """Σ of the variances of all elements of all parameters."""
        return sum(g.total_variance for g in self.params.values())

    @property
    def signal_to_noise(self) -> float:
        """|mean| / √(Σ variance) over all parameters."""
        return self._over(self.params)

    @property
    def worst(self) -> tuple[str, float]:
        """(name of the element, z) that lies furthest from the reference."""
        found = [(g.entry(g.worst[0]), g.worst[1]) for g in self.params.values()]
        return max(
            found, key=lambda pair: abs(pair[1]) if pair[1] == pair[1] else math.inf, default=("", 0.0)
        )

    @property
    def limit(self) -> float:
        """The |z| that one right estimator in a thousand exceeds somewhere."""
        elements = sum(g.mean.size for g in self.params.values())
        return NormalDist().inv_cdf(1.0 - 0.5 * FALSE_ALARMS / max(elements, 1))

    @property
    def biased(self) -> bool:
        """Whether its mean is not that of the reference, beyond what chance explains."""
        return self.reference is not None and not abs(self.worst[1]) <= self.limit + _MARGIN

    @property
    def verdict(self) -> str:
        """What z says, in words."""
        if self.num_nonfinite:
            return f"{self.num_nonfinite:,} of {self.num_samples:,} gradients are not finite"
        if self.reference is None:
            return "nothing to compare its mean with: no other estimator here has this loss"
        entry, z = self.worst
        where = f"z = {z:.1f} at {entry}"
        if self.biased:
            if self.given_reference:
                return f"biased: {where}, against {self.reference}"
            return f"its mean is not that of {self.reference}: {where}; one of the two is biased"
        if abs(z) > self.limit:
            return f"doubtful: {where}, against {self.reference}; take more samples"
        shown = _percent(self.resolution)
        if self.resolution > 1.0:
            return f"too noisy to tell (a bias below {shown} does not show), against {self.reference}"
        return f"no bias seen ({shown} would show), against {self.reference}"

    def at_site(self, site: str) -> tuple[float, float]:
        """(Σ variance, signal to noise) over the parameters of one guide site."""
        own = {name: self.params[name] for name in self.sites[site]}
        return sum(g.total_variance for g in own.values()), self._over(own)

    def _over(self, params: Mapping[str, Gradient]) -> float:
        square = sum(float((g.mean**2).sum()) for g in params.values())
        return _ratio(math.sqrt(square), math.sqrt(sum(g.total_variance for g in params.values())))

    def to_dict(self) -> dict[str, Any]:
        """The numbers, without the single elements."""
        params = {
            name: {
                "mean_norm": float(np.sqrt((g.mean**2).sum())),
                "variance": g.total_variance,
                "signal_to_noise": g.signal_to_noise,
                "worst_z": g.worst[1] if g.z is not None else None,
            }
            for name, g in self.params.items()
        }
        sites = {
            s: dict(zip(("variance", "signal_to_noise"), self.at_site(s), strict=True)) for s in self.sites
        }
        return {
            "variance": self.total_variance,
            "signal_to_noise": self.signal_to_noise,
            "loss": self.loss,
            "loss_error": self.loss_error,
            "seconds": self.seconds,
            "worst_z": self.worst[1] if self.reference is not None else None,
            "reference": self.reference,
            "verdict": self.verdict,
            "params": params,
            "sites": sites,
        }


@dataclass(frozen=True, eq=False)
class GradientReport:
    """Gradients of several estimators at one state, by label; the first is the objective of the fit.

    ``str`` is a table, ``report[label]`` one estimator's numbers, ``to_dict()`` all of them but single elements.
    """

    estimators: Mapping[str, EstimatorGradients]
    num_samples: int
    step: int

    def __getitem__(self, label: str) -> EstimatorGradients:
        return self.estimators[label]

    def to_dict(self) -> dict[str, Any]:
        """The numbers by label."""
        return {label: found.to_dict() for label, found in self.estimators.items()}

    def table(self) -> str:
        """One line for each estimator."""
        header = ["estimator", "variance", "|mean|/sd", "loss", "±", "us", "variance x us", "worst z"]
        rows = []
        for label, e in self.estimators.items():
            z = f"{e.worst[1]:.1f}" if e.reference is not None else ""
            us = 1e6 * e.seconds
            cells = (e.total_variance, e.signal_to_noise, e.loss, e.loss_error, us, e.total_variance * us)
            rows.append([label, *map(number, cells), z])
        return align(header, rows)

    def param_table(self, max_params: int | None = 12) -> str:
        """By parameter; of more than ``max_params`` those where the first estimator varies most (None: all)."""
        first = next(iter(self.estimators.values()))
        names = list(first.params)
        if max_params is not None and len(names) > max_params:
            largest = sorted(names, key=lambda n: -first.params[n].total_variance)[:max_params]
            names = [name for name in names if name in largest]
        body: list[list[str]] = []
        for name in names:
            shape = first.params[name].mean.shape
            body.append([f"{name} {shape}" if shape else name])
            for label, e in self.estimators.items():
                g = e.params[name]
                mean = float(g.mean) if not shape else float(np.sqrt((g.mean**2).sum()))
                error = float(np.sqrt((g.error**2).sum()))
                z = f"{g.worst[1]:.1f}" if g.z is not None else ""
                cells = (mean, error, g.total_variance, g.signal_to_noise)
                body.append([f"  {label}", *map(number, cells), z])
        if len(names) < len(first.params):
            body.append([f"... {len(first.params) - len(names):,} more parameters, which vary less"])
        return align(["parameter", "mean", "±", "variance", "|mean|/sd", "worst z"], body)

    def site_table(self) -> str:
        """By guide site, over the parameters that its distribution alone reads; "" where there are none."""
        first = next(iter(self.estimators.values()))
        body: list[list[str]] = []
        for site, names in first.sites.items():
            body.append([f"{site}: {', '.join(names)}"])
            for label, e in self.estimators.items():
                body.append([f"  {label}", *map(number, e.at_site(site))])
        return align(["guide site", "variance", "|mean|/sd"], body) if body else ""

    def __str__(self) -> str:
        head = f"{self.num_samples:,} gradients of each estimator at step {self.step:,}"
        width = max(map(len, self.estimators))
        verdicts = [f"{label.ljust(width)}  {e.verdict}" for label, e in self.estimators.items()]
        notes = [
            "variance: summed over the elements; mean: of a vector its length; us: microseconds of one gradient,",
            "in batches and in this one run: indicative. Below "
            f"{1 / math.sqrt(self.num_samples):.2g} |mean|/sd is noise. Parameters are unconstrained.",
        ]
        parts = [
            head,
            self.table(),
            "\n".join(verdicts),
            self.param_table(),
            self.site_table(),
            "\n".join(notes),
        ]
        return "\n\n".join(part for part in parts if part)

    __repr__ = __str__


def number(value: float) -> str:
    """Four significant digits."""
    if value == 0.0 or not math.isfinite(value):
        return f"{value:g}"
    size = math.floor(math.log10(abs(value)))
    return f"{value:.{max(3 - size, 0)}f}" if -4 <= size < 7 else f"{value:.3e}"


def _ratio(mean: float, sd: float) -> float:
    if sd == 0.0:
        return math.inf if mean else math.nan
    return mean / sd


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1.0 else f"{100 * share:,.0f} %"

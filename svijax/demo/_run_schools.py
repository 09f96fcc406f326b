"""The demonstration on eight schools."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax

from svijax.fitting import SVI
from svijax.objectives import Trace_ELBO
from svijax.plots import Interval, draw_intervals, draw_losses, new_figure, save
from svijax.posterior import Summary

from ._eight_schools import EFFECTS, STANDARD_ERRORS, ExactPosterior, eight_schools, exact_posterior
from ._options import Options, make_guide
from ._report import best_chain, heading, quality, seconds

DRAWS = 20_000
SITES = ("mu", "tau", "log_tau", "theta")


def run_schools(options: Options) -> None:
    """Fit, and print the posterior beside the exact one."""
    guide = make_guide(options, "AutoNormal", eight_schools)
    steps = options.steps or 50_000
    rate = optax.cosine_decay_schedule(1e-2, steps)
    svi = SVI(eight_schools, guide, optax.adam(rate), Trace_ELBO())
    data = STANDARD_ERRORS, EFFECTS
    print(f"eight schools, non-centred; guide {type(guide).__name__}; {steps:,} steps", flush=True)
    fits = svi.run(jax.random.key(options.seed), steps, *data, num_chains=options.chains)
    fit = best_chain(fits)
    exact = exact_posterior()
    summary = fit.posterior.summary(DRAWS, sites=SITES, deterministic=True)

    heading("posterior beside the exact one, by quadrature (theta: the effect of each school)")
    print(with_exact(summary, exact).table(max_rows=None))
    print()
    print(quality(summary, bound=f" (log evidence, which bounds it: {exact.log_evidence:.4f})"))
    print(seconds(fits))
    if options.plot:
        draw(options.plot, fits.losses, summary, exact)


def with_exact(summary: Summary, exact: ExactPosterior) -> Summary:
    """The summary with the exact mean, sd and quantiles on its right."""
    for column in ("mean", "sd", "5 %", "95 %"):
        values: dict[str, list[float]] = {}
        for name, marginal in exact.marginals.items():
            values.setdefault(name.split("[")[0], []).append(marginal.columns[column])
        arrays = {name: np.squeeze(x) for name, x in values.items()}
        summary = summary.beside(f"exact {column}" if column == "mean" else f"{column} ", arrays)
    return summary


def draw(path: str, losses: Any, summary: Summary, exact: ExactPosterior) -> None:
    """Losses, and intervals beside the exact ones."""
    figure, (left, right) = new_figure(10, 4.6, ratios=(1, 1.25))
    draw_losses(left, losses, bound=-exact.log_evidence, bound_label="−log evidence")
    ours = [Interval(r.name, r.values["mean"], r.values["5 %"], r.values["95 %"]) for r in summary.rows]
    theirs = [Interval(name, m.mean, m.low, m.high) for name, m in exact.marginals.items()]
    draw_intervals(right, ours, theirs, xlabel="posterior mean and 90 % interval")
    figure.suptitle("Eight schools", fontsize=12)
    print(f"picture: {save(figure, path)}")

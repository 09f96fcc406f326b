"""The demonstration on eight schools."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax

from svijax.fitting import SVI, SVIRunResult
from svijax.objectives import Trace_ELBO
from svijax.plots import Interval, draw_intervals, draw_losses, new_figure, save
from svijax.posterior import Predictive

from ._eight_schools import (
    EFFECTS,
    SCHOOLS,
    STANDARD_ERRORS,
    eight_schools,
    exact_posterior,
)
from ._marginal import Marginal, of_draws
from ._options import Options, make_guide
from ._report import best_chain, heading, quality, seconds, table

DRAWS = 20_000


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
    found = marginals(fit)

    heading("posterior: fitted, and exact by quadrature (theta: effect of each school, in points)")
    columns = ["mean", "sd", "5 %", "95 %"]
    rows = [[name, *found[name].cells, "", *exact.marginals[name].cells] for name in found]
    print(table(["site", *columns, "|", *(f"exact {c}" if c == "mean" else c for c in columns)], rows))
    print()
    print(quality(svi, fit, *data, bound=f" (log evidence, its bound: {exact.log_evidence:.4f})"))
    print(seconds(fits))
    if options.plot:
        draw(options.plot, fits, found, exact.marginals, exact.log_evidence)


def marginals(fit: SVIRunResult) -> dict[str, Marginal]:
    """Of mu, tau, log tau and the schools' effects, from draws of the fitted guide."""
    draws = fit.posterior.sample(DRAWS)
    effects = Predictive(eight_schools, posterior_samples=draws)(jax.random.key(0), STANDARD_ERRORS)["theta"]
    columns: dict[str, Any] = {"mu": draws["mu"], "tau": draws["tau"], "log tau": np.log(draws["tau"])}
    columns |= {f"theta[{school}]": effects[:, j] for j, school in enumerate(SCHOOLS)}
    return {name: of_draws(values) for name, values in columns.items()}


def draw(
    path: str,
    fits: SVIRunResult,
    found: dict[str, Marginal],
    exact: dict[str, Marginal],
    log_evidence: float,
) -> None:
    """Losses, and intervals beside the exact ones."""
    figure, (left, right) = new_figure(10, 4.6, ratios=(1, 1.25))
    draw_losses(left, fits.losses, bound=-log_evidence, bound_label="−log evidence")
    ours, theirs = (
        [Interval(name, m.mean, m.low, m.high) for name, m in part.items()] for part in (found, exact)
    )
    draw_intervals(right, ours, theirs, xlabel="posterior mean and 90 % interval")
    figure.suptitle("Eight schools", fontsize=12)
    print(f"picture: {save(figure, path)}")

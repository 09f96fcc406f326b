"""The demonstration of logistic regression on breast cancer data."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax

from svijax.fitting import SVI
from svijax.objectives import Trace_ELBO
from svijax.plots import Interval, draw_intervals, draw_losses, new_figure, save
from svijax.posterior import Summary

from ._data import breast_cancer
from ._logistic import held_out, logistic_regression
from ._marginal import Marginal
from ._options import Options, make_guide
from ._report import best_chain, heading, quality, seconds, table

DRAWS = 10_000
SHOWN = 10


def run_logistic(options: Options) -> None:
    """Fit, and print the strongest weights and the scores on the rows held out."""
    data = breast_cancer()
    guide = make_guide(options, "AutoMultivariateNormal", logistic_regression)
    steps = options.steps or 10_000
    rate = optax.cosine_decay_schedule(1e-2, steps)
    svi = SVI(logistic_regression, guide, optax.adam(rate), Trace_ELBO())
    rows = len(data.y_train), len(data.y_test)
    print(
        f"logistic regression, breast cancer: {rows[0]} rows to fit, {rows[1]} held out; "
        f"guide {type(guide).__name__}; {steps:,} steps",
        flush=True,
    )
    train = data.x_train, data.y_train
    fits = svi.run(jax.random.key(options.seed), steps, *train, num_chains=options.chains)
    fit = best_chain(fits)
    draws = fit.posterior.sample(DRAWS)
    summary = fit.posterior.summary(DRAWS)
    scores = held_out(draws["intercept"], draws["weights"], data.x_test, data.y_test)
    found = strongest(summary, data.columns)

    heading(f"the {SHOWN} strongest of {len(found)} weights (per standard deviation; + is benign)")
    rows_shown = [[name, *(f"{x:.2f}" for x in m.columns.values())] for name, m in found[:SHOWN]]
    print(table(["weight", *found[0][1].columns], rows_shown))
    print()
    print(f"held out: accuracy {scores.accuracy:.1%}, log score {scores.log_score:.3f} nats a row")
    print(quality(summary))
    print(seconds(fits))
    if options.plot:
        draw(options.plot, fits.losses, found)


def strongest(summary: Summary, columns: tuple[str, ...]) -> list[tuple[str, Marginal]]:
    """Names and marginals of the weights, those whose mean is most standard deviations from 0 first."""
    numbers = [summary.columns["weights"][name] for name in ("mean", "sd", "5 %", "95 %")]
    found = [(name, Marginal(*map(float, x))) for name, x in zip(columns, np.transpose(numbers), strict=True)]
    return sorted(found, key=lambda row: -abs(row[1].mean) / max(row[1].sd, 1e-12))


def draw(path: str, losses: Any, found: list[tuple[str, Marginal]]) -> None:
    """Losses, and the intervals of all weights."""
    figure, (left, right) = new_figure(10, 6.5, ratios=(1, 1.25))
    draw_losses(left, losses)
    rows = [Interval(name, m.mean, m.low, m.high) for name, m in found]
    draw_intervals(right, rows, xlabel="weight: posterior mean and 90 % interval")
    figure.suptitle("Breast cancer: logistic regression", fontsize=12)
    print(f"picture: {save(figure, path)}")

"""The demonstration of logistic regression on breast cancer data."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax

from svijax.fitting import SVI
from svijax.objectives import Trace_ELBO
from svijax.plots import Interval, draw_intervals, draw_losses, new_figure, save

from ._data import breast_cancer
from ._logistic import held_out, logistic_regression
from ._marginal import Marginal, of_draws
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
    found = strongest(draws["weights"], data.columns)
    scores = held_out(draws["intercept"], draws["weights"], data.x_test, data.y_test)

    heading(
        f"the {len(found)} strongest of {len(data.columns)} weights (per standard deviation; + is benign)"
    )
    print(table(["weight", "mean", "sd", "5 %", "95 %"], [[name, *m.cells] for name, m in found.items()]))
    print()
    print(f"held out: accuracy {scores.accuracy:.1%}, log score {scores.log_score:.3f} nats a row")
    print(quality(svi, fit, *train))
    print(seconds(fits))
    if options.plot:
        draw(options.plot, fits.losses, strongest(draws["weights"], data.columns, len(data.columns)))


def strongest(weights: Any, columns: tuple[str, ...], count: int = SHOWN) -> dict[str, Marginal]:
    """Marginals of the weights whose mean is most standard deviations from 0, strongest first."""
    values = np.asarray(weights, np.float64)
    order = np.argsort(-np.abs(values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-12))
    return {columns[k]: of_draws(values[:, k]) for k in order[:count]}


def draw(path: str, losses: Any, found: dict[str, Marginal]) -> None:
    """Losses, and the intervals of all weights."""
    figure, (left, right) = new_figure(10, 6.5, ratios=(1, 1.25))
    draw_losses(left, losses)
    rows = [Interval(name, m.mean, m.low, m.high) for name, m in found.items()]
    draw_intervals(right, rows, xlabel="weight: posterior mean and 90 % interval")
    figure.suptitle("Breast cancer: logistic regression", fontsize=12)
    print(f"picture: {save(figure, path)}")

"""What the demonstrations print: tables, and the closing lines that every fit has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from svijax.base import DataError, message
from svijax.fitting import Status, SVIRunResult
from svijax.posterior import Summary


def heading(text: str) -> None:
    """A line of text with air around it."""
    print(f"\n{text}\n")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, the first to the left and the others to the right, two spaces between them."""
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    out = []
    for line in lines:
        cells = [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))]
        out.append("  ".join(cells).rstrip())
    return "\n".join([out[0], "-" * max(map(len, out)), *out[1:]])


def best_chain(fit: SVIRunResult) -> SVIRunResult:
    """The fit, or the best of its chains; says how they ended.

    :raises DataError: the loss was not finite at some step.
    """
    if fit.num_chains is not None:
        ends = ", ".join(f"{loss:.2f}" for loss in np.sort(fit.final_losses()))
        print(f"chains: best of {fit.num_chains}, which ended at losses {ends}")
        fit = fit.best()
    if fit.status == Status.NONFINITE:
        raise DataError(message(f"the fit failed: {Status.NONFINITE}.", got=str(fit.explain())))
    return fit


def seconds(fit: SVIRunResult) -> str:
    """Time to compile, and speed."""
    if fit.timings is None:
        return ""
    speed = fit.timings.steps_per_second
    return f"time: {fit.timings.compile_seconds:.1f} s to compile, then {speed:,.0f} steps per second"


def quality(summary: Summary, bound: str = "") -> str:
    """The ELBO of the fitted guide with its standard error, and k-hat in words; of a point the density."""
    if not any(np.any(columns["sd"]) for columns in summary.columns.values()):
        return f"log density at this point: {summary.elbo:.3f} (a point has no ELBO and no k-hat)"
    khat = f"{summary.khat:.2f} " if np.isfinite(summary.khat) else ""
    elbo = f"ELBO: {summary.elbo:.3f} ± {summary.elbo_error:.3f} nats{bound}"
    return f"{elbo}\nk-hat: {khat}({summary.khat_words}; {summary.num_samples:,} draws)"

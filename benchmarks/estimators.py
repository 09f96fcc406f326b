"""Variances of gradient estimators on fixed small problems: ``python -m benchmarks.estimators``.

Σ of the variances over the guide's unconstrained parameters, of one gradient, at the start and after a short fit; in
brackets the particles of each. Estimators with parameters of their own are fitted at that state with the guide held
still. z: how far the mean lies from that of a precise reference, the worst element; the time is that of one gradient
in batches, of this one run, and says who costs more and not how much elsewhere.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from svijax import SVI, gradient_report
from svijax.diagnostics import EstimatorGradients, Gradient
from svijax.optim import per_site

from . import _report
from ._estimator_problems import OWN, PROBLEMS, Contender, Problem

OWN_STEPS = 2000
"""Steps of the parameters that are an estimator's own."""

BATCH = 500


def measure(problem: Problem, samples: int | None) -> list[dict[str, Any]]:
    """Rows of every contender, at the start and after ``problem.fit`` steps."""
    base = SVI(problem.model, problem.guide(None), problem.rate, problem.reference)
    state = base.init(jax.random.key(0), *problem.args)
    rows = look(problem, "start", state.params, samples)
    if problem.fit:
        fit = base.run(jax.random.key(1), problem.fit, *problem.args, progress_bar=False)
        rows += look(problem, f"{problem.fit} steps", fit.params, samples)
    return rows


def look(problem: Problem, where: str, params: dict[str, Any], samples: int | None) -> list[dict[str, Any]]:
    count = samples or problem.samples
    reference = gradients(problem, Contender("reference", problem.reference), params, count)
    rows = []
    for contender in problem.contenders:
        found = gradients(problem, contender, params, count)
        own = guide_gradients(problem, found)
        rows.append(
            {
                "problem": problem.name,
                "at": where,
                "estimator": contender.label,
                "variance": sum(g.total_variance for g in own.values()),
                "by_parameter": {name: g.total_variance for name, g in own.items()},
                "worst_z": max(
                    float(np.abs(g.against(reference.params[name])).max()) for name, g in own.items()
                ),
                "limit": reference.limit,
                "seconds": found.seconds,
                "samples": count,
            }
        )
    plain = next(row["variance"] for row in rows if row["estimator"] == problem.plain)
    for row in rows:
        row["of_plain"] = row["variance"] / plain
        print(line(row), file=sys.stderr, flush=True)
    return rows


def gradients(
    problem: Problem, contender: Contender, params: dict[str, Any], count: int
) -> EstimatorGradients:
    """Gradients at these parameters; parameters that are the estimator's own are fitted to them first."""
    optim: Any = problem.rate if contender.at_site is None else per_site({OWN + "*": 0.02}, "freeze")
    svi = SVI(problem.model, problem.guide(contender.at_site), optim, contender.objective)
    state = svi.init(jax.random.key(2), *problem.args, init_params=params)
    if contender.at_site is not None:
        state = svi.run(
            jax.random.key(3), OWN_STEPS, *problem.args, init_state=state, progress_bar=False
        ).state
    report = gradient_report(
        svi,
        state,
        *problem.args,
        num_samples=count,
        batch_size=BATCH,
        estimators={contender.label: contender.objective},
    )
    return report[contender.label]


def guide_gradients(problem: Problem, found: EstimatorGradients) -> dict[str, Gradient]:
    """Those in the parameters of the guide: the model's have no part in the choice of an estimator."""
    return {name: g for name, g in found.params.items() if not name.startswith(OWN) and name != "decoder"}


def targets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every aim with its figure and whether it is met; ``met`` is None where an estimator does not apply."""
    found = []

    def add(what: str, value: float | None, bound: float) -> None:
        met = None if value is None else bool(value <= bound)
        found.append({"what": what, "value": value, "at_most": bound, "met": met})

    by = {(r["problem"], r["at"], r["estimator"]): r for r in rows}
    for problem, at in dict.fromkeys((r["problem"], r["at"]) for r in rows):

        def variance(estimator: str, problem: str = problem, at: str = at) -> float | None:
            row = by.get((problem, at, estimator))
            return None if row is None else row["variance"]

        def ratio(top: str, bottom: str) -> float | None:
            a, b = variance(top), variance(bottom)
            return None if a is None or b is None else a / b

        where, others = f"{problem}, {at}", "score, leave one out (2)"
        if variance("sticking the landing (2)") is not None:
            add(f"{where}: sticking the landing", variance("sticking the landing (2)"), 1e-10)
        elif variance("DReG") is not None:
            for name in by[problem, at, "DReG"]["by_parameter"]:
                top, bottom = (by[problem, at, e]["by_parameter"][name] for e in ("DReG", "plain"))
                add(f"{where}: DReG / plain, {name}", top / bottom, 1 / 20)
        else:
            add(f"{where}: leave one out / plain score", ratio(others, "score, no baseline (2)"), 1.0)
            add(f"{where}: DisARM / leave one out", ratio("DisARM (1)", others), 1.0)
    biased = [f"{r['problem']}, {r['at']}, {r['estimator']}" for r in rows if r["worst_z"] > r["limit"] + 2.0]
    add("estimators with a bias" + (f" ({'; '.join(biased)})" if biased else ""), float(len(biased)), 0.0)
    return found


HEAD = ("problem", "at", "estimator", "variance", "/ plain", "worst z", "us")


def line(row: dict[str, Any]) -> str:
    cells = (
        row["problem"],
        row["at"],
        row["estimator"],
        f"{row['variance']:.4g}",
        f"{row['of_plain']:.3g}",
        f"{row['worst_z']:.1f}",
        f"{1e6 * row['seconds']:.1f}",
    )
    return "| " + " | ".join(cells) + " |"


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as markdown."""
    rule = "|---|---|---|" + "---:|" * (len(HEAD) - 3)
    return "\n".join(["| " + " | ".join(HEAD) + " |", rule, *map(line, rows)])


def verdicts(found: list[dict[str, Any]]) -> str:
    words = {True: "PASS", False: "MISS", None: "does not apply"}
    lines = []
    for aim in found:
        value = "" if aim["value"] is None else f"{aim['value']:.3g}, at most {aim['at_most']:.3g}"
        lines.append(f"{words[aim['met']]:<15}{aim['what']}: {value}".rstrip(": "))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--problems", nargs="*", help="names of problems; all unless given")
    parser.add_argument("--samples", type=int, help="gradients of each estimator; by problem unless given")
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    options = parser.parse_args()
    start, rows = time.perf_counter(), []
    for problem in PROBLEMS:
        if not options.problems or problem.name in options.problems:
            rows += measure(problem, options.samples)
    facts = _report.about(quick=options.samples is not None)
    result = {"about": facts | {"seconds": round(time.perf_counter() - start)}, "rows": rows}
    result["targets"] = targets(rows)
    print(table(rows) + "\n\n" + verdicts(result["targets"]))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Training at scale: ``python -m benchmarks.training``.

Many chains in one program; epochs of minibatches from memory, disk and a loader; what bars, metrics and checkpoints
cost; eight virtual devices; peak memory. Contenders of a problem run in one process, turn by turn, and the best turn of
each counts. One that fails has a row that says how.
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

from . import (
    _report,
    _training_chains,
    _training_devices,
    _training_images,
    _training_looks,
    _training_memory,
)

PARTS = ("chains", "images", "looks", "devices", "memory")
Target = tuple[str, str, float | None, str, float]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All parts that are asked for, and their targets."""
    quick, begin = options.quick, time.perf_counter()
    repeats, scale = (2, 0.1) if quick else (5, 1.0)
    result: dict[str, Any] = {"about": _report.about(quick), "rows": []}
    found: list[Target] = []
    images = _training_images.images(options.data)
    name = "VAE on " + ("the digits" if options.data is None else "MNIST")
    epoch = max(1, len(images) // _training_images.BATCH)
    # On a GPU a step takes a fraction of a millisecond, and an epoch too little time to be told from noise.
    epochs = 1 if jax.default_backend() == "cpu" else 10
    steps = 60 if quick else max(epochs * epoch, 300)
    for part in options.parts:
        if part == "chains":
            lanes = tuple(options.chains)
            rows = _training_chains.measure(repeats, scale, lanes)
            found += _training_chains.targets(rows)
        elif part == "images":
            rows = _training_images.measure(images, repeats, steps, name)
            found += _training_images.targets(rows)
        elif part == "looks":
            small = 200_000 if quick else 4_000_000
            rows = _training_looks.measure(images, repeats, steps if quick else 2 * steps, name, small)
            found += _training_looks.targets(rows)
        else:
            rows = []
        if part == "devices":
            result["devices"] = _training_devices.measure(50 if quick else 1000)
            found += _training_devices.targets(result["devices"])
        if part == "memory":
            result["memory"] = _training_memory.measure(options.data)
        result["rows"] += rows
        print(f"{part}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        jax.clear_caches()
    result["targets"] = [judged(target) for target in found]
    result["about"]["seconds"] = round(time.perf_counter() - begin)
    return result


def judged(target: Target) -> dict[str, Any]:
    """A target with its figure; ``met`` is None where there is no figure, or no bound."""
    problem, what, value, sign, bound = target
    bounded = bool(np.isfinite(bound))
    met = None if value is None or not bounded else value <= bound if sign == "<=" else value >= bound
    limit = {"at_most" if sign == "<=" else "at_least": bound} if bounded else {}
    return {"problem": problem, "what": what, "value": value, "met": met} | limit


def table(result: dict[str, Any]) -> str:
    """Rows, memory and targets as text."""
    facts = result["about"]
    lines = [
        f"{facts['device']}, {facts['cpus']} CPUs, {facts['precision']}, commit {(facts['commit'] or 'none')[:10]}"
        + ("" if facts["clean"] else " and changes")
        + (", quick" if facts["quick"] else ""),
        "",
        f"{'problem':<28}{'contender':<20}{'rate':>12} {'unit':<12}{'loss':>11}",
    ]
    for row in result["rows"]:
        rate, loss = row.get("per_second"), row.get("loss")
        figure = "-" if rate is None else f"{rate / 1e3:,.2f}"
        reached = "-" if loss is None else f"{loss:,.3f}"
        lines.append(f"{row['problem']:<28}{row['contender']:<20}{figure:>12} {row['unit']:<12}{reached:>11}")
        if "error" in row:
            lines.append(f"{'':<28}failed: {row['error'][:90]}")
    if "devices" in result:
        lines += ["", "on eight virtual devices: " + json.dumps(result["devices"])]
    if "memory" in result:
        lines += ["", f"{'peak memory':<28}{'MB':>10}{'beyond data':>14}"]
        for row in result["memory"]:
            cells = row.get("error") or f"{row['peak_mb']:>10,.0f}{row['beyond_data_mb']:>14,.0f}"
            lines.append(f"{row['case']:<28}{cells}")
    lines += ["", f"{'problem':<28}{'target':<38}{'figure':>9}{'bound':>9}"]
    for t in result["targets"]:
        bound = (
            f"<= {t['at_most']:g}" if "at_most" in t else f">= {t['at_least']:g}" if "at_least" in t else ""
        )
        value = "-" if t["value"] is None else f"{t['value']:.3g}"
        verdict = {True: "met", False: "MISSED", None: "" if t["value"] is not None else "no figure"}[
            t["met"]
        ]
        lines.append(f"{t['problem']:<28}{t['what']:<38}{value:>9}{bound:>9}  {verdict}")
    return "\n".join([*lines, "", f"{facts['seconds']} s in all"])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--data", metavar="DIR", help="folder of MNIST's IDX files; else the digits of scikit-learn"
    )
    parser.add_argument("--chains", nargs="+", type=int, default=[64, 1024])
    parser.add_argument("--device", choices=("cpu", "gpu"), help="default: what JAX has")
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps, fewer repeats")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/training-DEVICE.json")
    options = parser.parse_args()
    _report.choose_device(options.device)
    result = measure(options)
    print(table(result))
    quick = "-quick" if options.quick else ""
    name = f"training-{'cpu' if jax.default_backend() == 'cpu' else 'gpu'}{quick}.json"
    out = options.out or Path(__file__).parent / "results" / name
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

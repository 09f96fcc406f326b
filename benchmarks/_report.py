"""Circumstances of a run, its budgets, and its tables."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

Result = dict[str, Any]


def choose_device(device: str | None) -> None:
    """Run on "cpu" or "gpu"; None leaves it to JAX. For processes started from this one too."""
    if device is None:
        return
    platform_name = {"cpu": "cpu", "gpu": "cuda"}[device]
    os.environ["JAX_PLATFORMS"] = platform_name if device == "cpu" else f"{platform_name},cpu"
    jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
    if jax.default_backend() != device:
        raise SystemExit(f"--device {device}: JAX has {jax.default_backend()} here.")


def about(quick: bool) -> Result:
    """Versions, precision, device and commit; nothing that names a machine or a person."""
    packages = ("jax", "jaxlib", "optax", "numpy", "numpyro", "svijax")
    return {
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in packages},
        "precision": jnp.asarray(0.0).dtype.name,
        "device": jax.devices()[0].device_kind,
        "backend": jax.default_backend(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "commit": _git("rev-parse", "HEAD"),
        "clean": _git("status", "--porcelain", "--", "svijax", "benchmarks/*.py") == "",
        "quick": quick,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*command: str) -> str | None:
    done = subprocess.run(["git", *command], capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    return done.stdout.strip() if done.returncode == 0 else None


def budgets(result: Result) -> list[Result]:
    """Every budget with its figure: ``met`` is ``None`` where a contender has no figure."""
    return [
        {"problem": problem, "what": what, "value": value, "at_most" if sign == "<=" else "at_least": bound}
        | {"met": None if value is None else value <= bound if sign == "<=" else value >= bound}
        for problem, what, value, sign, bound in _budget_lines(result)
    ]


def _budget_lines(result: Result) -> Iterator[tuple[str, str, float | None, str, float]]:
    rows = {(r["problem"], r["contender"]): r for r in result["rows"]}
    for problem in dict.fromkeys(r["problem"] for r in result["rows"]):

        def ratio(
            top: str, bottom: str, key: str = "steps_per_second", problem: str = problem
        ) -> float | None:
            a, b = (rows.get((problem, c), {}).get(key) for c in (top, bottom))
            return a / b if a and b else None

        schools, vae = problem == "eight_schools", problem == "vae"
        yield problem, "step, over the floor", ratio("floor", "svijax"), "<=", 1.05 if vae else 1.15
        against = 5.0 if schools else 1.0
        yield problem, "steps/s over NumPyro's AutoNormal", ratio("svijax", "numpyro_normal"), ">=", against
        if not vae:
            best = ratio("svijax", "numpyro_diagonal")
            yield problem, "steps/s over NumPyro's AutoDiagonal", best, ">=", 3.0 if schools else 1.0
            same = ratio("svijax_diagonal", "numpyro_diagonal")
            yield problem, "the same, AutoDiagonal on both sides", same, ">=", 1.0
            for lanes in sorted({r["lanes"] for r in result["rows"] if r["problem"] == problem} - {1}):
                over = ratio(f"floor_{lanes}", f"svijax_{lanes}")
                yield problem, f"{lanes:,} chains, step over the floor's", over, "<=", 1.2
        again = rows.get((problem, "svijax"), {}).get("compilations")
        yield problem, "compilations of a second run", again, "<=", 0
        start = ratio("svijax", "floor", "cold_seconds")
        yield problem, "cold start, over the floor's", start, "<=", 2.0 if problem == "twenty_sites" else 1.5
        yield (
            problem,
            "cold start, over NumPyro's",
            ratio("svijax", "numpyro_normal", "cold_seconds"),
            "<=",
            0.35,
        )
    for bar in result["bars"]:
        yield bar["problem"], "bar on over bar off", bar.get("ratio"), "<=", 1.02
    times = [result["imports"].get(name) for name in ("svijax", "jax, optax")]
    known = all(isinstance(t, float) for t in times)
    yield "import", "import svijax over jax, optax", times[0] / times[1] if known else None, "<=", 1.15


def table(result: Result) -> str:
    """Rows and budgets as text."""
    facts = result["about"]
    lines = [
        f"{facts['device']}, {facts['cpus']} CPUs, {facts['precision']}, commit {facts['commit'][:10]}"
        + ("" if facts["clean"] else " and changes")
        + (", quick" if facts["quick"] else ""),
        "",
        f"{'problem':<14}{'contender':<18}{'k steps/s':>11}{'cold s':>8}{'import s':>9}"
        f"{'compiled':>9}{'loss':>13}",
    ]
    floors = {
        (r["problem"], r["lanes"]): r["loss"] for r in result["rows"] if r["contender"].startswith("floor")
    }
    for row in result["rows"]:
        rate, loss = row["steps_per_second"], row["loss"]
        cells = [
            _cell(rate and rate / 1e3, 11, 2),
            _cell(row["cold_seconds"], 8, 2),
            _cell(row["import_seconds"], 9, 2),
            _cell(row["compilations"], 9, 0),
            _cell(loss, 13, 3),
        ]
        floor = floors.get((row["problem"], row["lanes"]))
        off = loss is not None and floor is not None and abs(loss - floor) > 0.03 * abs(floor)
        note = " not the floor's loss" if off else ""
        lines.append(f"{row['problem']:<14}{row['contender']:<18}{''.join(cells)}{note}")
        if row["error"]:
            lines.append(f"{'':<14}failed: {row['error'][:94]}")
    lines += ["", f"{'problem':<14}{'budget':<40}{'figure':>9}{'bound':>9}"]
    for b in result["budgets"]:
        bound = f"<= {b['at_most']:g}" if "at_most" in b else f">= {b['at_least']:g}"
        verdict = {True: "met", False: "MISSED", None: "no figure"}[b["met"]]
        lines.append(f"{b['problem']:<14}{b['what']:<40}{_cell(b['value'], 9, 3)}{bound:>9}  {verdict}")
    imports = ", ".join(
        f"{k} {v:.2f}" if isinstance(v, float) else f"{k}: {v}" for k, v in result["imports"].items()
    )
    lines += ["", f"import seconds: {imports}", f"{facts['seconds']} s in all"]
    return "\n".join(lines)


def _cell(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width},.{digits}f}"

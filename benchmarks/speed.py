"""Speed and quality of svijax beside NumPyro and the floor: ``python -m benchmarks.speed``.

All contenders of a problem run in one process, turn by turn, and the best turn of each counts: what else the
machine does then falls on all alike. Cold starts have a fresh process each. A contender that fails has a row
that says how.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax

from . import _report
from ._cold import module_of
from ._problems import CHAINS, PROBLEMS, Problem, lanes_of

STEADY = [
    *("floor", "numpyro_normal", "numpyro_diagonal", "svijax", "svijax_diagonal"),
    *("numpyro_run", "numpyro_bar"),
]
MANY = ["floor", "numpyro", "svijax"]
COLD = ["floor", "numpyro_normal", "numpyro_diagonal", "svijax"]
TIMED = {
    "eight_schools": 100_000,
    "logistic": 16_000,
    "twenty_sites": 50_000,
    "hierarchical": 2_000,
    "vae": 100,
}
CALLS = ["numpyro_run", "numpyro_bar"]  # compile at each call, for seconds: fewer turns of fewer steps
COMPILED = "/jax/core/compile/backend_compile_duration"


@dataclass
class Row:
    """What was measured of one contender at one problem; ``None`` is for what does not apply or failed."""

    problem: str
    contender: str
    lanes: int = 1
    steps: int = 0
    repeats: int = 0
    steps_per_second: float | None = None
    compilations: int | None = None
    loss: float | None = None
    import_seconds: float | None = None
    cold_seconds: float | None = None
    error: str | None = None


class Compilations:
    """Counts what the compiler was asked for, by JAX's own events."""

    def __init__(self) -> None:
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        self.count += event == COMPILED


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """Standard error as a terminal that nobody sees, so that bars draw themselves."""
    master, slave = pty.openpty()

    def drain() -> None:
        with contextlib.suppress(OSError):
            while os.read(master, 65_536):
                pass

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    with os.fdopen(slave, "w") as stream, contextlib.redirect_stderr(stream):
        yield
    reader.join(timeout=1.0)
    os.close(master)


def describe(error: Exception) -> str:
    """One line; paths are of no use to a reader elsewhere."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".replace(os.getcwd(), ".")


def applies(problem: Problem, contender: str) -> bool:
    """An autoencoder has a guide of its own, and no chains."""
    return problem.name != "vae" or not (contender.endswith("_diagonal") or lanes_of(contender)[1] > 1)


def lengths(problem: Problem, contender: str, scale: float) -> tuple[int, int]:
    """Steps to warm up with, and steps of a timed run: fewer where a step does more, or a call compiles."""
    warm, timed = problem.warm_steps * scale, TIMED[problem.name] * scale
    if (lanes := lanes_of(contender)[1]) > 1:
        warm, timed = warm / 4, timed / max(50, 50 * lanes / CHAINS)
    elif contender == "numpyro_run":
        timed = problem.warm_steps / 4
    elif contender == "numpyro_bar":
        warm, timed = warm / 4, problem.warm_steps / 40
    return math.ceil(warm), max(10, math.ceil(timed))


def steady(problem: Problem, contenders: list[str], repeats: int, scale: float) -> list[Row]:
    """Steps per second once warm, compilations of a second run of another length, and the loss reached."""
    events, runs, rows = Compilations(), {}, []
    for name in contenders:
        row = Row(problem.name, name)
        rows.append(row)
        warm, row.steps = lengths(problem, name, scale)
        try:
            runner = importlib.import_module(module_of(name)).build(problem, name)
            row.lanes = runner.lanes
            with terminal():
                runner.run(warm)
                before = events.count
                runner.run(row.steps)
            row.compilations = events.count - before
            runs[name] = runner
        except Exception as error:
            row.error = describe(error)
    for turn in range(repeats):
        for row in rows:
            if row.contender not in runs or (row.contender in CALLS and turn >= 3):
                continue
            try:
                with terminal():
                    begin = time.perf_counter()
                    losses = runs[row.contender].run(row.steps)
                    seconds = time.perf_counter() - begin
            except Exception as error:
                row.error = describe(error)
                del runs[row.contender]
                continue
            row.repeats += 1
            row.steps_per_second = max(row.steps_per_second or 0.0, row.lanes * row.steps / seconds)
            row.loss = float(losses[-problem.tail :].mean())
    return rows


def bar_cost(problem: Problem, repeats: int, scale: float) -> dict[str, Any]:
    """Seconds of a run of svijax with a bar over seconds without, of longer runs."""
    steps = math.ceil(TIMED[problem.name] * scale * 10)
    seconds = {"svijax": math.inf, "svijax_bar": math.inf}
    try:
        build = importlib.import_module(module_of("svijax")).build
        runs = {name: build(problem, name) for name in seconds}
        with terminal():
            for runner in runs.values():
                runner.run(steps)
            for _ in range(repeats):
                for name, runner in runs.items():
                    begin = time.perf_counter()
                    runner.run(steps)
                    seconds[name] = min(seconds[name], time.perf_counter() - begin)
    except Exception as error:
        return {"problem": problem.name, "error": describe(error)}
    ratio = seconds["svijax_bar"] / seconds["svijax"]
    return {"problem": problem.name, "steps": steps, "ratio": ratio, **seconds}


def fresh(*command: str) -> dict[str, Any]:
    """The JSON that a new process prints, or the last line of what it says when it fails."""
    try:
        # Bytecode is cached, as it is for who installs a package.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, timeout=180, env=environment
        )
        if done.returncode:
            return {"error": done.stderr.strip().splitlines()[-1][:200].replace(os.getcwd(), ".")}
        return json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, json.JSONDecodeError, IndexError) as error:
        return {"error": describe(error)}


def cold(rows: list[Row], repeats: int) -> None:
    """Adds cold starts to the rows of one problem, each the best of a few fresh processes, by turns."""
    for turn in range(repeats):
        for row in rows:
            if row.contender not in COLD or row.error or (turn >= 2 and "numpyro" in row.contender):
                continue
            got = fresh("-m", f"{__package__}._cold", row.problem, row.contender)
            if "error" in got:
                row.error = got["error"]
                continue
            row.cold_seconds = min(row.cold_seconds or math.inf, got["cold"])
            row.import_seconds = min(row.import_seconds or math.inf, got["import"])


def import_times(repeats: int) -> dict[str, Any]:
    """Seconds of ``import jax, optax`` alone and with a library, in fresh processes by turns."""
    code = "import time, json; t = time.perf_counter(); import jax, optax{}; "
    code += "print(json.dumps({{'seconds': time.perf_counter() - t}}))"
    best: dict[str, Any] = {}
    for _ in range(repeats):
        for name, more in {"jax, optax": "", "svijax": ", svijax", "numpyro": ", numpyro"}.items():
            got = fresh("-c", code.format(more))
            best[name] = got["error"] if "error" in got else min(best.get(name, math.inf), got["seconds"])
    return best


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--contenders", nargs="+", choices=STEADY, default=STEADY)
    parser.add_argument(
        "--chains", nargs="+", type=int, help="chains in one program; default: 64, on a GPU 16 256 4096"
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), help="default: what JAX has")
    parser.add_argument("--quick", action="store_true", help="a fifth of the steps, fewer repeats")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/speed-DEVICE.json")
    options = parser.parse_args()
    _report.choose_device(options.device)
    backend = jax.default_backend()
    counts = options.chains or ([CHAINS] if backend == "cpu" else [16, 256, 4096])
    many = [f"{name}_{count}" for count in counts if count > 1 for name in MANY]
    scale, repeats, colds = (0.2, 3, 1) if options.quick else (1.0, 7, 3)

    begin = time.perf_counter()
    result: dict[str, Any] = {
        "about": _report.about(options.quick),
        "imports": import_times(3 if options.quick else 5),
    }
    rows: list[Row] = []
    bars = []
    for name in options.problems:
        problem = PROBLEMS[name]()
        some = steady(
            problem, [c for c in [*options.contenders, *many] if applies(problem, c)], repeats, scale
        )
        cold(some, colds)
        rows += some
        if "svijax" in options.contenders:
            bars.append(bar_cost(problem, max(3, repeats - 2), scale))
        print(f"{name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        jax.clear_caches()
    result |= {"rows": [asdict(row) for row in rows], "bars": bars}
    result["budgets"] = _report.budgets(result)
    result["about"]["seconds"] = round(time.perf_counter() - begin)
    print(_report.table(result))
    out = options.out or Path(__file__).parent / "results" / f"speed-{backend}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Enumeration beside NumPyro with funsor and Pyro: ``python -m benchmarks.enumeration``.

Each contender has a fresh process for each problem and turn: seconds from the end of its imports to the first loss,
milliseconds for each further step, peak memory. The best turn of each counts. A contender that fails, or that is not
installed, has a row that says so; ``--pyro-python`` names another interpreter for Pyro.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PROBLEMS = ("mixture", "chain", "bits")
CONTENDERS = ("svijax", "numpyro", "pyro")
STEPS = {
    "svijax": {"mixture": 200, "chain": 200, "bits": 400},
    "numpyro": {"mixture": 200, "chain": 20, "bits": 400},
    "pyro": {"mixture": 30, "chain": 1, "bits": 50},
}
LIMIT_SECONDS = 300


def child(problem: str, contender: str) -> dict[str, float]:
    """One turn, in this process."""
    module = importlib.import_module(f"benchmarks._enum_{contender}")
    begin = time.perf_counter()
    first, steps = module.build(problem)
    loss = first()
    first_seconds = time.perf_counter() - begin
    count = STEPS[contender][problem]
    if contender != "pyro":
        steps(count)  # another number of steps may compile anew
    begin = time.perf_counter()
    steps(count)
    milliseconds = 1e3 * (time.perf_counter() - begin) / count
    unit = 1024 if sys.platform != "darwin" else 1024**2
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {"loss": loss, "first_seconds": first_seconds, "step_ms": milliseconds, "peak_mb": memory}


def turn(problem: str, contender: str, python: str) -> dict[str, Any]:
    """One turn in a fresh process; an error as text."""
    command = [python, "-m", "benchmarks.enumeration", "--child", problem, contender]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return {"error": f"no result within {LIMIT_SECONDS} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        return {"error": lines[-1][:160].replace(os.getcwd(), ".")}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def best(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """The best of each figure."""
    good = [t for t in turns if "error" not in t]
    return {name: min(t[name] for t in good) for name in good[0]} if good else turns[0]


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; ratios are to svijax."""
    lines = [
        "| problem | contender | loss | first loss, s | step, ms | peak, MB |",
        "|---|---|---|---|---|---|",
    ]
    ours = {r["problem"]: r for r in rows if r["contender"] == "svijax"}
    for r in rows:
        if "error" in r:
            lines.append(f"| {r['problem']} | {r['contender']} | {r['error']} | | | |")
            continue
        own = ours[r["problem"]]

        def cell(name: str, digits: int, r: dict[str, Any] = r, own: dict[str, Any] = own) -> str:
            ratio = "" if r is own or "error" in own else f" ({r[name] / own[name]:.1f} x)"
            return f"{r[name]:.{digits}f}{ratio}"

        cells = cell("first_seconds", 2), cell("step_ms", 3), cell("peak_mb", 0)
        lines.append(f"| {r['problem']} | {r['contender']} | {r['loss']:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=PROBLEMS)
    parser.add_argument(
        "--pyro-python", default=sys.executable, help="an interpreter that has pyro-ppl and numpy"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "enumeration-cpu.json"
    )
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(*options.child)))
        return
    rows = []
    for problem in options.problems:
        turns: dict[str, list[dict[str, Any]]] = {c: [] for c in CONTENDERS}
        for _ in range(options.turns):
            for contender in CONTENDERS:
                python = options.pyro_python if contender == "pyro" else sys.executable
                turns[contender].append(turn(problem, contender, python))
        rows += [{"problem": problem, "contender": c, **best(t)} for c, t in turns.items()]
        print(table(rows[-len(CONTENDERS) :]), flush=True)
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "turns": options.turns}
    options.out.write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n")
    print(f"written to {options.out.name}")


if __name__ == "__main__":
    main()

"""One cold start, in a process of its own: ``python -m benchmarks._cold PROBLEM CONTENDER``.

Prints JSON: seconds to import, and from there to the end of the first step. Loading the data is in neither.
"""

from __future__ import annotations

import importlib
import json
import sys
import time

MODULES = {"floor": "_floor", "numpyro": "_numpyro", "svijax": "_svijax"}


def module_of(contender: str) -> str:
    """The module that builds a contender: what its name begins with says which."""
    return f"{__package__}.{MODULES[contender.split('_')[0]]}"


def main(problem_name: str, contender: str) -> None:
    begin = time.perf_counter()
    import jax  # noqa: F401
    import optax  # noqa: F401

    module = importlib.import_module(module_of(contender))
    imported = time.perf_counter()
    from ._problems import PROBLEMS

    problem = PROBLEMS[problem_name]()
    loaded = time.perf_counter()
    losses = module.build(problem, contender).run(1)
    end = time.perf_counter()
    print(json.dumps({"import": imported - begin, "cold": end - loaded, "first_loss": float(losses.mean())}))


if __name__ == "__main__":
    main(*sys.argv[1:])

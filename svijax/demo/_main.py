"""``python -m svijax``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from svijax.base import SvijaxError
from svijax.plots import check_target

from ._options import Options, parse
from ._run_logistic import run_logistic
from ._run_schools import run_schools
from ._run_vae import run_vae

RUNS = {"eight_schools": run_schools, "logistic": run_logistic, "vae": run_vae}


def run(options: Options) -> None:
    """Fit the model that the options name, and print what came out."""
    if options.plot is not None:
        check_target(options.plot)
    RUNS[options.model](options)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with a message on standard error where something is missing or wrong."""
    try:
        run(parse(argv))
    except SvijaxError as error:
        print(f"svijax: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("svijax: interrupted", file=sys.stderr)
        return 130
    return 0

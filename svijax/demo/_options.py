"""The command line: its options, as text and as a record."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from svijax import guides
from svijax.base import ArgumentError, message

GUIDES = ("AutoNormal", "AutoDiagonalNormal", "AutoMultivariateNormal", "AutoDelta")
MODELS = ("eight_schools", "logistic", "vae")

EPILOG = """examples:
  python -m svijax                                          eight schools beside its exact posterior
  python -m svijax --guide AutoMultivariateNormal --chains 8
  python -m svijax --model logistic --plot weights.png      breast cancer data, held-out scores
  python -m svijax --model vae --plot digits.png            scikit-learn's 8 x 8 digits
  python -m svijax --model vae --data ~/mnist --epochs 20   MNIST from its IDX files
"""


@dataclass(frozen=True)
class Options:
    """One run of the demonstration; None leaves the choice to the model."""

    model: str = "eight_schools"
    guide: str | None = None
    steps: int | None = None
    epochs: float | None = None
    seed: int = 0
    chains: int | None = None
    plot: str | None = None
    data: str | None = None


def parse(argv: Sequence[str] | None) -> Options:
    """The options of a command line.

    :raises ArgumentError: options that do not go together.
    """
    options = Options(**vars(_parser().parse_args(argv)))
    if options.model != "vae":
        for name in ("data", "epochs"):
            if getattr(options, name) is not None:
                raise ArgumentError(
                    f"--{name} goes with --model vae only; {options.model} has its data with it."
                )
    elif options.guide is not None:
        raise ArgumentError(
            "--guide does not go with --model vae, whose guide is its own encoder: leave it out."
        )
    if options.steps is not None and options.epochs is not None:
        raise ArgumentError("--steps and --epochs say the same twice: give one of them.")
    for name in ("steps", "chains"):
        number = getattr(options, name)
        if number is not None and number < 1:
            raise ArgumentError(f"--{name} must be at least 1; got {number}.")
    if options.epochs is not None and not 0 < options.epochs < float("inf"):
        raise ArgumentError(f"--epochs must be positive; got {options.epochs}.")
    return options


def make_guide(options: Options, default: str, model: Any) -> Any:
    """The autoguide that the options name, for the model."""
    name = options.guide or default
    if name not in GUIDES:
        raise ArgumentError(message(f"no guide is named {name!r}.", expected=", ".join(GUIDES)))
    return getattr(guides, name)(model)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="svijax",
        description="Fit a model to real data by stochastic variational inference and show its posterior.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", choices=MODELS, default="eight_schools", help="what to fit (default: %(default)s)")
    add("--guide", choices=GUIDES, help="family of the approximation, e.g. --guide AutoMultivariateNormal")
    add("--steps", type=int, metavar="N", help="optimisation steps, e.g. --steps 50000")
    add("--epochs", type=float, metavar="E", help="vae: passes over the training images, e.g. --epochs 20")
    add("--seed", type=int, default=0, metavar="S", help="seed of all randomness, e.g. --seed 1 (default: 0)")
    add(
        "--chains",
        type=int,
        metavar="K",
        help="fits from K starts in one program, e.g. --chains 8; best is shown",
    )
    add("--plot", metavar="FILE", help="draw a picture, e.g. --plot fit.png (needs matplotlib)")
    add("--data", metavar="DIR", help="vae: folder of MNIST's IDX files, gzipped or not, e.g. --data ~/mnist")
    return parser

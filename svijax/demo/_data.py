"""Data sets of the demonstrations: two that scikit-learn ships, and MNIST from its own files."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svijax.base import ArgumentError, DataError, message

Bits = NDArray[np.uint8]
Floats = NDArray[np.float32]

MNIST_FILES = {
    "train": "train-images-idx3-ubyte",
    "test": "t10k-images-idx3-ubyte",
}


@dataclass(frozen=True)
class Images:
    """Binary images, one a row: ``train`` (n, side²) and ``test`` (m, side²), entries 0 and 1."""

    name: str
    train: Bits
    test: Bits
    side: int


@dataclass(frozen=True)
class Classification:
    """Rows with a binary label, in two parts; columns are standardised by mean and sd of the first part."""

    x_train: Floats
    y_train: Floats
    x_test: Floats
    y_test: Floats
    columns: tuple[str, ...]


def breast_cancer() -> Classification:
    """Wisconsin breast cancer: 569 tumours, 30 measurements, label 1 for benign; 114 rows are held out."""
    bunch = _scikit_learn("load_breast_cancer")()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    test, train = order[:114], order[114:]
    mean, sd = bunch.data[train].mean(axis=0), bunch.data[train].std(axis=0)
    x = ((bunch.data - mean) / sd).astype(np.float32)
    y = bunch.target.astype(np.float32)
    return Classification(x[train], y[train], x[test], y[test], tuple(map(str, bunch.feature_names)))


def digits() -> Images:
    """1,797 handwritten digits of 8 x 8 pixels, black from half intensity on; 297 of them are held out."""
    pixels = _scikit_learn("load_digits")().data / 16.0
    order = np.random.default_rng(0).permutation(len(pixels))
    bits = (pixels[order] >= 0.5).astype(np.uint8)
    return Images("digits", train=bits[297:], test=bits[:297], side=8)


def mnist(folder: str | Path) -> Images:
    """MNIST from its IDX files in ``folder``, gzipped or not, made binary.

    :raises DataError: a file is missing or is no IDX file of bytes.
    """
    rows = [binarise(part / np.float32(255), seed) for seed, part in enumerate(intensities(folder))]
    return Images("MNIST", train=rows[0], test=rows[1], side=round(rows[0].shape[1] ** 0.5))


def intensities(folder: str | Path) -> tuple[Bits, Bits]:
    """(training, test) images of MNIST as bytes, 0 to 255, one image a row. Raises as ``mnist`` does."""
    where = Path(folder).expanduser()
    train, test = (read_idx(find_idx(where, stem)) for stem in MNIST_FILES.values())
    return train.reshape(len(train), -1), test.reshape(len(test), -1)


def binarise(intensity: NDArray[Any], seed: int) -> Bits:
    """Each pixel 1 with probability its intensity, drawn once: the usual binary form of MNIST."""
    uniform = np.random.default_rng(seed).random(intensity.shape, dtype=np.float32)
    return (uniform < intensity).astype(np.uint8)


def find_idx(folder: Path, stem: str) -> Path:
    """The file of that name in the folder: with a dash or a dot before ``idx``, with ``.gz`` or without."""
    for name in (stem, stem.replace("-idx", ".idx")):
        for end in ("", ".gz"):
            if (folder / (name + end)).is_file():
                return folder / (name + end)
    raise DataError(
        message(
            f"MNIST: the file {stem} is not in the folder {folder}.",
            expected=" and ".join(MNIST_FILES.values()) + ", each as it is or with .gz",
            got=", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "an empty folder"
            if folder.is_dir()
            else "no such folder",
            fix="put the MNIST files there, or leave --data out to use the digits that scikit-learn ships.",
        )
    )


def read_idx(path: Path) -> Bits:
    """The array of bytes in an IDX file: 0, 0, 8, number of dims, the dims as big-endian int32, the bytes."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    dims = raw[3] if len(raw) > 4 else 0
    start = 4 + 4 * dims
    shape = tuple(np.frombuffer(raw[4:start], ">i4").tolist()) if len(raw) >= start else ()
    if raw[:3] != b"\0\0\x08" or dims < 2 or 0 in shape or len(raw) != start + int(np.prod(shape)):
        raise DataError(
            message(
                f"{path} is no IDX file of images.",
                expected="0, 0, 8, number of dims, the dims, and as many bytes as they multiply to",
                got=f"{len(raw)} bytes that start with {raw[:4].hex(' ') or 'nothing'}",
                fix="fetch the file again.",
            )
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _scikit_learn(loader: str) -> Callable[[], Any]:
    try:
        datasets = import_module("sklearn.datasets")
    except ImportError as error:
        raise ArgumentError(
            message(
                "this model uses data that scikit-learn ships, and scikit-learn is not installed.",
                fix="pip install 'svijax[examples]'; or see --model eight_schools, which needs nothing.",
            )
        ) from error
    return getattr(datasets, loader)

"""The data of the demonstrations, and what is said when it is missing."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from svijax.base import DataError
from svijax.demo import breast_cancer, digits, mnist

NAMES = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")


def idx(array: np.ndarray) -> bytes:
    """An array of bytes as an IDX file."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def write(
    folder: Path, train: np.ndarray, test: np.ndarray, zipped: bool = False, dotted: bool = False
) -> None:
    for name, array in zip(NAMES, (train, test)):
        data, name = idx(array), name.replace("-idx", ".idx") if dotted else name
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(data) if zipped else data)


@pytest.mark.parametrize(("zipped", "dotted"), [(False, False), (True, False), (False, True), (True, True)])
def test_mnist_is_read_from_idx_files(tmp_path: Path, zipped: bool, dotted: bool) -> None:
    # Pixels of 0 and 255 are sure, so what is drawn from them is the picture itself.
    sure = 255 * np.random.default_rng(0).integers(0, 2, (5, 28, 28)).astype(np.uint8)
    write(tmp_path, sure, sure[:3], zipped, dotted)
    images = mnist(tmp_path)
    assert (images.train.shape, images.test.shape, images.side) == ((5, 784), (3, 784), 28)
    np.testing.assert_array_equal(images.train, sure.reshape(5, 784) // 255)


def test_grey_pixels_are_drawn_with_their_intensity(tmp_path: Path) -> None:
    write(tmp_path, np.full((400, 28, 28), 51, np.uint8), np.zeros((1, 28, 28), np.uint8))
    share = mnist(tmp_path).train.mean()
    assert abs(share - 0.2) < 4.5 * np.sqrt(0.2 * 0.8 / (400 * 784))


def test_a_missing_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)train-images-idx3-ubyte is not in .*no such folder.*--data"):
        mnist(tmp_path / "nowhere")
    (tmp_path / NAMES[0]).write_bytes(idx(np.zeros((2, 28, 28), np.uint8)))
    with pytest.raises(DataError, match=r"(?s)t10k-images-idx3-ubyte is not in .*got: +train-images"):
        mnist(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no idx file at all",
        idx(np.zeros((2, 28, 28), np.uint8))[:-1],
        idx(np.zeros((0, 28, 28), np.uint8)),
        b"\0\0\x0d\x03" + b"\0" * 12,
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAMES[0]).write_bytes(content)
    with pytest.raises(DataError, match=f"{NAMES[0]} is no IDX file"):
        mnist(tmp_path)


def test_a_broken_gzip_file_is_named(tmp_path: Path) -> None:
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match=r"ubyte.gz cannot be read"):
        mnist(tmp_path)


def test_digits_are_binary_and_split() -> None:
    images = digits()
    assert (images.train.shape, images.test.shape) == ((1500, 64), (297, 64))
    assert set(np.unique(images.train)) == {0, 1}


def test_breast_cancer_is_standardised_by_the_rows_to_fit() -> None:
    data = breast_cancer()
    assert (data.x_train.shape, data.x_test.shape, len(data.columns)) == ((455, 30), (114, 30), 30)
    np.testing.assert_allclose(data.x_train.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(data.x_train.std(axis=0), 1.0, atol=1e-5)
    assert np.abs(data.x_test.mean(axis=0)).max() > 1e-3

"""The reader of an iterable of batches: groups, passes, errors, and a thread that ends."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

from svijax.base import LoaderError, ShapeError
from svijax.fitting import Batches
from svijax.fitting._reader import Reader

N, SIZE = 10, 4
X = np.arange(2.0 * N).reshape(N, 2)
NUMBERS = np.arange(N)


def chunks() -> Iterator[Any]:
    for i in range(0, N, SIZE):
        yield X[i : i + SIZE], NUMBERS[i : i + SIZE]


def read(data: Any, limit: int | None = None, **options: Any) -> list[Any]:
    """The batches that a reader gives, those of all groups, without what fills them up."""
    options = {"size": SIZE, "total": N, **options}
    group, skip = options.pop("group", 3), options.pop("skip", 0)
    out = []
    with Reader(Batches(data, **options), group=group, skip=skip, limit=limit) as reader:
        for data, counts, steps in reader:
            for i in range(steps):
                out.append(jax.tree.map(lambda x, i=i, n=int(counts[i]): np.asarray(x)[i, :n], data))
    return out


def failure(data: Any, **options: Any) -> str:
    with pytest.raises(LoaderError) as error:
        read(data, **options)
    return str(error.value)


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    assert not [t for t in threading.enumerate() if t.name == "svijax-reader"]


def test_a_function_is_called_for_each_pass():
    found = read(chunks, limit=7)
    assert [len(x) for x, _ in found] == [4, 4, 2, 4, 4, 2, 4]
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in found[:3]]), NUMBERS)
    assert found[0][0].dtype == np.float32 and found[0][1].dtype == np.int32


def test_a_list_is_read_again_and_a_generator_is_not():
    assert len(read(list(chunks()), limit=8)) == 8
    assert len(read(chunks(), limit=8)) == 3


def test_groups_have_one_shape_and_short_batches_are_filled_up():
    with Reader(Batches(chunks, SIZE, total=N), group=5, limit=7) as reader:
        (data, counts, steps), (last, _, rest) = reader
    assert (steps, rest) == (5, 2)
    assert data[0].shape == last[0].shape == (5, SIZE, 2)
    np.testing.assert_array_equal(counts, [4, 4, 2, 4, 4])
    np.testing.assert_array_equal(data[0][2, 2:], X[[8, 8]])


def test_dictionaries_lists_and_single_arrays():
    as_dict = read(lambda: ({"x": x, "i": i} for x, i in chunks()), limit=2)
    np.testing.assert_array_equal(as_dict[1]["x"], X[4:8])
    assert isinstance(read(lambda: ([x, i] for x, i in chunks()), limit=1)[0], tuple)
    np.testing.assert_array_equal(read(lambda: (x for x, _ in chunks()), limit=1)[0], X[:4])


def test_skipping_goes_on_where_another_reader_stopped():
    every = read(chunks, limit=9)
    for skip in (1, 3, 5):
        later = read(chunks, limit=9 - skip, skip=skip)
        for (x, _), (y, _) in zip(every[skip:], later, strict=True):
            np.testing.assert_array_equal(x, y)


def test_passes_that_are_made_by_number_are_not_read_to_be_skipped():
    opened = []

    def numbered(epoch: int) -> Iterator[Any]:
        opened.append(epoch)
        return ((X[i : i + SIZE] + 100 * epoch,) for i in range(0, N, SIZE))

    found = read(numbered, limit=2, skip=3000 * 3 + 1)
    np.testing.assert_array_equal(found[0][0], X[4:8] + 300_000)
    assert opened == [0, 3000]


def test_what_the_loader_raises_surfaces_after_the_batches_before():
    def broken() -> Iterator[Any]:
        yield from chunks()
        raise OSError("disk on fire")

    with Reader(Batches(broken(), SIZE, total=N), group=8) as reader:
        assert next(reader).steps == 3
        with pytest.raises(LoaderError, match="raised OSError: disk on fire") as error:
            next(reader)
    text = "".join(traceback.format_exception(error.value))
    assert 'raise OSError("disk on fire")' in text and "in broken" in text
    assert error.value.result is None


def test_x64_and_the_device_are_those_of_the_caller():
    with jax.enable_x64(True):
        assert read(chunks, limit=1)[0][0].dtype == np.float64


def test_memory_is_bounded_ahead():
    """No more than a group in use, one that waits and one that is read."""
    made = []

    def counted() -> Iterator[Any]:
        for i in range(1000):
            made.append(i)
            yield (X[:SIZE],)

    with Reader(Batches(counted(), SIZE, total=N), group=2) as reader:
        next(reader)
        time.sleep(0.3)
        assert len(made) <= 6
        next(reader)
        time.sleep(0.3)
        assert len(made) <= 8


def test_a_group_does_not_wait_for_a_slow_loader():
    def slow() -> Iterator[Any]:
        for _ in range(100):
            time.sleep(0.06)
            yield (X[:SIZE],)

    start = time.monotonic()
    with Reader(Batches(slow(), SIZE, total=N), group=100) as reader:
        assert 1 <= next(reader).steps < 50
    assert time.monotonic() - start < 4


def test_leaving_early_ends_the_thread_and_closes_the_generator():
    closed = []

    def endless() -> Iterator[Any]:
        try:
            while True:
                yield (X[:SIZE],)
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt), Reader(Batches(endless(), SIZE, total=N), group=2) as reader:
        next(reader)
        raise KeyboardInterrupt
    assert closed == [True]


def test_nothing_runs_before_it_is_entered():
    Reader(Batches(chunks, SIZE, total=N))
    assert not [t for t in threading.enumerate() if t.name == "svijax-reader"]


def test_no_batches_are_an_error():
    assert "yields no batch" in failure(lambda: iter(()))
    assert "yields no batch" in failure([])


BAD = {
    "other dtype": ([(X[:4],), (X[:4].astype(int),)], "batch 1 of the loader: batch[0] is unlike", "int32"),
    "other shape": (
        [(X[:4],), (X[:4, :1],)],
        "batch 1 of the loader: batch[0] is unlike",
        "rows of shape (1,)",
    ),
    "other structure": ([(X[:4],), {"x": X[:4]}], "batch 1 of the loader has another structure", "{'x': *}"),
    "too long": ([(X[:5],)], "batch 0 of the loader has 5 rows", "Batches size=5"),
    "empty": ([(X[:4],), (X[:0],)], "batch 1 of the loader has 0 rows", "leave empty batches out"),
    "ragged": ([(X[:4], X[:3])], "different numbers of rows", "batch[0]: 4, batch[1]: 3"),
    "text": ([(X[:4], "label")], "batch 0 of the loader: batch[1] is no array of rows", "'label', a str"),
    "objects": ([(np.array(["a", "b"]),)], "batch[0] is no array of rows", "<U1"),
    "too many": ([(X[:4],)] * 3, "more rows in one pass than there are in all", "12 rows"),
}


@pytest.mark.parametrize("case", BAD)
def test_batches_that_do_not_fit_are_errors(case):
    data, summary, detail = BAD[case]
    text = failure(data)
    assert summary in text and detail in text


def test_row_numbers_are_checked():
    assert "has no entry 2" in failure(chunks, rows=2)
    assert "has no entry 'i'" in failure(chunks, rows="i")
    assert "entry 0 holds no row numbers" in failure(chunks, rows=0)
    assert "0 to 9, as total=10 says" in failure([(X[:2], np.array([3, 10]))], rows=1)


def test_a_transform_that_changes_the_rows_is_an_error():
    with pytest.raises(ShapeError, match="transform changes the number of rows"):
        read(chunks, transform=lambda key, batch: (batch[0][:2],), rows=1)


class Tensor:
    """What numpy can read and JAX cannot, as the tensors of other libraries."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self.array, dtype)


def test_tensors_of_other_libraries():
    found = read([[Tensor(x), Tensor(i)] for x, i in chunks()], rows=1, limit=3)
    np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), X)


class Rows:
    """A data set in the way of PyTorch, and of grain."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> Any:
        return X[i].astype(np.float32), i


@pytest.mark.slow
def test_a_loader_of_pytorch():
    # A package of gigabytes: who has it runs this.
    loader = pytest.importorskip("torch.utils.data").DataLoader(Rows(), batch_size=SIZE, shuffle=True)
    found = read(loader, limit=6, rows=1)
    for epoch in (found[:3], found[3:]):
        rows = np.concatenate([rows for _, rows in epoch])
        np.testing.assert_array_equal(np.sort(rows), NUMBERS)
        np.testing.assert_array_equal(np.concatenate([x for x, _ in epoch]), X[rows])


@pytest.mark.interop
def test_data_sets_of_grain():
    import grain

    source = grain.MapDataset.source(Rows()).shuffle(seed=1).batch(SIZE)
    for data in (source, source.to_iter_dataset()):
        found = read(data, limit=6, rows=1)
        for epoch in (found[:3], found[3:]):
            rows = np.concatenate([rows for _, rows in epoch])
            np.testing.assert_array_equal(np.sort(rows), NUMBERS)
            np.testing.assert_array_equal(np.concatenate([x for x, _ in epoch]), X[rows])

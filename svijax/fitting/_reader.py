"""Batches of an iterable, read in one thread beside the computation: a group of them is moved while one is used."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import LoaderError, ShapeError

from ._batches import Batches
from ._feed import without
from ._loader import HostBatch, Loader

GROUP_BYTES = 2**25
"""A group of batches is not larger, unless one batch is: 32 MiB. Three of them are in memory, two on the device."""

MOST_BATCHES = 1024

PATIENCE = 0.1
"""Seconds after which a group goes out before it is full, if somebody waits for it."""

FAREWELL = 10.0
"""Seconds that leaving waits for a loader that is busy. Its thread ends with the batch that it is at."""


class Loaded(NamedTuple):
    """A group of batches on the device: leaves of shape (group, size, ...), of which ``steps`` are real.

    ``counts``: how many rows of each batch are data, the first ones.
    """

    data: Any
    counts: Any
    steps: int


class Reader:
    """The batches of an iterable by groups: ``with Reader(batches) as reader: for loaded in reader: ...``

    Memory does not grow with the stream: a group in use, one that waits, one that is read. All groups have one shape.
    Outside of ``with`` there is no thread.

    :param group: batches in a group; if not given, what ``GROUP_BYTES`` holds. :param skip: batches to pass over.
    :param limit: batches to read in all. :param put: moves a pytree of numpy arrays to the devices.
    """

    def __init__(
        self,
        batches: Batches,
        group: int | None = None,
        skip: int = 0,
        limit: int | None = None,
        put: Callable[[Any], Any] = jax.device_put,
    ) -> None:
        # Settings of JAX belong to a thread: the reader's are those of the one that makes it.
        self._wide = jnp.result_type(float) == jnp.float64
        self._device = jax.config.jax_default_device  # type: ignore[attr-defined]
        self._loader = Loader(batches, skip, self._wide)
        self._batches, self._group, self._limit, self._put = batches, group, limit, put
        self._turn = threading.Condition()
        self._waiting = self._stopped = self._ended = False
        self._slot: Loaded | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._work, name="svijax-reader", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._turn:
            self._stopped, self._slot = True, None
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join(FAREWELL)

    def __iter__(self) -> Iterator[Loaded]:
        return self

    def __next__(self) -> Loaded:
        """The next group, waited for.

        :raises LoaderError: the iterable raised, or gave what does not fit, after all batches before were handed out.
        """
        with self._turn:
            self._waiting = True
            while self._slot is None and not (self._ended or self._stopped):
                self._turn.wait()
            self._waiting = False
            loaded, self._slot = self._slot, None
            self._turn.notify_all()
        if loaded is not None:
            return loaded
        if isinstance(self._error, LoaderError | ShapeError):
            raise self._error
        if self._error is not None:
            kind = type(self._error).__name__
            raise LoaderError(f"the iterable of Batches raised {kind}: {self._error}") from self._error
        raise StopIteration

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            with jax.enable_x64(self._wide), jax.default_device(self._device):
                self._read()
        except BaseException as caught:
            error = caught
        with self._turn:
            self._error, self._ended = error, True
            self._turn.notify_all()

    def _read(self) -> None:
        source = iter(self._loader)
        stack: _Stack | None = None
        taken = 0
        try:
            while not self._stopped and taken != self._limit:
                host = next(source, None)
                if host is None:
                    break
                stack = self._begin(host) if stack is None else stack
                stack.add(host)
                taken += 1
                if stack.full or (self._waiting and stack.age > PATIENCE):
                    stack = self._give(stack)
        finally:
            # Of an iterable that fails, too, the batches before count.
            if stack is not None and stack.steps:
                self._give(stack)
            source.close()  # type: ignore[attr-defined]

    def _begin(self, host: HostBatch) -> _Stack:
        batch = jax.tree.unflatten(host.structure, host.leaves)
        self._batches.check_transform(without(batch, self._batches.rows))
        size = self._batches.size
        if self._group is None:
            numbers = sum(size * x[:1].nbytes for x in host.leaves)
            self._group = max(1, min(MOST_BATCHES, GROUP_BYTES // max(numbers, 1)))
            if self._limit is not None:
                # A power of two, so that runs of nearly as many steps share a compiled program.
                self._group = min(self._group, 1 << max(self._limit - 1, 0).bit_length())
        return _Stack(host, self._group, size)

    def _give(self, stack: _Stack) -> _Stack:
        """Hand a group over as soon as the one before is taken; the next stack."""
        with self._turn:
            while self._slot is not None and not self._stopped:
                self._turn.wait()
        if not self._stopped:
            data, counts = self._put((stack.data, stack.counts))
            loaded = Loaded(data, counts, stack.steps)
            with self._turn:
                self._slot = loaded
                self._turn.notify_all()
        return stack.another()


class _Stack:
    """Host arrays that batches are copied into, one after another, each filled up to its size with its first row."""

    def __init__(self, like: HostBatch, group: int, size: int) -> None:
        self._like, self._group, self._size = like, group, size
        self._arrays = [np.zeros((group, size, *x.shape[1:]), x.dtype) for x in like.leaves]
        self.counts = np.zeros(group, np.int32)
        self.steps = 0
        self._start = time.monotonic()

    def add(self, host: HostBatch) -> None:
        for array, x in zip(self._arrays, host.leaves, strict=True):
            array[self.steps, : host.length] = x
            array[self.steps, host.length :] = x[:1]
        self.counts[self.steps] = host.length
        self.steps += 1

    def another(self) -> _Stack:
        """An empty one like it. The arrays are new: a device may read those of the old one where they lie."""
        return _Stack(self._like, self._group, self._size)

    @property
    def full(self) -> bool:
        return self.steps == self._group

    @property
    def age(self) -> float:
        """Seconds since it was begun."""
        return time.monotonic() - self._start

    @property
    def data(self) -> Any:
        return jax.tree.unflatten(self._like.structure, self._arrays)

"""What every test may use: fresh keys, a counter of compilations, double precision. Programs compile in a hurry."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import jax
import pytest

import svijax

_COMPILED: list[float] = []

# JAX keeps millions of objects alive, which the collector would go through again and again.
gc.set_threshold(100_000, 50, 1_000)


# Small programs, each run a few times: XLA compiles them three times as fast so. ``-m slow`` has the usual settings.
_IN_A_HURRY = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


def pytest_configure(config: pytest.Config) -> None:
    """Of the default run, by the process that starts the workers; XLA_FLAGS of the user stay as they are."""
    by_default = "not slow" in config.option.markexpr and "XLA_FLAGS" not in os.environ
    if by_default and not hasattr(config, "workerinput") and _known(_IN_A_HURRY):
        os.environ["XLA_FLAGS"] = _IN_A_HURRY


def _known(flags: str) -> bool:
    """Whether JAX runs on the CPU, by an XLA that has these flags: it aborts at one that it lacks."""
    probe = [sys.executable, "-c", "import sys, jax; sys.exit(jax.default_backend() != 'cpu')"]
    environment = os.environ | {"XLA_FLAGS": flags}
    return subprocess.run(probe, env=environment, capture_output=True, check=False).returncode == 0


def _on_duration(event: str, seconds: float, **_: Any) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _COMPILED.append(seconds)


jax.monitoring.register_event_duration_secs_listener(_on_duration)


class Compilations:
    """How many programs XLA compiled inside the block."""

    def __init__(self) -> None:
        self._start = len(_COMPILED)
        self._end: int | None = None

    @property
    def count(self) -> int:
        return (len(_COMPILED) if self._end is None else self._end) - self._start

    def close(self) -> None:
        self._end = len(_COMPILED)


@pytest.fixture
def getkey(request: pytest.FixtureRequest) -> Callable[[], jax.Array]:
    """Fresh keys, and the same ones every time this test runs: they follow from its name."""
    root = jax.random.key(zlib.crc32(request.node.nodeid.encode()))
    counter = itertools.count()
    return lambda: jax.random.fold_in(root, next(counter))


@pytest.fixture
def count_compiles() -> Callable[[], AbstractContextManager[Compilations]]:
    """``with count_compiles() as seen: ...`` and then ``seen.count``."""

    @contextmanager
    def counting() -> Iterator[Compilations]:
        # A key made inside is no part of what is counted, though to make the first one compiles two programs.
        jax.random.key(0)
        seen = Compilations()
        try:
            yield seen
        finally:
            seen.close()

    return counting


@pytest.fixture
def x64() -> Iterator[None]:
    """Double precision for the whole test."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """A worker that kept the compiled programs of all modules would hold many gigabytes, and be slow."""
    yield
    jax.clear_caches()
    svijax.clear_caches()
    gc.collect()

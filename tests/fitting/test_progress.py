"""Bars and lines, as text: what a terminal, a notebook's kernel and a log file get to see."""

from __future__ import annotations

import contextlib
import io
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from small_models import Y, normal_guide, normal_model

import svijax
from svijax.fitting import Report, Status
from svijax.fitting import _progress as module
from svijax.fitting._progress import Pace, Smoothed, duration, number, progress, rate


class Terminal(io.StringIO):
    """A stream that says it is a screen."""

    def isatty(self):
        return True


def report(step, total, losses=(37.0,), status=Status.MAX_STEPS, rate=1000.0):
    return Report(step, total, np.asarray(losses), step / rate, rate, None, status)


def shown(stream, total, reports, name="ELBO"):
    with progress(total, True, name, stream) as tell:
        for one in reports:
            tell(one)
    return stream.getvalue()


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands; ``clock.now`` moves it."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def test_nothing_is_printed_if_nothing_shall_be():
    stream = Terminal()
    with progress(10, False, stream=stream) as tell:
        tell(report(10, 10))
    assert stream.getvalue() == ""


def test_a_terminal_gets_one_bar():
    text = shown(Terminal(), 4000, [report(1000, 4000), report(4000, 4000, [30.0])])
    assert text.count("\n") == 1 and text.endswith("\n")
    last = text.strip().split("\r")[-1]
    assert "100%" in last and "4.00k/4.00k" in last and "step/s" in last and "ELBO -33.111" in last


def test_a_bar_that_ends_early_says_why():
    text = shown(Terminal(), 4000, [report(1000, 4000, status=Status.CONVERGED)])
    last = text.strip().split("\r")[-1]
    assert "100%" in last and "converged, ended at 1,000 of 4,000" in last


def test_a_bar_of_unknown_length_counts():
    text = shown(Terminal(), None, [report(1000, None), report(1500, None, status=Status.END_OF_DATA)])
    last = text.strip().split("\r")[-1]
    assert "1.50kstep [" in last and "%" not in last and "end_of_data" in last


def test_a_bar_survives_an_exception():
    stream = Terminal()
    with pytest.raises(ZeroDivisionError), progress(100, True, stream=stream) as tell:
        tell(report(50, 100))
        raise ZeroDivisionError
    assert stream.getvalue().endswith("\n")


def test_a_log_file_gets_plain_lines_and_few(clock):
    """At 10 s steps of the clock at first, later when a tenth of the time so far has gone by."""
    stream, total, counts = io.StringIO(), 1_000_000, {}
    with progress(total, True, stream=stream) as tell:
        for second in range(1, 1001):
            clock.now = 100.0 + second
            tell(report(1000 * second, total))
            counts[second] = stream.getvalue().count("\n")
    lines = stream.getvalue().splitlines()
    assert "\r" not in stream.getvalue()
    assert [counts[9], counts[10], counts[100]] == [0, 1, 10]
    assert 30 < len(lines) < 40
    assert lines[0] == "step 10,000 of 1,000,000 (1 %): ELBO -37.000, 1k steps/s, 16 min 30 s left"
    assert lines[-1] == "1,000,000 steps in 16 min 40 s: ELBO -37.000, 1k steps/s"


def test_a_log_file_gets_a_line_every_ten_minutes_at_least(clock):
    stream = io.StringIO()
    with progress(10**9, True, stream=stream) as tell:
        for minute in range(3000):
            clock.now = 100.0 + 60 * minute
            tell(report(60_000 * (minute + 1), 10**9))
    steps = [int(line.split()[1].replace(",", "")) for line in stream.getvalue().splitlines()[:-1]]
    gaps = np.diff(steps) / 60_000
    assert gaps[-20:].max() == 10 and gaps.max() == 10


def test_a_short_run_is_one_line(clock):
    reports = [report(n, 100) for n in (16, 50, 100)]
    assert shown(io.StringIO(), 100, reports) == "100 steps in 0.1 s: ELBO -37.000, 1k steps/s\n"


@pytest.mark.parametrize(
    "total, status, end",
    [
        (4000, Status.CONVERGED, "converged, ended at 1,000 of 4,000"),
        (4000, Status.NONFINITE, "nonfinite, ended at 1,000 of 4,000"),
        (4000, Status.MAX_STEPS, "ended at 1,000 of 4,000"),
        (None, Status.END_OF_DATA, "end_of_data"),
    ],
)
def test_the_last_line_says_how_a_run_ended(total, status, end):
    text = shown(io.StringIO(), total, [report(1000, total, status=status)])
    assert text == f"1,000 steps in 1.0 s: ELBO -37.000, 1k steps/s, {end}\n"


def test_lines_of_unknown_length_have_no_time_left(clock):
    stream = io.StringIO()
    with progress(None, True, stream=stream) as tell:
        clock.now += 11
        tell(report(5000, None))
        first = stream.getvalue()
    assert first == "step 5,000: ELBO -37.000, 1k steps/s\n"


def test_chains_are_summed_up():
    losses = np.tile([10.0, 40.0, 20.0, np.nan], (5, 1))
    text = shown(io.StringIO(), 5, [report(5, 5, losses, np.array([0, 4, 4, 1]))])
    assert text == (
        "5 steps in 0.0 s: 4 chains, ELBO best -10.000, median -20.000, 1k steps/s, 2 converged, 1 nonfinite\n"
    )
    text = shown(io.StringIO(), 5, [report(5, 5, losses, np.zeros(4, int))], name="loss")
    assert "4 chains, loss best 10.000, median 20.000, 1k" in text
    assert "4 chains nan" in shown(io.StringIO(), 5, [report(5, 5, np.full((5, 4), np.nan), np.ones(4, int))])


def test_smoothing_is_exponential_over_chunks():
    smoothed = Smoothed()
    assert np.isnan(smoothed.value) and str(smoothed) == "ELBO nan"
    smoothed.add([10.0, 20.0])
    smoothed.add([np.nan])
    assert smoothed.value == -15.0
    smoothed.add([1.0, np.inf, 3.0, 2.0])
    np.testing.assert_allclose(smoothed.value, -(0.8 * 30 + 6) / (0.8 * 2 + 3))
    chains = Smoothed("loss")
    chains.add([[1.0, 5.0]])
    chains.add([[2.0, np.nan]])
    np.testing.assert_allclose(chains.value, [(0.8 + 2) / 1.8, 5.0])


def test_a_frozen_chain_keeps_its_value_for_ever():
    smoothed = Smoothed()
    smoothed.add([[3.0, 4.0]])
    for _ in range(5000):
        smoothed.add([[3.0, np.nan]])
    np.testing.assert_allclose(smoothed.value, [-3.0, -4.0])


def test_numbers_read_well():
    values = [-37.2134, -1234.56, -104560.7, 1.5e12, 0.0, np.nan, -np.inf, 0.01234567]
    texts = ["-37.213", "-1,234.6", "-104,561", "1.5e+12", "0", "nan", "-inf", "0.012346"]
    assert [number(x) for x in values] == texts
    assert [rate(x) for x in (12345.0, 1.2e6, 3.25, 0.25, 0.0)] == [
        *("12.3k steps/s", "1.2M steps/s", "3.25 steps/s", "4 s/step", "0 steps/s")
    ]
    seconds = [0.32, 9.96, 42.0, 200.0, 3599.6, 7380.0]
    assert [duration(x) for x in seconds] == ["0.3 s", "10 s", "42 s", "3 min 20 s", "1 h 0 min", "2 h 3 min"]


def test_a_notebook_is_one_whose_kernel_is_jupyters(monkeypatch):
    fake = SimpleNamespace(get_ipython=lambda: None)
    monkeypatch.setitem(sys.modules, "IPython", fake)
    assert not module._is_notebook()
    fake.get_ipython = lambda: SimpleNamespace(config={"TerminalIPythonApp": {}})
    assert not module._is_notebook()
    fake.get_ipython = lambda: SimpleNamespace(config={"IPKernelApp": {}})
    assert module._is_notebook()
    # Where the kernel's stream is no screen it still gets a bar, tqdm's.
    monkeypatch.setattr(module, "_bar", lambda *args: contextlib.nullcontext(taken.append))
    taken = []
    shown(io.StringIO(), 10, [report(10, 10)])
    assert [one.step for one in taken] == [10]


def test_chunks_take_their_time(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    pace = Pace(capacity=5000, seconds=0.1)
    assert pace.next(1000) == 16 and pace.next(3) == 3
    with pace.timing(16):
        clock.now += 0.016
    assert pace.next(1000) == 100 and pace.next(7) == 7
    with pace.timing(100):
        clock.now += 1e-6
    assert pace.next(10**6) == 5000
    with pace.timing(1):
        clock.now += 1000.0
    assert pace.next(10**6) == 1


def test_a_run_prints_its_bar_and_its_line(capsys, monkeypatch):
    svi = svijax.SVI(normal_model, normal_guide, 0.05)
    svi.run(jax.random.key(0), 50, Y)
    text = capsys.readouterr().err
    assert text.startswith("50 steps in ") and "ELBO -" in text and text.count("\n") == 1
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    svi.run(jax.random.key(0), 50, Y)
    assert "100%" in screen.getvalue() and "50.0/50.0" in screen.getvalue()

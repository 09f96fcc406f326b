"""Writers: rows round trip, files are continued and never lost, event files are TensorBoard's to the byte."""

from __future__ import annotations

import csv
import dataclasses
import json
import struct
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from small_models import Y, normal_guide, normal_model

import svijax
from svijax.base import ArgumentError
from svijax.fitting import CSV, JSONLines, Metrics, Report, Status, TensorBoard
from svijax.fitting._events import crc32c, masked_crc32c, record, scalar_event, start_event, version_event


def report(step, losses=(2.0, 4.0), **metrics):
    """A report whose state has the one thing that a writer reads."""
    losses = np.asarray(losses, np.float32)
    chains = losses.shape[1:]
    state = SimpleNamespace(step=np.full(chains, step))
    status = np.zeros(chains, int) if chains else Status.MAX_STEPS
    return Report(step, 1000, losses, 0.25 * step, 4.0, state, status, metrics)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def table_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_json_lines_round_trip(tmp_path):
    path = tmp_path / "new" / "run.jsonl"
    write = JSONLines(path)
    write(report(8, rate=np.float32(0.1)))
    write(report(20, [np.nan, 5.0, np.inf], rate=np.nan))
    first, second = lines_of(path)
    assert first == {"step": 8, "seconds": 2.0, "steps_per_second": 4.0, "loss": 3.0, "rate": 0.1}
    assert second == {"step": 20, "seconds": 5.0, "steps_per_second": 4.0, "loss": 5.0, "rate": None}
    write(report(30, other=1.0))
    assert "other" in lines_of(path)[2] and "rate" not in lines_of(path)[2]


def test_csv_round_trip(tmp_path):
    path = tmp_path / "run.csv"
    write = CSV(path)
    write(report(8, **{"log_p/a, b": np.float32(1) / 3}))
    write(report(20, [np.nan], **{"log_p/a, b": -np.inf}))
    first, second = table_of(path)
    assert list(first) == ["step", "seconds", "steps_per_second", "loss", "log_p/a, b"]
    assert first["step"] == "8" and float(first["loss"]) == 3.0
    assert np.float32(first["log_p/a, b"]) == np.float32(1) / 3 and len(first["log_p/a, b"]) <= 11
    assert second["loss"] == "nan" and second["log_p/a, b"] == "-inf"


def test_chains_are_columns_lists_or_means(tmp_path):
    losses = [[1.0, 5.0, np.nan], [3.0, 7.0, np.nan]]
    norm = np.array([0.5, 1.5, np.nan], np.float32)
    for name, write in {
        "each": CSV(tmp_path / "each"),
        "mean": CSV(tmp_path / "mean", chains="mean"),
    }.items():
        write(report(2, losses, norm=norm))
        (row,) = table_of(tmp_path / name)
        if name == "each":
            assert [row[f"loss[{k}]"] for k in range(3)] == ["2.0", "6.0", "nan"]
            assert [row[f"norm[{k}]"] for k in range(3)] == ["0.5", "1.5", "nan"]
        else:
            assert (row["loss"], row["norm"]) == ("4.0", "1.0")
    JSONLines(tmp_path / "lists")(report(2, losses, norm=norm))
    JSONLines(tmp_path / "means", chains="mean")(report(2, losses, norm=norm))
    assert lines_of(tmp_path / "lists")[0]["loss"] == [2.0, 6.0, None]
    assert lines_of(tmp_path / "means")[0]["loss"] == 4.0
    with pytest.raises(ArgumentError, match='expected: "each" or "mean"'):
        CSV(tmp_path / "x", chains="median")


def test_a_new_column_is_an_error_that_says_so(tmp_path):
    path = tmp_path / "run.csv"
    CSV(path)(report(8, a=1.0, b=2.0))
    with pytest.raises(
        ArgumentError, match=r"has no column for c; its first row decided[\s\S]*fix: .*JSONLines"
    ):
        CSV(path)(report(20, a=1.0, b=2.0, c=3.0))
    assert len(table_of(path)) == 1
    CSV(path)(report(30, b=5.0))
    assert table_of(path)[1]["a"] == "" and table_of(path)[1]["b"] == "5.0"


@pytest.mark.parametrize("writer, suffix", [(JSONLines, "jsonl"), (CSV, "csv")])
def test_a_resumed_run_continues_the_file(tmp_path, writer, suffix):
    path = tmp_path / f"run.{suffix}"
    for step in (10, 20, 30, 40):
        writer(path)(report(step, [step]))
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])  # killed while it wrote: row 40 is torn
    writer(path)(report(50, [50.0]))
    read = lines_of if writer is JSONLines else table_of
    assert [int(row["step"]) for row in read(path)] == [10, 20, 30, 50]
    writer(path)(report(25, [25.5]))  # resumed at a checkpoint of step 20
    writer(path)(report(45, [45.5]))
    assert [(int(r["step"]), float(r["loss"])) for r in read(path)] == [
        (10, 10),
        (20, 20),
        (25, 25.5),
        (45, 45.5),
    ]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("writer", [JSONLines, CSV])
def test_another_fit_moves_the_file_away(tmp_path, writer):
    path = tmp_path / "run"
    contents = []
    for step in (16, 12, 8):
        writer(path)(report(step))
        contents.append(path.read_bytes())
    assert [p.read_bytes() for p in (tmp_path / "run.1", tmp_path / "run.2", path)] == contents


@pytest.mark.parametrize("writer", [JSONLines, CSV])
def test_a_foreign_file_is_left_alone(tmp_path, writer):
    path = tmp_path / "notes"
    path.write_text("title\nsome words\nmore\n")
    with pytest.raises(
        ArgumentError, match=r"notes was not made by this writer[\s\S]*got: .*(title|some words)"
    ):
        writer(path)(report(8))
    assert path.read_text() == "title\nsome words\nmore\n"


@pytest.mark.parametrize("writer", [JSONLines, CSV])
def test_long_rows_find_their_predecessor(tmp_path, writer):
    path = tmp_path / "run"
    many = {f"m{i}": np.arange(1000.0) + 0.123 for i in range(4)}
    for step in (5, 10, 15):
        writer(path)(report(step, np.ones((2, 1000)), **many))
    read = lines_of if writer is JSONLines else table_of
    assert [int(row["step"]) for row in read(path)] == [5, 10, 15]


def test_checksums_are_those_of_the_standard():
    """RFC 3720, B.4."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert masked_crc32c(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) % 2**32


def test_events_have_the_bytes_of_their_protocol_buffers():
    """Written out field by field: key, length, value."""
    time, step = b"\x09" + struct.pack("<d", 1.5), b"\x10\xac\x02"
    assert version_event(1.5) == time + b"\x1a\x0dbrain.Event:2"
    value = b"\x0a\x04loss\x15" + struct.pack("<f", -2.5)
    assert scalar_event(1.5, 300, {"loss": -2.5}) == time + step + b"\x2a\x0d\x0a\x0b" + value
    assert start_event(1.5, 300) == time + step + b"\x3a\x02\x08\x01"
    data = version_event(1.5)
    whole = record(data)
    assert whole[:8] == struct.pack("<Q", len(data)) and whole[12:-4] == data
    assert whole[8:12] == struct.pack("<I", masked_crc32c(whole[:8]))
    assert whole[-4:] == struct.pack("<I", masked_crc32c(data))
    # The first 24 + 16 bytes of every file that TensorFlow itself writes: length 24 has this checksum.
    assert record(bytes(24))[:12].hex() == "1800000000000000a37f4b22"


def fields_of(data):
    """(number, value) of the fields of a protocol buffer message, read by its wire format."""
    found, i = [], 0

    def varint():
        nonlocal i
        value = shift = 0
        while True:
            byte = data[i]
            i += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while i < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        else:
            length = {1: 8, 5: 4}.get(kind) or varint()
            value = data[i : i + length]
            i += length
            value = struct.unpack("<d" if kind == 1 else "<f", value)[0] if kind in (1, 5) else value
        found.append((key >> 3, value))
    return found


def records_of(path):
    data, out = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert struct.unpack("<I", data[8:12])[0] == masked_crc32c(data[:8])
        body = data[12 : 12 + length]
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == masked_crc32c(body)
        out.append(dict(fields_of(body)))
        data = data[16 + length :]
    return out


def test_an_event_file_round_trips(tmp_path):
    write = TensorBoard(tmp_path / "logs")
    write(report(8, **{"log_p/y": -1.25}))
    write(report(300, [[1.0, 3.0]], norm=np.array([1e300, 2.0])))
    (path,) = (tmp_path / "logs").iterdir()
    assert "tfevents" in path.name
    version, start, *events = records_of(path)
    assert version[3] == b"brain.Event:2" and version[1] > 1e9
    assert (start[2], dict(fields_of(start[7]))) == (8, {1: 1})
    scalars = [
        {v[1].decode(): v[2] for v in (dict(fields_of(x)) for _, x in fields_of(e[5]))} for e in events
    ]
    assert [e[2] for e in events] == [8, 300]
    assert scalars[0] == {"seconds": 2.0, "steps_per_second": 4.0, "loss": 3.0, "log_p/y": -1.25}
    assert scalars[1]["loss"] == 2.0 and scalars[1]["norm"] == np.inf
    TensorBoard(tmp_path / "logs")(report(400))
    assert len(list((tmp_path / "logs").iterdir())) == 2
    assert dataclasses.replace(write) == write


def test_a_negative_step_is_a_varint_of_ten_bytes():
    assert dict(fields_of(start_event(0.0, -1)))[2] == 2**64 - 1


def test_writers_keep_a_run(tmp_path):
    svi = svijax.SVI(normal_model, normal_guide, 0.05)
    writers = [JSONLines(tmp_path / "a.jsonl"), CSV(tmp_path / "b.csv"), TensorBoard(tmp_path / "logs")]
    options = {"progress_bar": False, "callback": writers, "metrics": Metrics()}
    first = svi.run(jax.random.key(0), 40, Y, **options)
    second = svi.run(jax.random.key(0), 30, Y, init_state=first.state, **options)
    rows, table = lines_of(tmp_path / "a.jsonl"), table_of(tmp_path / "b.csv")
    steps = [row["step"] for row in rows]
    assert steps == sorted(steps) and {40, 70} <= set(steps) and [int(row["step"]) for row in table] == steps
    losses = np.concatenate([first.losses, second.losses]).astype(float)
    for begin, row, same in zip([0, *steps], rows, table):
        expected = losses[begin : row["step"]].mean()
        np.testing.assert_allclose([row["loss"], float(same["loss"])], expected, rtol=1e-6)
    assert {"log_p/mu", "log_p/y", "log_q/mu", "gradient_norm", "update_norm"} < set(rows[0])


@pytest.mark.interop
def test_tensorboard_reads_the_file(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write = TensorBoard(tmp_path)
    for step in (10, 20, 30):
        write(report(step, [step / 4], **{"log_p/y": -step}))
    TensorBoard(tmp_path)(report(20, [7.0]))
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert sorted(read.Tags()["scalars"]) == ["log_p/y", "loss", "seconds", "steps_per_second"]
    assert [(e.step, e.value) for e in read.Scalars("loss")] == [(10, 2.5), (20, 7.0)]
    assert abs(read.Scalars("loss")[0].wall_time - read.FirstEventTimestamp()) < 60

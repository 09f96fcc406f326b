"""TensorBoard's event files, as far as scalars need them.

A file is a sequence of records: length (uint64), masked CRC-32C of the length, data, masked CRC-32C of the data, all
little-endian (tensorflow/core/lib/io/record_writer.h). The data are protocol buffers (tensorflow/core/util/event.proto,
tensorflow/core/framework/summary.proto), of which these fields are written:

    Event {double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5;
           SessionLog session_log = 7}
    Summary {repeated Value value = 1}    Value {string tag = 1; float simple_value = 2}    SessionLog {enum status = 1}
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

VERSION = b"brain.Event:2"

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
_START = 1
_POLYNOMIAL = 0x82F63B78


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of the bytes: crc32c(b"123456789") = 0xE3069283."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """(crc rotated right by 15 bits) + 0xA282EAD8, mod 2³²."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(data: bytes) -> bytes:
    """The bytes as one record of a file."""
    length = struct.pack("<Q", len(data))
    checks = (struct.pack("<I", masked_crc32c(part)) for part in (length, data))
    return length + next(checks) + data + next(checks)


def version_event(wall_time: float) -> bytes:
    """The event that a file begins with."""
    return _double(1, wall_time) + _bytes(3, VERSION)


def start_event(wall_time: float, step: int) -> bytes:
    """The event that says: what other files have from this step on does not count."""
    return _double(1, wall_time) + _integer(2, step) + _bytes(7, _integer(1, _START))


def scalar_event(wall_time: float, step: int, scalars: Mapping[str, float]) -> bytes:
    """An event of scalars by tag, in single precision."""
    values = (_bytes(1, _bytes(1, tag.encode()) + _float(2, x)) for tag, x in scalars.items())
    return _double(1, wall_time) + _integer(2, step) + _bytes(5, b"".join(values))


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first, the top bit set where more follow; a negative number as 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _integer(field: int, value: int) -> bytes:
    return _key(field, _VARINT) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _key(field, _DOUBLE) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    with np.errstate(over="ignore"):
        # Infinite where it is out of range; struct would raise.
        single = float(np.float32(value))
    return _key(field, _FLOAT) + struct.pack("<f", single)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(value)) + value

"""TensorBoard event files: records framed with their length, each a protobuf message of which only the scalars are decoded.

Written from the format's public description (TFRecord framing, ``event.proto``, ``summary.proto``, ``tensor.proto``), so that
neither TensorFlow nor TensorBoard need be installed. Only the checksums of the lengths are checked; they tell a damaged file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from trainlint.curves.log import Log
from trainlint.curves.readers.source import Source

__all__ = ["FORMAT", "matches", "read"]

FORMAT = "tensorboard"

_LONGEST = 256 << 20
"""Bytes of one record that are read; longer ones hold pictures or sound and are passed over."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FLOAT, _DOUBLE = 1, 2


def matches(source: Source) -> bool:
    """Whether the file begins with a record whose length has the right checksum."""
    head = source.head
    return len(head) >= 12 and _framed(head[:12])


def read(source: Source, log: Log) -> None:
    """Add one row a scalar: its tag, and ``step``."""
    skipped = 0
    with source.path.open("rb") as file:
        for event in _records(file, log):
            try:
                step, scalars, other = _event(event)
            except (ValueError, struct.error, IndexError):
                log.notes.append("a record could not be decoded and was passed over")
                continue
            skipped += other
            for tag, value in scalars:
                log.add({"step": float(step), tag: value})
    if skipped:
        log.notes.append(f"{skipped} values that are no scalars (pictures, histograms, text) were passed over")


def _records(file: BinaryIO, log: Log) -> Iterator[bytes]:
    count = 0
    while header := file.read(12):
        if len(header) < 12 or not _framed(header):
            what = "ends in the middle of" if len(header) < 12 else "is damaged at"
            log.notes.append(f"the file {what} record {count + 1}; the {count} before it were read")
            return
        (length,) = struct.unpack("<Q", header[:8])
        if length > _LONGEST:
            file.seek(length + 4, 1)
            continue
        data = file.read(length + 4)
        if len(data) < length + 4:
            log.notes.append(f"the file ends in the middle of record {count + 1}; the {count} before it were read")
            return
        count += 1
        yield data[:-4]


def _event(data: bytes) -> tuple[int, list[tuple[str, float]], int]:
    """Step, scalars by tag, and how many other values an ``Event`` message has."""
    step, scalars, other = 0, [], 0
    for field, value in _fields(data):
        if field == 2 and isinstance(value, int):
            step = value - (1 << 64) if value >> 63 else value
        elif field == 5 and isinstance(value, bytes):
            for number, entry in _fields(value):
                if number != 1 or not isinstance(entry, bytes):
                    continue
                tag, scalar = _value(entry)
                if scalar is None:
                    other += 1
                else:
                    scalars.append((tag, scalar))
    return step, scalars, other


def _value(data: bytes) -> tuple[str, float | None]:
    """Tag and number of a ``Summary.Value``; None when it holds something else."""
    tag, scalar = "", None
    for field, value in _fields(data):
        if field == 1 and isinstance(value, bytes):
            tag = value.decode("utf-8", "replace")[:200]
        elif field == 2 and isinstance(value, bytes):
            (scalar,) = struct.unpack("<f", value)
        elif field == 8 and isinstance(value, bytes):
            scalar = _tensor(value)
    return tag, scalar


def _tensor(data: bytes) -> float | None:
    """The number of a ``TensorProto`` with one float or double."""
    kind, content, floats, doubles = 0, b"", b"", b""
    for field, value in _fields(data):
        if field == 1 and isinstance(value, int):
            kind = value
        elif isinstance(value, bytes):
            content = value if field == 4 else content
            floats = floats + value if field == 5 else floats
            doubles = doubles + value if field == 6 else doubles
    raw = content or (floats if kind == _FLOAT else doubles)
    form = {_FLOAT: "<f", _DOUBLE: "<d"}.get(kind)
    if form is None or len(raw) != struct.calcsize(form):
        return None
    return float(struct.unpack(form, raw)[0])


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and raw values of a protobuf message; fixed-width numbers as their bytes."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield field, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            msg = f"wire type {wire}"
            raise ValueError(msg)
        if at + size > end:
            msg = "field runs over the end"
            raise ValueError(msg)
        yield field, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
        if shift > 63:
            msg = "varint too long"
            raise ValueError(msg)


def _framed(header: bytes) -> bool:
    """Whether the masked CRC-32C of a record's length fits."""
    crc = _crc32c(header[:8])
    return bool(((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF == struct.unpack("<I", header[8:12])[0])


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF

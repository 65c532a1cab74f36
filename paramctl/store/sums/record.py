"""The record of hashes in a file: one line of text, of fixed length, that can be filled in after the values.

    paramctl-sums-1:SEAL:SUMS:end-of-paramctl-sums

SUMS has the 43 characters of each hash in base64 for URLs, in the order of the arrays' bytes in the file, without those
of empty arrays. In an index, they are the seals of the files that it names, sorted by name.

SEAL is the SHA-256 of all bytes of the file that are not values of arrays, with the digits of the seal itself taken as
zeros wherever the text occurs (HDF5 may leave an old copy of an attribute behind).
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

START = b"paramctl-sums-1:"
END = b":end-of-paramctl-sums"
UNSEALED = "0" * 64
DIGITS = 43
"""Characters of a hash."""
TRACES = (START[:-3], END[1:])
"""Parts of a record. A change of one bit leaves at least one of them."""
RECORD = re.compile(re.escape(START) + rb"([0-9a-f]{64}):((?:[0-9A-Za-z_-]{43})*+)" + re.escape(END))
MAX_RECORD = 1 << 24
AT_ONCE = 1 << 20

Range = tuple[int, int]
"""The offsets of a first byte, and of the byte after the last one."""
ReadBytes = Callable[[int, int], bytes]
"""A function from an offset and a size to the bytes of a file there."""


class Record(NamedTuple):
    """A record in a file.

    offsets: of its digits of the seal: each copy of the record in the file.
    sums: the hashes, as 64 hexadecimal digits.
    """

    seal: str
    offsets: tuple[int, ...]
    sums: tuple[str, ...]


def record_text(sums: Sequence[str] | int = 0, seal: str = UNSEALED) -> str:
    """Return the text of a record. sums: the hashes; or their number, for a record that is filled in later."""
    digits = "A" * DIGITS * sums if isinstance(sums, int) else "".join(map(encode, sums))
    return f"{START.decode()}{seal}:{digits}{END.decode()}"


def set_record(names: Sequence[str], seals: Sequence[str]) -> str:
    """Return the unsealed record of an index; empty if a file has no seal. names, seals: of its files."""
    return record_text([seal for _, seal in sorted(zip(names, seals, strict=True))]) if all(seals) else ""


def encode(digest: str) -> str:
    """Return a hash as a record has it, given its 64 hexadecimal digits."""
    return urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")


def gaps(taken: Iterable[Range], size: int) -> list[Range]:
    """Return the ranges of a file that are not values, given those that are."""
    free, end = [], 0
    for begin, stop in sorted(taken):
        if begin > end:
            free.append((end, begin))
        end = max(end, stop)
    return [*free, (end, size)] if end < size else free


def find_records(read: ReadBytes, ranges: Sequence[Range]) -> list[Record]:
    """Return the records in these ranges of a file, one for each seal, in order."""
    records: dict[str, Record] = {}
    for offset, end in _positions(read, ranges, START):
        match = RECORD.match(read(offset, min(end - offset, MAX_RECORD)))
        if match is None:
            continue
        seal, digits = match[1].decode(), match[2].decode()
        sums = tuple(decode(digits[at : at + DIGITS]) for at in range(0, len(digits), DIGITS))
        records.setdefault(seal, Record(seal, (), sums))
    return [record._replace(offsets=_occurrences(read, ranges, record.seal)) for record in records.values()]


def decode(digits: str) -> str:
    """Return the hexadecimal digits of a hash in a record."""
    return urlsafe_b64decode(f"{digits}=").hex()


def has_traces(read: ReadBytes, ranges: Sequence[Range]) -> bool:
    """Return whether a file has a part of a record, which may be damaged."""
    return any(next(_positions(read, ranges, trace), None) is not None for trace in TRACES)


def compute_seal(read: ReadBytes, ranges: Sequence[Range], offsets: Sequence[int]) -> str:
    """Return the seal of a file. ranges: the bytes that are not values. offsets: of the seal's own digits."""
    digest = sha256()
    for begin, data in _chunks(read, ranges):
        end = begin + len(data)
        inside = [offset for offset in offsets if offset < end and offset + len(UNSEALED) > begin]
        if inside:
            changed = bytearray(data)
            for offset in inside:
                first, last = max(offset, begin) - begin, min(offset + len(UNSEALED), end) - begin
                changed[first:last] = b"0" * (last - first)
            data = bytes(changed)
        digest.update(data)
    return digest.hexdigest()


def sealed_text(text: str) -> str:
    """Return a text with an unsealed record in it as a sealed one."""
    data = text.encode("utf-8")
    ranges = [(0, len(data))]

    def read(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    offsets = _occurrences(read, ranges, UNSEALED)
    seal = compute_seal(read, ranges, offsets)
    return text.replace(f"{START.decode()}{UNSEALED}", f"{START.decode()}{seal}")


def _occurrences(read: ReadBytes, ranges: Sequence[Range], seal: str) -> tuple[int, ...]:
    places = _positions(read, ranges, START + seal.encode())
    return tuple(offset + len(START) for offset, _ in places)


def unsealed_records(read: ReadBytes, ranges: Sequence[Range]) -> tuple[int, ...]:
    """Return the offsets of the digits of seals that are not filled in."""
    return _occurrences(read, ranges, UNSEALED)


def _chunks(read: ReadBytes, ranges: Iterable[Range]) -> Iterator[tuple[int, bytes]]:
    for begin, end in ranges:
        while begin < end and (data := read(begin, min(AT_ONCE, end - begin))):
            yield begin, data
            begin += len(data)


def _positions(read: ReadBytes, ranges: Sequence[Range], text: bytes) -> Iterator[Range]:
    """Yield the offset of each occurrence of a text, and the end of the range that has it."""
    for begin, end in ranges:
        kept, start = b"", begin  # the end of the chunk before, for a text across two chunks
        for offset, data in _chunks(read, [(begin, end)]):
            window = kept + data
            place = window.find(text)
            while place >= 0:
                yield start + place, end
                place = window.find(text, place + 1)
            kept = window[-(len(text) - 1) :]
            start = offset + len(data) - len(kept)

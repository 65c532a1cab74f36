"""Proofs: each reads what a command prints, or the file that it wrote, and returns the facts that show its work."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from measure import Proof

NUMBER = r"[-+]?(?:\d[\d,]*\.?\d*(?:[eE][-+]?\d+)?|\.\d+|nan|inf)"
CHUNK = 1 << 20

ARRAYS = """
import sys, zlib
import numpy as np
path = sys.argv[1]
if path.endswith(".h5"):
    import h5py
    file, found = h5py.File(path), {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    names, get = found, lambda name: found[name][()]
else:
    from safetensors import safe_open
    file = safe_open(path, "numpy")
    names, get = file.keys(), file.get_tensor
for name in sorted(names):
    a = np.asarray(get(name))
    if a.dtype.kind in "SO":  # what the file records beside its arrays
        continue
    flat = np.ascontiguousarray(a).reshape(-1)
    exact = zlib.crc32(flat.view(np.uint8))
    f = flat.astype(np.float32)
    figures = float(f.mean(dtype=np.float64)), float(f.std(dtype=np.float64))
    print(name, *a.shape, str(a.dtype), exact, *figures, sep="\\t")
"""


def lines(stdout: IO[bytes]) -> Iterator[str]:
    return (line.decode(errors="replace").rstrip("\n") for line in stdout)


def size_of(stdout: IO[bytes]) -> int:
    """Return the number of bytes."""
    return sum(len(chunk) for chunk in iter(lambda: stdout.read(CHUNK), b""))


def text(stdout: IO[bytes]) -> str:
    return stdout.read().decode(errors="replace").strip()


def contains(*words: str) -> Proof:
    """Return a proof that the output contains words; its fact is these words."""
    return lambda stdout: (lambda printed: [word for word in words if word in printed])(text(stdout))


def nothing(stdout: IO[bytes]) -> str:
    """Return a fact for a command that must print nothing."""
    return text(stdout) or "nothing printed"


def arrays(stdout: IO[bytes]) -> list[tuple[str, tuple[int, ...]]]:
    """Return the name and the shape of each array in a list: ``name (2, 3) float32``, or a table's row of it."""
    pattern = re.compile(r"^/?(\S+)\s+(?:Dataset |tensor )?[(\[{]([\d, ]*)[)\]}]")
    found = (pattern.match(line) for line in lines(stdout))
    return sorted((match[1], shape(match[2])) for match in found if match)


def tree(stdout: IO[bytes]) -> list[tuple[str, tuple[int, ...]]]:
    """Return the same from h5glance's tree, whose indentation gives the groups."""
    names: list[str] = []
    found = []
    for line in lines(stdout):
        match = re.match(r"^([ │]*)[├└]([^\t]+)(?:\t\[\w+: ([\d × ]*)\])?", line)
        if match:
            names[len(match[1]) // 2 :] = [match[2]]
            if match[3]:
                found.append(("/".join(names), shape(match[3].replace("×", ","))))
    return sorted(found)


def shape(words: str) -> tuple[int, ...]:
    return tuple(int(size) for size in words.replace(" ", "").split(",") if size)


def total(stdout: IO[bytes]) -> int:
    """Return the total of the parameters: as summaries print it, or as the sum of the sizes of a list."""
    printed = text(stdout)
    match = re.search(r"Total param\w*:\s+([\d,]+)", printed)
    if match:
        return int(match[1].replace(",", ""))
    sizes = re.findall(r"Dataset \{([\d, ]+)\}", printed)
    return sum(math.prod(shape(size)) for size in sizes)


def table(columns: int) -> Proof:
    """Return a proof by rows that begin with a name: the name, and the last numbers after it."""

    def proof(stdout: IO[bytes]) -> list[tuple[str, list[float]]]:
        found = []
        for line in lines(stdout):
            numbers = re.findall(rf"(?<=\s){NUMBER}(?=\s|$)", line)
            if len(numbers) >= columns:
                found.append((line.split()[0], [float(n.replace(",", "")) for n in numbers[:columns]]))
        return sorted(found)

    return proof


def statistics(stdout: IO[bytes]) -> list[tuple[str, list[float]]]:
    """Return the name and the size, mean, standard deviation, least and largest value of each array."""
    return table(5)(stdout)


def numbers(stdout: IO[bytes]) -> list[float]:
    """Return every number of a printed array."""
    return [float(word) for word in re.findall(NUMBER, re.sub(r"[\[\],()]|tensor|dtype=\S+|array", " ", text(stdout)))]


def csv_values(header: int, delimiter: str = ",") -> Proof:
    """Return a proof by the number, the sum, and the weighted sum of the last column."""

    def proof(stdout: IO[bytes]) -> list[float | int]:
        rows = (line.rpartition(delimiter)[2] for number, line in enumerate(lines(stdout)) if number >= header)
        return sums(float(value) for value in rows if value)

    return proof


def words_values(stdout: IO[bytes]) -> list[float | int]:
    """Return the same of every number in lines of numbers."""
    return sums(float(word) for line in lines(stdout) for word in line.split())


def json_values(stdout: IO[bytes]) -> list[float | int]:
    """Return the same of the numbers of one document of JSON."""

    def flat(value: Any) -> Iterator[float]:
        if isinstance(value, (dict, list)):
            for each in value.values() if isinstance(value, dict) else value:
                yield from flat(each)
        else:
            yield float(value)

    return sums(flat(json.load(stdout)))


def sums(values: Iterator[float]) -> list[float | int]:
    count, plain, weighted = 0, 0.0, 0.0
    for value in values:
        count += 1
        plain += value
        weighted += value * (count % 1009)
    return [count, plain, weighted]


def written(path: str, what: str) -> Proof:
    """Return a proof by the arrays of a file: ``exact`` their bytes, ``close`` their means and deviations,
    or ``sizes`` their number and sizes alone, for values that are drawn."""
    keep: dict[str, Callable[[list[str]], Any]] = {
        "exact": lambda words: (*words[:-3], words[-3]),
        "close": lambda words: (words[:-4], float(words[-2]), float(words[-1])),
        "drawn": lambda words: (words[1:-4], float(words[-2]), float(words[-1])),
    }

    def proof(stdout: IO[bytes]) -> list[Any]:
        stdout.read()
        listed = subprocess.run([sys.executable, "-c", ARRAYS, path], check=False, capture_output=True, text=True)
        if listed.returncode:
            listed = subprocess.run([PROVER[0], "-c", ARRAYS, path], check=False, capture_output=True, text=True)
        if listed.returncode:
            raise OSError(listed.stderr)
        return sorted(keep[what](line.split("\t")) for line in listed.stdout.splitlines())

    return proof


PROVER = [sys.executable]
"""An interpreter that has safetensors and h5py."""


def file_bytes(path: str) -> Proof:
    """Return a proof by the size and the checksum of a file."""

    def proof(stdout: IO[bytes]) -> tuple[int, int]:
        stdout.read()
        return checksum(path)

    return proof


def file_size(path: str) -> Proof:
    def proof(stdout: IO[bytes]) -> int:
        stdout.read()
        return os.path.getsize(path)

    return proof


def checksum(path: str) -> tuple[int, int]:
    size, crc = 0, 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
    return size, crc

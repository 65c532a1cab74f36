"""Edits: values of a file of 1 GB changed, and the whole written to the disk and synced."""

from __future__ import annotations

from collections.abc import Iterator

from bench import Bench, copied
from checkpoint_files import OPEN, gigabyte
from measure import Row
from proofs import checksum, file_bytes, written

SCALE = {
    "h5": """
import os
names, get = opened({a!r})
with h5py.File({out!r}, "w") as file:
    for name in names:
        file[name] = get(name) * np.float32(1.01)
os.fsync(os.open({out!r}, os.O_RDWR))
""",
    "safetensors": """
import os
from safetensors.numpy import save_file
names, get = opened({a!r})
save_file({{name: get(name) * np.float32(1.01) for name in names}}, {out!r})
os.fsync(os.open({out!r}, os.O_RDWR))
""",
}
ONE = {
    "h5": """
import os, shutil, h5py
shutil.copyfile({a!r}, {out!r})
with h5py.File({out!r}, "r+") as file:
    file["layers/dense_1/bias"][3] = 42
os.fsync(os.open({out!r}, os.O_RDWR))
""",
    "safetensors": """
import json, os, shutil, struct
shutil.copyfile({a!r}, {out!r})
with open({out!r}, "r+b") as file:
    size = int.from_bytes(file.read(8), "little")
    begin = json.loads(file.read(size))["layers/dense_1/bias"]["data_offsets"][0]
    file.seek(8 + size + begin + 4 * 3)
    file.write(struct.pack("<f", 42))
    file.flush()
    os.fsync(file)
""",
}


def rows(bench: Bench) -> Iterator[Row]:
    for files in gigabyte(bench):
        out, remove = bench.path(f"out.{files.kind}"), bench.remover("out.*", "copy.*")
        copy = copied(files.a, bench.path("copy.bin"), file_bytes(bench.path("copy.bin")), checksum(files.a))
        names = {"a": files.a, "out": out}
        for words, assignment, code, what, goal in (
            ("'** *= 1.01'", "** *= 1.01", OPEN[files.kind] + SCALE[files.kind], "close", 1.5),
            ("one value", "layers/dense_1/bias[3] = 42", ONE[files.kind], "exact", 1.1),
        ):
            ours = bench.ours("set", files.a, assignment, "-o", out)
            peers = [copy, bench.script(f"{files.needs} script", code.format(**names), files.needs)]
            row = f"set {words}, 1 GB, {files.kind}"
            yield Row(row, ours, peers, written(out, what), {copy.name: goal}, remove, tolerance=1e-6)
        remove()

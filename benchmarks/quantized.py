"""The cost of a 1 GB GGUF file in q8_0, with a vocabulary of 150,000 tokens: here and by scripts with the gguf package.

``make bench`` runs it, by an interpreter that has gguf. Whole processes, measured in turn, on a file that is in memory.
It needs 2 GB of disk and as much memory.
"""

from __future__ import annotations

import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from measure import side_by_side
from tabulate import tabulate

PARAMCTL = [sys.executable, "-m", "paramctl"]
LAYERS, SHAPE = 60, (4096, 4096)
TOKENS = 150_000
Q8_0 = np.dtype([("scale", "<f2"), ("values", "i1", 32)])
PART = "blk.7.ffn_down.weight"
RUNS = 3

READ = """
import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
tensors = GGUFReader({path!r}).tensors
"""
SUMMARY = READ + "for tensor in tensors: print(tensor.name, tensor.shape, tensor.tensor_type.name, tensor.n_bytes)"
ROW = READ + "print(*(dequantize(each.data[5:6], each.tensor_type) for each in tensors if each.name == {part!r}))"
STAT = (
    READ
    + """
for tensor in tensors:
    values = dequantize(tensor.data, tensor.tensor_type)
    print(tensor.name, values.mean(dtype=np.float64), values.std(dtype=np.float64), values.min(), values.max())
"""
)
HEADS = ("paramctl", "ours, s", "theirs, s", "ratio", "ours, CPU s", "theirs, CPU s", "ours, MB", "theirs, MB")


def write(path: Path) -> None:
    """Write the file: every scale is 1/64, and the integers are random."""
    blocks = np.zeros(SHAPE[0] * SHAPE[1] // 32, Q8_0)
    blocks["scale"] = 1 / 64
    blocks["values"] = np.random.default_rng(0).integers(-127, 128, (len(blocks), 32), dtype=np.int8)
    data = blocks.view(np.uint8).reshape(SHAPE[0], -1)
    writer = GGUFWriter(path, "llama")
    writer.add_token_list([struct.pack("<I", number).hex() for number in range(TOKENS)])
    writer.add_token_scores([0.0] * TOKENS)
    for number in range(LAYERS):
        writer.add_tensor(f"blk.{number}.ffn_down.weight", data, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="paramctl-bench-") as folder:
        path = Path(folder) / "m.gguf"
        write(path)
        rows = []
        for ours, theirs in (
            (["summary", str(path)], SUMMARY),
            (["dump", str(path), f"{PART}[5]"], ROW),
            (["stat", str(path)], STAT),
        ):
            script = theirs.format(path=str(path), part=PART)
            us, them = side_by_side([*PARAMCTL, *ours], [sys.executable, "-c", script], runs=RUNS)
            times = (us.elapsed, them.elapsed, us.elapsed / them.elapsed, us.seconds, them.seconds)
            rows.append((ours[0], *times, us.megabytes, them.megabytes))
    print(f"\nA GGUF of 1 GB in q8_0, by the gguf package\n\n{tabulate(rows, HEADS, floatfmt='.3g')}")


if __name__ == "__main__":
    main()

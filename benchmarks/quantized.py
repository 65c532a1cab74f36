"""GGUF: 1 GB in q8_0 with a vocabulary of 150,000 tokens, here and by scripts with the gguf package."""

from __future__ import annotations

from collections.abc import Iterator

from bench import Bench
from measure import Row, Side
from proofs import arrays, numbers, statistics

MAKE = """
import struct, sys
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
layers, width, tokens = map(int, sys.argv[1:])
blocks = np.zeros(width * width // 32, np.dtype([("scale", "<f2"), ("values", "i1", 32)]))
blocks["scale"] = 1 / 64
blocks["values"] = np.random.default_rng(0).integers(-127, 128, (len(blocks), 32), dtype=np.int8)
data = blocks.view(np.uint8).reshape(width, -1)
writer = GGUFWriter("m.gguf", "llama")
writer.add_token_list([struct.pack("<I", number).hex() for number in range(tokens)])
writer.add_token_scores([0.0] * tokens)
for number in range(layers):
    writer.add_tensor(f"blk.{number}.ffn_down.weight", data, raw_dtype=GGMLQuantizationType.Q8_0)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
"""
READ = """
import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
tensors = GGUFReader({path!r}).tensors
"""
SUMMARY = "for t in tensors: print(t.name, tuple(map(int, reversed(t.shape))), t.tensor_type.name)"
ROW = "print(*(dequantize(t.data[5:6], t.tensor_type)[0] for t in tensors if t.name == {part!r}))"
STAT = """
for t in tensors:
    x = dequantize(t.data, t.tensor_type)
    figures = x.mean(dtype=np.float64), x.std(dtype=np.float64), x.min(), x.max()
    print(t.name, x.size, *(f"{{figure:.4g}}" for figure in figures))
"""


def rows(bench: Bench) -> Iterator[Row]:
    bench.require("gguf")
    bench.make(MAKE, *bench.size((60, 4096, 150_000), (2, 64, 10)))
    path, part = bench.path("m.gguf"), "blk.1.ffn_down.weight"
    for name, arguments, code, proof in (
        ("summary --parameters", ["summary", path, "--parameters"], SUMMARY, arrays),
        ("dump one row", ["dump", path, f"{part}[5]"], ROW, numbers),
        ("stat", ["stat", path], STAT, statistics),
    ):
        peer = bench.script("gguf script", READ.format(path=path) + code.format(part=part), "gguf")
        ours = Side("paramctl", [bench.peers, "-m", "paramctl", *arguments])  # which needs gguf too
        yield Row(f"{name}, 1 GB in q8_0", ours, [peer], proof)

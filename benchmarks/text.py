"""Texts: 2 million values printed as CSV and JSON, beside the libraries that write tables."""

from __future__ import annotations

from collections.abc import Iterator

from bench import Bench
from measure import Goal, Row
from proofs import csv_values, json_values, words_values

MAKE = """
import sys
import numpy as np
from safetensors.numpy import save_file
x = np.random.default_rng(0).standard_normal((int(sys.argv[1]), 1000), dtype=np.float32)
save_file({"kernel": x}, "t.safetensors")
np.save("t.npy", x)
"""
TABLE = """
import sys
import numpy as np
from safetensors import safe_open
x = safe_open({path!r}, "numpy").get_tensor("kernel")
i0, i1 = (index.ravel() for index in np.indices(x.shape))
"""
POLARS = """
import polars
frame = polars.DataFrame({{"path": "kernel", "i0": i0, "i1": i1, "value": x.ravel()}})
frame.write_csv(sys.stdout.buffer)
"""
PANDAS = """
import pandas
frame = pandas.DataFrame({{"path": "kernel", "i0": i0, "i1": i1, "value": x.ravel()}})
frame.to_csv(sys.stdout.buffer, index=False)
"""
ORJSON = """
import orjson
sys.stdout.buffer.write(orjson.dumps({{"kernel": x}}, option=orjson.OPT_SERIALIZE_NUMPY))
"""
JSON = """
import json
json.dump({{"kernel": [[float(str(v)) for v in row] for row in x]}}, sys.stdout)
"""
SAVETXT = "np.savetxt(sys.stdout.buffer, x, fmt='%.9g')"


def rows(bench: Bench) -> Iterator[Row]:
    bench.make(MAKE, bench.size(2000, 2))
    path = bench.path("t.safetensors")
    table = TABLE.format(path=path)
    only_values = TABLE.replace("i0, i1", "# i0, i1").format(path=path)
    peers = [
        bench.script("polars script", table + POLARS.format(), "safetensors polars"),
        bench.script("pandas script", table + PANDAS.format(), "safetensors pandas"),
        bench.script("numpy.savetxt, without indices", only_values + SAVETXT, "safetensors", proof=words_values),
    ]
    ours = bench.ours("dump", path, "kernel", "--format", "csv")
    goals = {peers[0].name: Goal(2.0, " s of CPU time")}  # 1 us a value
    yield Row("dump --format csv, 2 M values", ours, peers, csv_values(1), goals, tolerance=1e-6)
    peers = [
        bench.script("orjson script", only_values + ORJSON.format(), "safetensors orjson"),
        bench.script("json script", only_values + JSON.format(), "safetensors"),
    ]
    ours = bench.ours("dump", path, "kernel", "--format", "json")
    yield Row("dump --format json, 2 M values", ours, peers, json_values, tolerance=1e-6)

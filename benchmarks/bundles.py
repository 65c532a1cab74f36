"""The cost of a 1 GB checkpoint of TensorFlow, 1,000 kernels with slots and biases: here, and by TensorFlow itself.

``make bench`` runs it, by an interpreter that has TensorFlow. Whole processes, measured in turn, on a file that is in
memory. It needs 2 GB of disk and as much memory.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from measure import cost, side_by_side
from tabulate import tabulate

PARAMCTL = [sys.executable, "-m", "paramctl"]
LAYERS, WIDTH = 1000, 500
KEY = "layers/7/kernel/.ATTRIBUTES/VARIABLE_VALUE"
RUNS = 3

START = """
import os
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
import numpy as np
import tensorflow as tf
"""
WRITE = (
    START
    + """
rng, root = np.random.default_rng(0), tf.Module()
root.layers = []
for _ in range({layers}):
    layer = tf.Module()
    layer.kernel = tf.Variable(rng.standard_normal(({width}, {width}), dtype=np.float32))
    layer.bias = tf.Variable(np.zeros({width}, np.float32))
    root.layers.append(layer)
tf.train.Checkpoint(root).write({path!r})
"""
)
SUMMARY = START + "for name, shape in tf.train.list_variables({path!r}): print(name, shape)"
DUMP = START + "print(tf.train.load_checkpoint({path!r}).get_tensor({key!r}))"
STAT = (
    START
    + """
reader = tf.train.load_checkpoint({path!r})
for name in reader.get_variable_to_shape_map():
    if name.endswith("VARIABLE_VALUE"):
        values = reader.get_tensor(name)
        print(name, values.mean(dtype=np.float64), values.std(dtype=np.float64), values.min(), values.max())
"""
)
HEADS = ("paramctl", "ours, s", "theirs, s", "ratio", "ours, CPU s", "theirs, CPU s", "ours, MB", "theirs, MB")


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory(prefix="paramctl-bench-") as folder:
        path = str(Path(folder) / "ckpt")

        def script(code: str) -> list[str]:
            return [sys.executable, "-c", code.format(path=path, key=KEY, layers=LAYERS, width=WIDTH)]

        cost(script(WRITE))
        for words, theirs in (("summary", SUMMARY), ("dump", DUMP), ("stat", STAT)):
            names = ["layers/7/kernel"] if words == "dump" else []
            ours, other = side_by_side([*PARAMCTL, words, path, *names], script(theirs), runs=RUNS)
            ratio = ours.elapsed / other.elapsed
            costs = (ours.seconds, other.seconds, ours.megabytes, other.megabytes)
            rows.append((words, ours.elapsed, other.elapsed, ratio, *costs))
    print(f"\n1 GB of TensorFlow's\n\n{tabulate(rows, HEADS, floatfmt='.3g')}", flush=True)


if __name__ == "__main__":
    main()

"""TensorFlow checkpoints: 1 GB in 1,000 kernels and biases, here and by TensorFlow itself."""

from __future__ import annotations

from collections.abc import Iterator

from bench import Bench
from measure import Row
from proofs import arrays, numbers, statistics

KEY = ".ATTRIBUTES/VARIABLE_VALUE"
START = """
import os, sys
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
import numpy as np
import tensorflow as tf
"""
MAKE = """
layers, width = map(int, sys.argv[1:])
rng, root = np.random.default_rng(0), tf.Module()
root.layers = []
for _ in range(layers):
    layer = tf.Module()
    layer.kernel = tf.Variable(rng.standard_normal((width, width), dtype=np.float32))
    layer.bias = tf.Variable(np.zeros(width, np.float32))
    root.layers.append(layer)
tf.train.Checkpoint(root).write("ckpt")
"""
SUMMARY = """
for name, shape in tf.train.list_variables({path!r}):
    if name.endswith({key!r}):
        print(name.removesuffix("/" + {key!r}), tuple(shape))
"""
DUMP = "print(tf.train.load_checkpoint({path!r}).get_tensor('layers/1/bias/' + {key!r}))"
STAT = """
reader = tf.train.load_checkpoint({path!r})
for name in reader.get_variable_to_shape_map():
    if name.endswith({key!r}):
        x = reader.get_tensor(name)
        figures = x.mean(dtype=np.float64), x.std(dtype=np.float64), x.min(), x.max()
        print(name.removesuffix("/" + {key!r}), x.size, *(f"{{figure:.4g}}" for figure in figures))
"""


def rows(bench: Bench) -> Iterator[Row]:
    bench.require("tensorflow")
    bench.make(START + MAKE, *bench.size((1000, 500), (3, 20)))
    path = bench.path("ckpt")
    for name, arguments, code, proof in (
        ("summary --parameters", ["summary", path, "--parameters"], SUMMARY, arrays),
        ("dump one array", ["dump", path, "layers/1/bias"], DUMP, numbers),
        ("stat", ["stat", path], STAT, statistics),
    ):
        peer = bench.script("TensorFlow script", START + code.format(path=path, key=KEY), "tensorflow")
        yield Row(f"{name}, 1 GB", bench.ours(*arguments), [peer], proof)

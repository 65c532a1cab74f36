"""Checkpoints that TensorFlow writes, with the values that it reads from them. Run as a script, in a process of its own.

The tests' process has Keras on torch, and TensorFlow needs seconds to start, so one process writes all files. Beside
each checkpoint, ``NAME.pickle`` has the expected arrays by the names that paramctl gives them: (parameters, state).
"""

import os
import pickle
import sys
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}

import keras
import numpy as np
import tensorflow as tf

KEY = "/.ATTRIBUTES/VARIABLE_VALUE"
GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
V1 = tf.compat.v1
DTYPES = "float64 float32 float16 bfloat16 float8_e5m2 float8_e4m3fn int8 int16 int32 int64 uint8 uint16 uint32 uint64"
Arrays = dict[str, np.ndarray]


def expect(path: Path, parameters: Arrays, state: Arrays | None = None) -> None:
    """Record arrays as dtype, shape, and bytes."""
    both = [
        {name: (str(array.dtype), array.shape, np.ascontiguousarray(array).tobytes()) for name, array in arrays.items()}
        for arrays in (parameters, state or {})
    ]
    path.parent.joinpath(f"{path.name}.pickle").write_bytes(pickle.dumps(both))


def loaded(prefix: Path) -> Arrays:
    """Return the arrays of a checkpoint as TensorFlow reads them, by their keys without the common end."""
    reader = tf.train.load_checkpoint(str(prefix))
    keys = [key for key in reader.get_variable_to_shape_map() if key != GRAPH]
    arrays = {key.removesuffix(KEY): np.asarray(reader.get_tensor(key)) for key in keys}
    return {key: array for key, array in arrays.items() if array.dtype.kind not in "OS"}


def modules(folder: Path) -> None:
    """Modules of plain variables in every dtype, in one file and split into shards of few bytes."""
    rng = np.random.default_rng(0)
    root = tf.Module()
    types = [tf.dtypes.as_dtype(name).as_numpy_dtype for name in DTYPES.split()]
    root.list = [tf.Variable(tf.constant(rng.integers(0, 9, (3, 5)).astype(dtype))) for dtype in types]
    root.mask, root.wave = tf.Variable([True, False, True]), tf.Variable([1 + 2j, -3j], dtype=tf.complex128)
    root.scalar, root.empty = tf.Variable(7, dtype=tf.int64), tf.Variable(tf.zeros((0, 3)))
    root.wide, root.deep = tf.Variable(rng.standard_normal((7, 90))), tf.Variable(rng.standard_normal((600, 3, 2)))
    root.big, root.text = tf.Variable(rng.standard_normal((1000, 700)).astype("float32")), tf.Variable("text")
    for name, policy in {"module": None, "sharded": tf.train.experimental.MaxShardSizePolicy(1000)}.items():
        options = tf.train.CheckpointOptions(experimental_sharding_callback=policy) if policy else None
        if policy:
            del root.big
        tf.train.Checkpoint(root).write(str(folder / name), options)
        expect(folder / name, loaded(folder / name))


def network() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Flatten()(x)
    x = keras.Sequential([keras.layers.Dense(5, activation="relu", name="hidden")], name="block")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="out")(x))


def weights(variables: list[keras.Variable]) -> Arrays:
    return {variable.path: np.asarray(variable.numpy()) for variable in variables}


def keras_models(folder: Path) -> None:
    """A trained Keras model in each of the ways in which TensorFlow keeps one."""
    model = network()
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(np.ones((4, 8, 8, 3)), np.ones((4, 2)), verbose=0)
    state = weights(model.optimizer.variables)
    tf.train.Checkpoint(model).write(str(folder / "keras"))
    expect(folder / "keras", weights(model.weights), state)
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(folder / "steps/ckpt"))
    expect(folder / "steps", weights(model.weights), state)
    tf.saved_model.save(model, str(folder / "saved"))
    expect(folder / "saved", weights(model.weights), state)
    model.export(str(folder / "exported"), verbose=False)
    expect(folder / "exported", weights(model.weights))


def saver(folder: Path) -> None:
    """A Saver of TensorFlow 1: two devices, each with shards of its own, and partitioned variables."""
    with tf.Graph().as_default():
        with tf.device("/cpu:0"):
            kernel = V1.get_variable("dense/kernel", (3, 4))
            rows = V1.get_variable("rows", (10, 3), partitioner=V1.fixed_size_partitioner(3))
        with tf.device("/cpu:1"):
            columns = V1.get_variable("columns", (3, 11), partitioner=V1.fixed_size_partitioner(4, axis=1))
        step = V1.train.get_or_create_global_step()
        loss = sum(tf.reduce_sum(tf.convert_to_tensor(variable) ** 2) for variable in (kernel, rows, columns))
        train = V1.train.AdamOptimizer().minimize(loss, global_step=step)
        with V1.Session(config=V1.ConfigProto(device_count={"CPU": 2})) as session:
            session.run(V1.global_variables_initializer())
            session.run(train)
            for name, options in {"saver": {}, "devices": {"sharded": True}}.items():
                (folder / name).mkdir()
                path = V1.train.Saver(**options).save(session, str(folder / name / "model.ckpt"), global_step=step)
                arrays = loaded(Path(path))
                model = {key: arrays.pop(key) for key in ("dense/kernel", "rows", "columns")}
                expect(folder / name, model, arrays)


if __name__ == "__main__":
    for write in (modules, keras_models, saver):
        write(Path(sys.argv[1]))

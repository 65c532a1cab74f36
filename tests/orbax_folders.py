"""Orbax checkpoints made by TensorStore alone: a database of arrays, and the file that names them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PARAMETERS = {
    ("params", "Dense_0", "kernel"): np.arange(12, dtype="float32").reshape(3, 4),
    ("params", "Dense_0", "bias"): np.arange(4, dtype="float16"),
}
STATE = {("opt_state", "0", "mu", "Dense_0", "kernel"): np.ones((3, 4), "float32")}


def entry(keys: Sequence[str], kind: str = "jax.Array") -> tuple[str, dict[str, Any]]:
    values = {"value_type": kind, "skip_deserialize": False}
    return str(tuple(keys)), {
        "key_metadata": [{"key": key, "key_type": 2} for key in keys],
        "value_metadata": values,
    }


def tree(keys: Sequence[Sequence[str]], **more: Any) -> str:
    """The text of the file of names."""
    facts = {"use_ocdbt": True, "use_zarr3": False, "store_array_data_equal_to_fill_value": True}
    return json.dumps({"tree_metadata": dict(map(entry, keys))} | facts | more)


def checkpoint(folder: Path, arrays: Mapping[tuple[str, ...], np.ndarray], ocdbt: bool = True) -> Path:
    """Write a checkpoint in a new folder, and return the file of names."""
    tensorstore = pytest.importorskip("tensorstore")
    folder.mkdir(parents=True)
    for keys, array in arrays.items():
        name = ".".join(keys)
        base = {"driver": "file", "path": f"{folder}/"}
        place = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
        place = place if ocdbt else {"driver": "file", "path": f"{folder}/{name}/"}
        spec = {"driver": "zarr", "kvstore": place, "metadata": {"chunks": array.shape, "compressor": {"id": "zstd"}}}
        store = tensorstore.open(spec, dtype=array.dtype.name, shape=array.shape, create=True).result()
        store.write(array).result()
    path = folder / "_METADATA"
    path.write_text(tree([*arrays]))
    return path


def sample(folder: Path) -> Path:
    return checkpoint(folder / "m", PARAMETERS | STATE)

"""Files of Flax's msgpack, built item by item: arrays, chunks, optimizer state, plain values, and what is refused."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from paramctl.core.parameter import DTYPE_BYTES
from paramctl.errors import InputError
from paramctl.source.open import open_path
from paramctl.store.checkpoint import Checkpoint
from tests.conftest import Run
from tests.flax_files import Extension, array, pack, sample_set


def opened(folder: Path, tree: Any) -> Checkpoint:
    path = folder / "m.msgpack"
    path.write_bytes(tree if isinstance(tree, bytes) else pack(tree))
    checkpoint = open_path(str(path)).checkpoint
    assert checkpoint is not None
    return checkpoint


def values(checkpoint: Checkpoint, name: str) -> np.ndarray:
    optimizer = checkpoint.origin.optimizer
    parameter = {**checkpoint.model.parameters, **(optimizer.arrays if optimizer else {})}[name]
    return checkpoint.reader.read(name, 0, parameter.size).reshape(parameter.shape)


def test_names_are_the_keys_of_nested_maps(tmp_path: Path) -> None:
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    tree = {"params": {"Dense_0": {"kernel": kernel, "bias": np.ones(3, np.float16)}}, "list": [np.zeros(2, np.int64)]}
    found = opened(tmp_path, tree)
    assert {name: parameter.shape for name, parameter in found.model.parameters.items()} == {
        "params/Dense_0/kernel": (2, 3),
        "params/Dense_0/bias": (3,),
        "list/0": (2,),
    }
    assert np.array_equal(values(found, "params/Dense_0/kernel"), kernel)
    assert np.array_equal(found.reader.read("params/Dense_0/kernel", 2, 5), [2, 3, 4])


@pytest.mark.parametrize("dtype", DTYPE_BYTES)
def test_every_dtype(dtype: str, tmp_path: Path) -> None:
    want = np.array([0, 1, 1, 0]).astype(getattr(ml_dtypes, dtype, dtype))
    found = opened(tmp_path, {"w": want})
    assert found.model.parameters["w"].dtype == dtype
    assert values(found, "w").tobytes() == want.tobytes()


def test_narrow_integers_are_read_as_bytes(tmp_path: Path) -> None:
    found = opened(tmp_path, {"w": np.array([-8, -1, 7], ml_dtypes.int4), "u": np.array([15, 0], ml_dtypes.uint4)})
    assert values(found, "w").tolist() == [-8, -1, 7]
    assert values(found, "u").tolist() == [15, 0]
    assert found.model.parameters["w"].dtype == "int8"


def test_an_array_in_chunks(tmp_path: Path) -> None:
    parts = {str(number): np.arange(4 * number, 4 * number + 4, dtype=np.float32) for number in range(3)}
    tree = {"w": {"__msgpack_chunked_array__": True, "shape": {"0": 3, "1": 4}, "chunks": parts}}
    found = opened(tmp_path, tree)
    assert list(found.model.parameters) == ["w"]
    assert np.array_equal(values(found, "w"), np.arange(12.0).reshape(3, 4))
    for start in range(13):
        for stop in range(start, 13):
            assert found.reader.read("w", start, stop).tolist() == list(range(start, stop))


def test_the_state_of_an_optimizer_is_no_parameter(paramctl: Run, tmp_path: Path) -> None:
    w = np.ones(2, np.float32)
    tree = {
        "step": np.array(3, np.int32),
        "params": {"w": w},
        "opt_state": {"0": {"count": w, "mu": {"w": 2 * w}}, "1": {}},
    }
    found = opened(tmp_path, tree)
    assert list(found.model.parameters) == ["params/w"]
    assert found.origin.optimizer is not None
    assert list(found.origin.optimizer.arrays) == ["step", "opt_state/0/count", "opt_state/0/mu/w"]
    assert found.origin.optimizer.reader.read("opt_state/0/mu/w", 0, 2).tolist() == [2, 2]
    done = paramctl("save", "m.msgpack", "-o", "m.npz", check=True)
    assert "does not include 3 optimizer" in done.stderr
    older = opened(tmp_path, {"target": {"w": w}, "state": {"step": w, "param_states": {"w": w}}})
    assert list(older.model.parameters) == ["target/w"]
    assert (
        list(older.origin.optimizer.arrays) == ["state/step", "state/param_states/w"] if older.origin.optimizer else 0
    )


@pytest.mark.parametrize("key", ["opt", "optimizer", "optimizer_state", "g_opt", "optim_states"])
def test_the_state_of_an_optimizer_under_other_keys(key: str, tmp_path: Path) -> None:
    """Scripts choose the key. Within the model, such a name is that of a module."""
    w = np.ones(2, np.float32)
    found = opened(tmp_path, {"params": {"w": w, key: {"w": w}}, key: {"0": {"mu": {"w": w}}}})
    assert list(found.model.parameters) == ["params/w", f"params/{key}/w"]
    assert list(found.origin.optimizer.arrays) == [f"{key}/0/mu/w"] if found.origin.optimizer else False
    alone = opened(tmp_path, {key: {"0": {"mu": {"w": w}}}})
    assert (list(alone.model.parameters), alone.origin.optimizer) == ([f"{key}/0/mu/w"], None)
    wrapped = opened(tmp_path, {"version": 3, key: {"target": {"w": w}, "state": {"w": w}}})
    assert list(wrapped.model.parameters) == [f"{key}/target/w"], "an Optimizer of older Flax has the parameters too"


def test_other_items_are_metadata_or_skipped(paramctl: Run, tmp_path: Path) -> None:
    tree = {
        "w": np.ones(2, np.float32),
        "epoch": 3,
        "config": {"lr": 0.5, "name": "adam", "tied": False, "rate": float("inf")},
        "none": None,
        "z": Extension.of(2, pack([1.0, 2.0])),
        "blob": b"abc",
        "scalar": Extension.of(3, pack([[], "float32", np.float32(2).tobytes()])),
    }
    found = opened(tmp_path, tree)
    assert list(found.model.parameters) == ["w", "scalar"]
    assert values(found, "scalar") == 2
    assert found.origin.metadata == {
        "epoch": 3,
        "config/lr": 0.5,
        "config/name": "adam",
        "config/tied": False,
        "config/rate": float("inf"),
    }
    assert found.origin.skipped == {"z": "a complex number", "blob": "bytes"}
    done = paramctl("save", "m.msgpack", "-o", "m.npz", check=True)
    assert "z (a complex number)" in done.stderr
    assert "'epoch'" in done.stderr


def test_a_folder_of_hugging_face(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f/flax_model.msgpack").write_bytes(pack({"w": np.ones(2, np.float32)}))
    (tmp_path / "f/config.json").write_text("{}")
    assert "w" in paramctl("summary", "f", check=True).stdout


def test_a_set_of_hugging_face(paramctl: Run, tmp_path: Path) -> None:
    """The files of an index are one model, opened by its folder; a file that does not fit is refused."""
    sample_set(tmp_path)
    checkpoint = open_path(str(tmp_path)).checkpoint
    assert checkpoint is not None
    assert checkpoint.reader.read("model/dense/kernel", 0, 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert checkpoint.reader.read("model/dense/bias", 0, 3).tolist() == [1, 1, 1]
    (tmp_path / "flax_model-00002-of-00002.msgpack").write_bytes(pack({"other": np.ones(2, np.float32)}))
    done = paramctl("summary", ".")
    assert done.returncode == 2
    assert "'other' is in flax_model-00002-of-00002.msgpack, but the index says None" in done.stderr
    assert "--rebuild-index" not in done.stderr


DEEP: Any = 1
for _ in range(200):
    DEEP = {"a": DEEP}
W = np.ones(2, np.float32)

REFUSED = {
    "too few bytes": (b"\x81\xa1w" + array(W, data=bytes(4)), "float32 of the shape (2,) must have 8 bytes (got 4)"),
    "a negative size": (b"\x81\xa1w" + array(W, shape=[-2]), "a shape must be a list"),
    "a shape of texts": (b"\x81\xa1w" + array(W, shape=["2"]), "a shape must be a list"),
    "a large shape": (b"\x81\xa1w" + array(W, shape=[2**40, 2**40]), "a shape must be a list"),
    "many axes": (b"\x81\xa1w" + array(W, shape=[1] * 70), "an array must be a list"),
    "no bytes": (b"\x81\xa1w" + array(W, data="text"), "the values of an array must be bytes"),
    "a longer extension": (b"\x81\xa1w" + pack(Extension.of(1, pack([[1], "int8", b"a"]) + b"more")), "an array has"),
    "beyond the end": (b"\x81\xa1w\xc6\xff\xff\xff\xff", "truncated"),
    "a twin": (b"\x82\xa1w\1\xa1w\2", "a map has the key 'w' twice"),
    "twins of two maps": (pack({"a/b": W, "a": {"b": W}}), "two items are named 'a/b'"),
    "a key that is no text": (b"\x82\xa1w\1\1\2", "the keys of a map must be texts"),
    "bytes behind": (pack({"w": W}) + b"\0", "1 bytes follow the map"),
    "deep": (pack(DEEP), "maps must be nested at most 100 deep"),
    "no item": (b"\x81\xa1w\xc1", "begins with the byte 0xc1"),
    "many items": (b"\x81\xa1w\xdd\xff\xff\xff\xff" + bytes(500_100), "at most 500,000 items"),
    "chunks of too few": (
        pack({"w": {"__msgpack_chunked_array__": True, "shape": {"0": 5}, "chunks": {"0": W, "1": W}}}),
        "must have 5 values (got 4)",
    ),
    "chunks out of order": (
        pack({"w": {"__msgpack_chunked_array__": True, "shape": {"0": 4}, "chunks": {"0": W, "2": W}}}),
        "must have the keys 0, 1, 2",
    ),
    "chunks without a shape": (pack({"w": {"__msgpack_chunked_array__": True}}), "must have a shape and chunks"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_damaged_file_is_refused(what: str, tmp_path: Path) -> None:
    data, words = REFUSED[what]
    with pytest.raises(InputError) as error:
        opened(tmp_path, data)
    assert words in str(error.value)
    assert str(error.value).startswith(f"{tmp_path}/m.msgpack: damaged (")
    assert "\n" not in str(error.value)

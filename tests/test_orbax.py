"""Orbax folders: which of their folders is opened, their names, and damage. tests/interop has what Orbax itself writes."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import paramctl as pc
from paramctl.errors import InputError
from paramctl.store.folder import resolve_folder
from paramctl.store.orbax.format import Orbax
from tests.conftest import Run
from tests.flax_files import pack
from tests.orbax_folders import PARAMETERS, STATE, checkpoint, entry, tree


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    (tmp_path / "_METADATA").write_text(tree([("params", "w")]))
    with pytest.raises(InputError) as error:
        pc.open(tmp_path)
    rule = "reading Orbax checkpoints requires tensorstore: pip install 'paramctl[orbax]'"
    assert str(error.value) == f"{tmp_path}/_METADATA: {rule}"


@pytest.mark.parametrize(
    ("names", "opened"),
    [
        (["_CHECKPOINT_METADATA", "_METADATA", "d", "manifest.ocdbt", "ocdbt.process_0"], "_METADATA"),
        (["d", "manifest.ocdbt"], "manifest.ocdbt"),
        (["_METADATA", "params.w"], "_METADATA"),
        (["checkpoint", "params.Dense_0.kernel"], "checkpoint"),
        (["checkpoint", "d", "manifest.ocdbt"], "checkpoint"),
        (["checkpoint", "m.data-00000-of-00001", "m.index"], None),
        (["checkpoint"], None),
        (["1", "10", "9"], "10"),
        (["1", "10.orbax-checkpoint-tmp-3", "9", "_root", ".lock"], "9"),
        (["step_00000100", "step_00000020"], "step_00000100"),
        (["1", "step_20"], None),
        (["1", "2", "weights.npy"], None),
        (["_CHECKPOINT_METADATA", "default"], "default"),
        (["_CHECKPOINT_METADATA", "default", "metrics"], "default"),
        (["_CHECKPOINT_METADATA", "params"], "params"),
        (["_CHECKPOINT_METADATA", "meta", "state"], "state"),
        (["_CHECKPOINT_METADATA", "actor", "critic"], None),
        (["default"], "default"),
        (["default", "other"], None),
        ([], None),
        (["w.bin"], None),
    ],
)
def test_the_file_or_folder_that_is_opened(names: list[str], opened: str | None) -> None:
    assert Orbax().opens_folder(sorted(names)) == opened


def test_several_items_are_left_to_the_user(paramctl: Run, tmp_path: Path) -> None:
    for name in ("actor", "critic"):
        (tmp_path / name).mkdir()
    (tmp_path / "_CHECKPOINT_METADATA").write_text("{}")
    done = paramctl("summary", ".")
    says = ".: an Orbax checkpoint of several items. Open the folder of one of them\n"
    assert (done.returncode, done.stderr) == (2, says)


def test_a_manager_of_steps_opens_the_latest(tmp_path: Path) -> None:
    for step in (1, 9, 10):
        (tmp_path / f"m/{step}/default").mkdir(parents=True)
        (tmp_path / f"m/{step}/default/_METADATA").write_text(tree([]))
    assert resolve_folder(str(tmp_path / "m")) == str(tmp_path / "m/10/default/_METADATA")


BAD = {
    "no json": ('{"tree_metadata": {', "Expecting"),
    "a list": ('{"tree_metadata": []}', "tree_metadata must be an object"),
    "an entry without keys": (
        '{"tree_metadata": {"w": {}}}',
        "the entry 'w' must have key_metadata and value_metadata",
    ),
    "an entry of another kind": ('{"tree_metadata": {"w": 3}}', "the entry 'w' must have"),
    "a way out": (tree([("..", "w")]), "cannot be the name of an array"),
    "a way out in a key": (tree([("a/../../w",)]), "cannot be the name of an array"),
    "an absolute path": (tree([("/etc/passwd",)]), "cannot be the name of an array"),
    "a NUL": (tree([("w\0",)]), "cannot be the name of an array"),
    "no name": (tree([()]), "cannot be the name of an array"),
    "an empty name": (tree([("",)]), "cannot be the name of an array"),
    "a long name": (tree([("w" * 5_000,)]), "a name may have at most 4,096 characters"),
    "one name twice": (tree([("a", "b"), ("a/b",)]), "has two values with the name 'a/b'"),
    "one stored name twice": (tree([("a", "b"), ("a.b",)]), "has two values with the name 'a.b'"),
    "nested too deep": ('{"tree_metadata": ' + "[" * 400 + "]" * 400 + "}", "nested deeper than"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_tree_is_refused(what: str, paramctl: Run, tmp_path: Path) -> None:
    text, says = BAD[what]
    (tmp_path / "_METADATA").write_text(text)
    done = paramctl("summary", ".")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith("./_METADATA: ")
    assert says in done.stderr


# With TensorStore


@pytest.mark.parametrize("ocdbt", [True, False])
def test_parameters_and_state(ocdbt: bool, paramctl: Run, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "m", PARAMETERS | STATE, ocdbt)
    before = {file: file.stat().st_mtime_ns for file in path.parent.rglob("*")}
    weights = pc.open(tmp_path / "m")
    assert {name: np.asarray(array).tolist() for name, array in weights.items()} == {
        "/".join(keys): array.tolist() for keys, array in PARAMETERS.items()
    }
    state = weights.source.origin.optimizer
    assert state is not None
    ((name, parameter),) = state.arrays.items()
    assert state.reader.read(name, 1, 4).tolist() == [1, 1, 1]
    assert parameter.shape == (3, 4)
    done = paramctl("save", "m", "-o", "x.safetensors")
    assert done.stderr.splitlines() == [
        "wrote x.safetensors: 2 arrays, 16 values",
        "x.safetensors does not include 1 optimizer or metric array of the source",
    ]
    assert {file: file.stat().st_mtime_ns for file in path.parent.rglob("*")} == before


def test_the_database_alone(tmp_path: Path) -> None:
    """Without the file of names, dots may be part of them, so they stay."""
    checkpoint(tmp_path / "m", PARAMETERS).unlink()
    assert {name: array.shape for name, array in pc.open(tmp_path / "m").items()} == {
        "params.Dense_0.bias": (4,),
        "params.Dense_0.kernel": (3, 4),
    }


def test_the_state_of_an_optimizer(tmp_path: Path) -> None:
    """It is below opt_state, wherever that is, with the step beside it; alone it is the content."""
    step = np.array(3, "int32")
    several = {("model", *keys): array for keys, array in (PARAMETERS | STATE | {("step",): step}).items()}
    for number, (arrays, parameters, states) in enumerate(
        [
            (PARAMETERS | STATE | {("step",): step}, 2, 2),
            (several, 2, 2),
            (PARAMETERS | {("optimizer", *keys[1:]): array for keys, array in STATE.items()}, 2, 1),
            ({("model", "opt", "kernel"): step, **STATE}, 1, 1),
            (STATE, 1, 0),
            (PARAMETERS | {("step",): step}, 2, 0),
        ]
    ):
        path = checkpoint(tmp_path / str(number) / "m", arrays)
        for has_tree in (True, False):
            if not has_tree:
                path.unlink()
            weights = pc.open(path.parent)
            state = weights.source.origin.optimizer
            assert (len(weights), len(state.arrays) if state else 0) == (parameters, states)
    assert weights.source.origin.metadata == {"step": 3}


@pytest.mark.parametrize("ocdbt", [True, False])
def test_a_tree_of_older_versions(ocdbt: bool, paramctl: Run, tmp_path: Path) -> None:
    """A file of msgpack with a placeholder for each array, and small arrays in itself."""
    arrays = {("params", "mlp/~/linear", "w"): np.arange(6, dtype="float32").reshape(2, 3)} | STATE
    path = checkpoint(tmp_path / "m", arrays, ocdbt)
    path.unlink()
    tree = {
        "params": {"mlp/~/linear": {"w": "PLACEHOLDER://params.mlp/~/linear.w", "b": np.ones(3, "float16")}},
        "opt_state": {"0": {"mu": {"Dense_0": {"kernel": "PLACEHOLDER://opt_state.0.mu.Dense_0.kernel"}}}},
        "step": 7,
        "name": "tiny",
    }
    (tmp_path / "m/checkpoint").write_bytes(pack(tree))
    weights = pc.open(tmp_path / "m")
    assert {name: np.asarray(array).tolist() for name, array in weights.items()} == {
        "params/mlp/~/linear/w": [[0, 1, 2], [3, 4, 5]],
        "params/mlp/~/linear/b": [1, 1, 1],
    }
    origin = weights.source.origin
    assert (origin.format, origin.metadata) == ("Orbax", {"step": 7, "name": "tiny"})
    assert origin.optimizer is not None
    assert origin.optimizer.reader.read("opt_state/0/mu/Dense_0/kernel", 0, 12).tolist() == [1] * 12
    tree["params"] = {"w": "PLACEHOLDER://../../other"}
    (tmp_path / "m/checkpoint").write_bytes(pack(tree))
    done = paramctl("summary", "m")
    assert (done.returncode, done.stderr) == (2, "m/checkpoint: 'params/w' cannot be the name of an array\n")
    tree["params"] = {"w": "PLACEHOLDER://lost"}
    (tmp_path / "m/checkpoint").write_bytes(pack(tree))
    done = paramctl("summary", "m")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("m/checkpoint: lost: damaged (")


def test_a_lost_chunk_is_not_zeros(paramctl: Run, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "m", PARAMETERS, ocdbt=False)
    (tmp_path / "m/params.Dense_0.bias/0").unlink()
    done = paramctl("stat", "m")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("m/_METADATA: params.Dense_0.bias: damaged (")
    path.write_text(path.read_text().replace('"store_array_data_equal_to_fill_value": true', '"x": true'))
    assert np.asarray(pc.open(tmp_path / "m")["params/Dense_0/bias"]).tolist() == [0] * 4
    (tmp_path / "m/params.Dense_0.bias/.zarray").unlink()
    with pytest.raises(InputError, match=r"m/_METADATA: params.Dense_0.bias: damaged \("):
        pc.open(tmp_path / "m")


def test_nothing_leads_out_of_the_folder(tmp_path: Path) -> None:
    """A description of another store in place of an array's metadata, or within it, is never followed."""
    checkpoint(tmp_path / "other", {("secret",): np.full(3, 7, "float32")}, ocdbt=False)
    checkpoint(tmp_path / "m", {("w",): np.ones(3, "float32")}, ocdbt=False)
    zarray = tmp_path / "m/w/.zarray"
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{tmp_path}/other/secret/"}}
    zarray.write_text(json.dumps(json.loads(zarray.read_text()) | spec))
    assert np.asarray(pc.open(tmp_path / "m")["w"]).tolist() == [1, 1, 1]
    zarray.write_text(json.dumps(spec))
    with pytest.raises(InputError, match=r"m/_METADATA: w: damaged \("):
        pc.open(tmp_path / "m")


def test_chunks_that_are_too_large(tmp_path: Path) -> None:
    checkpoint(tmp_path / "m", {("w",): np.ones(3, "float32")}, ocdbt=False)
    zarray = tmp_path / "m/w/.zarray"
    zarray.write_text(json.dumps(json.loads(zarray.read_text()) | {"shape": [1 << 40], "chunks": [1 << 40]}))
    with pytest.raises(InputError, match="w has chunks of 4,398,046,511,104 bytes; at most 4,294,967,296 are allowed"):
        pc.open(tmp_path / "m")


def test_plain_values(tmp_path: Path) -> None:
    """Scalars and texts are metadata; an array without axes is not, unless it is the number of the step."""
    arrays = {
        ("step",): np.array(7, "int32"),
        ("scale",): np.array(2.5, "float32"),
        ("lr",): np.array(0.5, "float32"),
        ("best",): np.array(np.inf, "float32"),
        ("w",): np.ones(2, "float32"),
    }
    path = checkpoint(tmp_path / "m", arrays)
    facts = json.loads(path.read_text())
    facts["tree_metadata"] |= dict(
        [entry(("lr",), "scalar"), entry(("best",), "scalar"), entry(("name",), "string"), entry(("no",), "None")]
    )
    facts["custom_metadata"] = {"run": {"id": "a1", "tags": ["x", "y"]}}
    path.write_text(json.dumps(facts))
    (tmp_path / "m/_strings.json").write_text('{"name": "tiny"}')
    weights = pc.open(tmp_path / "m")
    assert list(weights) == ["scale", "w"]
    assert weights.source.origin.metadata == {
        "step": 7,
        "lr": 0.5,
        "best": np.inf,
        "name": "tiny",
        "run.id": "a1",
        "run.tags": ["x", "y"],
    }
    (tmp_path / "m/_strings.json").unlink()
    assert pc.open(tmp_path / "m").skipped == ("name (a text)",)


def test_names_of_haiku(tmp_path: Path) -> None:
    """The keys of these names have slashes."""
    arrays = {("mlp/~/linear_0", "w"): np.ones((2, 2), "float32")}
    for number, ocdbt in enumerate((True, False)):
        checkpoint(tmp_path / str(number) / "m", arrays, ocdbt)
        assert list(pc.open(tmp_path / str(number) / "m")) == ["mlp/~/linear_0/w"]


def test_slices_of_a_large_array(tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((700, 30, 20)).astype("float32")
    checkpoint(tmp_path / "m", {("w",): array})
    weights = pc.open(tmp_path / "m")
    assert np.array_equal(weights["w"][650:, 3, ::2], array[650:, 3, ::2])
    assert np.array_equal(np.asarray(weights["w"]), array)
    assert np.array_equal(weights.source.read("w", 1_234, 345_678), array.reshape(-1)[1_234:345_678])


def test_the_note_of_which_step_is_read(paramctl: Run, tmp_path: Path) -> None:
    for step in (1, 9, 10):
        checkpoint(tmp_path / f"m/{step}/default", {("w",): np.full(2, step, "float32")})
    done = paramctl("dump", "m", "w")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[10. 10.]\n", "m: reading 10/default, not 1, 9\n")
    done = paramctl("dump", "m/9", "w")
    assert (done.stdout, done.stderr) == ("[9. 9.]\n", "")
    done = paramctl("summary", "m/9/default/_METADATA")
    assert done.stdout.startswith("m\n")
    assert os.listdir(tmp_path) == ["m"]

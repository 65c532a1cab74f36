"""Files that Keras wrote: real names, optimizers apart, the tree where a configuration tells it. tests/fixtures has them;
others have Keras' layout, and are made here."""

import json
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests import forks
from tests.conftest import ROOT, Run

FIXTURES = ROOT / "tests/fixtures"


def parameters(paramctl: Run, path: str) -> dict[str, list[int]]:
    """The names and shapes that summary tells."""
    done = paramctl("summary", str(FIXTURES / path), "--format", "json")
    assert done.returncode == 0, done.stderr
    return {row["path"]: row["shape"] for row in json.loads(done.stdout)["parameters"]}


BN = ["gamma", "beta", "moving_mean", "moving_variance"]
NAMES = {
    "keras3_nested.weights.h5": [
        *("block1/dense/kernel", "block1/dense/bias", "block1/dense_1/kernel", "block1/dense_1/bias"),
        *(f"batch_normalization/{name}" for name in BN),
        *("sharedname/kernel", "sharedname/bias", "foo/kernel", "foo/bias", "dense_2/kernel", "dense_2/bias"),
    ],
    "keras3_mha_lstm.weights.h5": [
        *(f"lstm/lstm_cell/{name}" for name in ("kernel", "recurrent_kernel", "bias")),
        *(
            f"multi_head_attention/{part}/{name}"
            for part in ("query", "key", "value", "attention_output")
            for name in ("kernel", "bias")
        ),
    ],
    "keras3_tied_sequential.weights.h5": ["dense_3/kernel", "dense_3/bias", "dense_4/kernel", "dense_4/bias"],
    "keras3_bf16.weights.h5": ["dense_7/kernel", "dense_7/bias"],
    "keras2_weights.h5": [
        *("block1/dense/kernel", "block1/dense/bias", "block1/dense_1/kernel", "block1/dense_1/bias"),
        *(f"batch_normalization/{name}" for name in BN),
        *("dense_2/kernel", "dense_2/bias"),
    ],
    "keras2_v3format.weights.h5": [
        *(f"sequential/{layer}/{name}" for layer in ("dense", "dense_1") for name in ("kernel", "bias")),
        *(f"batch_normalization/{name}" for name in BN),
        *("dense/kernel", "dense/bias"),
    ],
    "keras2_subclass.weights.h5": ["dense/kernel", "dense/bias", "net/dense/kernel", "net/dense/bias"],
    # dense is an attribute here, and might be of any class: its variables are not guessed
    "keras3_subclass_nestmlp.weights.h5": [
        *(f"sequential/{layer}/{name}" for layer in ("dense", "dense_1") for name in ("kernel", "bias")),
        *(f"{layer}/{name}" for layer in ("dense_3", "dense_4", "dense_5") for name in ("kernel", "bias")),
        *("dense_2/0", "dense_2/1"),
    ],
}


@pytest.mark.parametrize("path", NAMES)
def test_the_real_names(path: str, paramctl: Run) -> None:
    assert sorted(parameters(paramctl, path)) == sorted(NAMES[path])


@pytest.mark.parametrize("path", ["keras3_nested.weights.h5", "keras3_nested.keras"])
def test_the_values_under_those_names(path: str, paramctl: Run) -> None:
    """Against what Keras itself told of the same model."""
    told = json.loads((FIXTURES / "keras3_nested.values.json").read_text())
    made = json.loads(paramctl("dump", str(FIXTURES / path), "--format", "json").stdout)
    assert len(told) == 14
    for name, values in told.items():
        ours = name.removeprefix("sequential/")
        assert np.array_equal(np.array(made[ours], "float32"), np.array(values, "float32")), name


@pytest.mark.parametrize(
    ("path", "total", "trainable"), [("keras3_nested.keras", 91, 85), ("keras2_full_model.h5", 41, 37)]
)
def test_a_configuration_gives_the_tree(path: str, total: int, trainable: int, paramctl: Run) -> None:
    facts = json.loads(paramctl("summary", str(FIXTURES / path), "--format", "json").stdout)
    assert (facts["totals"]["parameters"], facts["totals"]["trainable"]) == (total, trainable)
    types = {row["path"]: (row["type"], row["output_shape"]) for row in facts["layers"]}
    assert types["flatten"] == ("flatten", [None, 4])
    assert types["block1/dense"] == ("dense", [None, 4])
    assert facts["parameters"][0]["axes"] == ["in", "out"]


def test_optimizer_arrays_are_separated(paramctl: Run) -> None:
    shown = paramctl("summary", str(FIXTURES / "keras2_full_model.h5")).stdout
    assert "Total parameters:  41" in shown
    assert shown.endswith("Optimizer state: 17 arrays, 75 values, 304 bytes\n")


def test_a_stored_path_is_an_address_too(paramctl: Run) -> None:
    path = str(FIXTURES / "keras3_nested.weights.h5")
    by_name = paramctl("dump", path, "block1/dense/kernel[0]", "--format", "csv").stdout
    assert paramctl("dump", path, "layers/sequential/layers/dense/vars/0[0]", "--format", "csv").stdout == by_name
    assert len(by_name.splitlines()) == 5


def test_an_edit_in_place_is_keras_file_still(paramctl: Run, tmp_path: Path) -> None:
    """Only the bytes of what was named change."""
    before = (FIXTURES / "keras3_nested.weights.h5").read_bytes()
    (tmp_path / "k.weights.h5").write_bytes(before)
    assert paramctl("set", "k.weights.h5", "block1/dense/bias[2] = 7", "--in-place").returncode == 0
    after = (tmp_path / "k.weights.h5").read_bytes()
    assert len(after) == len(before)
    assert sum(a != b for a, b in zip(after, before, strict=True)) <= 4
    assert paramctl("dump", "k.weights.h5", "block1/dense/bias").stdout == "[0. 0. 7. 0.]\n"


def test_an_edit_into_another_name_has_that_names_layout(paramctl: Run, tmp_path: Path) -> None:
    """A native file edited into .weights.h5 is Keras' own, and the reverse; in place each stays what it is."""
    paramctl("save", str(ROOT / "sample_models/mlp.yaml"), "-o", "m.h5")
    assert paramctl("set", "m.h5", "dense/kernel = 1", "-o", "k.weights.h5").returncode == 0
    assert paramctl("set", "k.weights.h5", "dense/bias = 2", "-o", "back.h5").returncode == 0
    assert paramctl("set", "back.h5", "dense/bias[0] = 3", "--in-place").returncode == 0
    with h5py.File(tmp_path / "k.weights.h5") as keras, h5py.File(tmp_path / "back.h5") as native:
        assert keras["layers/dense/vars/0"][()].tolist() == native["dense/kernel"][()].tolist() == [[1.0] * 4] * 4
        assert native["dense/bias"][()].tolist() == [3.0, 2.0, 2.0, 2.0]


def test_a_tie_in_a_file_of_keras_is_a_hard_link(paramctl: Run, tmp_path: Path) -> None:
    paramctl("save", str(ROOT / "sample_models/rgnet.yaml"), "-o", "r.weights.h5")
    names = [f"block2/block-{k}/dense/kernel" for k in (0, 1)]
    assert paramctl("tie", "r.weights.h5", *names, "--in-place").returncode == 0
    with h5py.File(tmp_path / "r.weights.h5") as file:
        inside = "layers/sequential/layers"
        assert file[f"{inside}/sequential/layers/dense/vars/0"] == file[f"{inside}/sequential_1/layers/dense/vars/0"]
    assert f"Tied: {names[1]} = {names[0]}" in paramctl("summary", "r.weights.h5").stdout


Objects = Mapping[str, tuple[str, Sequence[np.ndarray]]]


def keras3(path: Path, objects: Objects, root: bool = True) -> Path:
    """A file with the layout of Keras 3. objects: by path, the name and the variables."""
    with h5py.File(path, "w") as file:
        for where, (name, variables) in {**({"": ("m", ())} if root else {}), **objects}.items():
            group = file.create_group(f"{where}/vars")
            if name:
                group.attrs["name"] = name
            for number, values in enumerate(variables):
                group[str(number)] = values
    return path


def archived(path: Path, config: Mapping[str, Any], objects: Objects) -> Path:
    """The same with a configuration, as .keras."""
    weights = keras3(path.with_suffix(".weights.h5"), objects)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(config))
        archive.write(weights, "model.weights.h5")
    return path


def layer(name: str, kind: str = "Dense", module: str | None = "keras.layers", **options: Any) -> dict[str, Any]:
    made = {"class_name": kind, "module": module, "registered_name": None if module else kind}
    return {**made, "config": {"name": name, **options}, "build_config": {"input_shape": [None, 2]}}


def sequential(*layers: Mapping[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}


def floats(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [np.full(shape, 1 + place, "float32") for place, shape in enumerate(shapes)]


def dense() -> list[np.ndarray]:
    return floats((2, 2), (2,))


def facts(paramctl: Run, path: Path) -> dict[str, Any]:
    done = paramctl("summary", str(path), "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def names(paramctl: Run, path: Path) -> list[str]:
    return [row["path"] for row in facts(paramctl, path)["parameters"]]


def test_an_optimizer_is_separated_at_any_place(paramctl: Run, tmp_path: Path) -> None:
    """Below a model within another, under an attribute's name; a layer of a list is none, whatever its class."""
    objects = {
        "layers/sequential": ("inner", ()),
        "layers/sequential/layers/dense": ("dense", dense()),
        "layers/sequential/optimizer": ("adam", floats((), (2, 2))),
        "d_optimizer": ("adam_1", floats((3,))),
        "vae/total_loss_tracker": ("loss", floats((), ())),
        "layers/optimizer": ("own", floats((4,))),
    }
    path = keras3(tmp_path / "k.weights.h5", objects)
    assert sorted(names(paramctl, path)) == ["inner/dense/bias", "inner/dense/kernel", "own/0"]
    assert "Optimizer state: 5 arrays, " in paramctl("summary", str(path)).stdout
    assert paramctl("save", str(path), "-o", str(tmp_path / "again.weights.h5")).returncode == 0
    with h5py.File(path) as one, h5py.File(tmp_path / "again.weights.h5") as other:
        for where, (name, variables) in objects.items():
            assert other[f"{where}/vars"].attrs["name"] == one[f"{where}/vars"].attrs["name"] == name
            assert len(other[f"{where}/vars"]) == len(variables)


def test_quantized_layers(paramctl: Run, tmp_path: Path) -> None:
    """A kernel of integers has a scale after it, and neither is trained; of more variables the names are not told."""
    integers = np.ones((2, 2), "int8")
    objects = {
        "layers/dense": ("a", [integers, *floats((2,))]),
        "layers/dense_1": ("b", [integers, *floats((2,), (2,))]),
        "layers/embedding": ("e", [integers, *floats((2,))]),
        "layers/dense_2": ("c", [integers, *floats((2,), (2,), (2,))]),
    }
    found = facts(paramctl, keras3(tmp_path / "k.weights.h5", objects))["parameters"]
    assert {row["path"]: row["trainable"] for row in found} == {
        "a/kernel": False,
        "a/kernel_scale": False,
        "b/kernel": False,
        "b/bias": None,
        "b/kernel_scale": False,
        "e/embeddings": False,
        "e/embeddings_scale": False,
        "c/0": False,
        **{f"c/{number}": None for number in (1, 2, 3)},
    }


def test_a_custom_class_with_a_name_of_keras(paramctl: Run, tmp_path: Path) -> None:
    """Its variables are not those of Keras' Dense: its configuration says so, else the rank of the first."""
    objects = {"layers/dense": ("mine", dense()), "layers/dense_1": ("keras", dense())}
    config = sequential(layer("mine", module=None), layer("keras", units=2))
    found = facts(paramctl, archived(tmp_path / "k.keras", config, objects))
    assert [row["path"] for row in found["parameters"]] == ["mine/0", "mine/1", "keras/kernel", "keras/bias"]
    assert [row["trainable"] for row in found["parameters"]] == [None, None, True, True]
    vectors = {"layers/dense": ("mine", floats((2,), (2,)))}
    assert names(paramctl, keras3(tmp_path / "v.weights.h5", vectors)) == ["mine/0", "mine/1"]


def index(path: Path, weight_map: Mapping[str, str | list[str]]) -> Path:
    path.write_text(json.dumps({"weight_map": weight_map}))
    return path


def test_a_set_is_read_by_its_index(paramctl: Run, tmp_path: Path) -> None:
    """A group counts in the files that the index names for it, and nothing else in them does."""
    one, other = dense(), [10 * each for each in dense()]
    keras3(tmp_path / "m_0.weights.h5", {"layers/dense": ("a", one), "layers/dense_1": ("b", ())})
    keras3(tmp_path / "m_1.weights.h5", {"layers/dense_1": ("", other), "layers/dense": ("z", other)}, root=False)
    with h5py.File(tmp_path / "m_0.weights.h5", "a") as file:
        file["stray"] = np.ones(3)
        file["another"] = file["stray"]
    homes: dict[str, str | list[str]] = {
        "/layers/dense/vars": "m_0.weights.h5",
        "/layers/dense_1/vars": "m_1.weights.h5",
    }
    path = index(tmp_path / "m.weights.json", homes)
    assert names(paramctl, path) == ["a/kernel", "a/bias", "b/kernel", "b/bias"]
    assert paramctl("dump", str(path), "*/bias", "--format", "csv").stdout.split() == [
        *("path,i0,value", "a/bias,0,2.0", "a/bias,1,2.0", "b/bias,0,20.0", "b/bias,1,20.0")
    ]
    report = paramctl("save", str(path), "-o", "new.h5").stderr
    assert "new.h5 does not include another of m_0.weights.h5 of the source\n" in report
    assert "new.h5 does not include layers/dense/vars/0 of m_1.weights.h5 of the source\n" in report


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        (
            {"/layers/none/vars": "m_0.weights.h5"},
            "m_0.weights.h5 does not have '/layers/none/vars', which the index assigns",
        ),
        (
            {"/layers/dense/vars": ["m_0.weights.h5", "m_1.weights.h5"]},
            "two shards hold the array 'layers/dense/vars/0'",
        ),
        ({"/layers/dense": "m_0.weights.h5"}, "a key must be a group such as '/layers/dense/vars' (got"),
    ],
)
def test_a_false_index_is_refused(
    weight_map: dict[str, str | list[str]], words: str, paramctl: Run, tmp_path: Path
) -> None:
    for number in (0, 1):
        keras3(tmp_path / f"m_{number}.weights.h5", {"layers/dense": ("a", dense())})
    done = paramctl("summary", str(index(tmp_path / "m.weights.json", weight_map)))
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def keras2(path: Path, weights: Mapping[str, Mapping[str, np.ndarray]], config: Any = None) -> Path:
    """A file with the layout of Keras 2, a whole model if there is a configuration."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if config else file
        root.attrs["layer_names"] = [*weights]
        if config:
            file.attrs["model_config"] = json.dumps(config)
        for name, arrays in weights.items():
            group = root.create_group(name)
            group.attrs["weight_names"] = [*arrays]
            for weight, values in arrays.items():
                group[weight] = values
    return path


@pytest.mark.parametrize("told", [True, False])
def test_names_that_begin_with_the_models(told: bool, paramctl: Run, tmp_path: Path) -> None:
    """As Keras 3 writes Keras 2's format: m/a/kernel in the layer a; the document fits then."""
    weights = {"a": {"m/a/kernel": dense()[0], "m/a/bias": dense()[1]}, "b": {"m/b/n/kernel": dense()[0]}}
    config = sequential(layer("a", units=2), layer("b", "Own", "own"))
    path = keras2(tmp_path / "k.h5", weights, config if told else None)
    assert names(paramctl, path) == ["a/kernel", "a/bias", "b/n/kernel"]


def test_arrays_that_would_get_one_name_are_refused(paramctl: Run, tmp_path: Path) -> None:
    path = keras2(tmp_path / "k.h5", {"a": {"a/k:0": np.ones(2), "k:0": np.ones(3)}})
    assert sorted(names(paramctl, path)) == ["a/a/k", "a/k"]
    assert facts(paramctl, path)["totals"]["parameters"] == 5


def test_names_that_no_rule_keeps_apart_are_refused(paramctl: Run, tmp_path: Path) -> None:
    """Two have one name, and so their paths; a third is called as one of these."""
    named = {"p/dense": "q", "w": "q", "z": "p", "z/c": "q", "z/d": "dense"}
    objects = {path: (name, floats((2,)) if path != "z" else []) for path, name in named.items()}
    done = paramctl("summary", str(keras3(tmp_path / "k.weights.h5", objects)))
    assert (done.returncode, done.stdout) == (2, "")
    assert "two arrays would both be called 'p/dense/0'" in done.stderr


def test_trainable_is_set_for_known_classes_only(paramctl: Run, tmp_path: Path) -> None:
    weights = {
        "own": {"own/w": np.ones(2), "own/kept": np.ones(2)},
        "d": {"d/kernel": dense()[0], "d/bias": dense()[1]},
    }
    path = keras2(tmp_path / "k.h5", weights, sequential(layer("own", "Own", "own"), layer("d", units=2)))
    totals = facts(paramctl, path)["totals"]
    assert (totals["parameters"], totals["trainable"], totals["non_trainable"], totals["unknown"]) == (
        10,
        None,
        None,
        4,
    )


def test_a_wrapped_layers_class_follows_from_its_name(paramctl: Run, tmp_path: Path) -> None:
    """The one that Keras gave it; not in an object that might be of any class."""
    objects = {
        "layers/time_distributed": ("steps", ()),
        "layers/time_distributed/layer": ("dense_3", dense()),
        "thing": ("thing", ()),
        "thing/layer": ("dense", dense()),
    }
    found = names(paramctl, keras3(tmp_path / "k.weights.h5", objects))
    assert sorted(found) == ["steps/dense_3/bias", "steps/dense_3/kernel", "thing/dense/0", "thing/dense/1"]


def test_lists_are_left_out_of_names(paramctl: Run, tmp_path: Path) -> None:
    """As in Keras' own; where two would have one name then, lists stay, or attributes and classes tell them apart."""
    objects = {
        "layers/rnn": ("stack", ()),
        "layers/rnn/cell": ("cells", ()),
        "layers/rnn/cell/cells/lstm_cell": ("lstm_cell", floats((2, 8), (2, 8), (8,))),
        "layers/box": ("box", ()),
        **{f"layers/box/{attribute}": ("same", floats((2,))) for attribute in "ab"},
        "layers/box/c": ("other", floats((2,))),
        **{f"{attribute}/dense": ("twice", dense()) for attribute in ("heads", "tails")},
    }
    found = sorted(names(paramctl, keras3(tmp_path / "k.weights.h5", objects)))
    assert found == [
        *("box/a/0", "box/b/0", "box/other/0"),
        *("heads/twice/bias", "heads/twice/kernel"),
        *(f"stack/cells/lstm_cell/{name}" for name in ("bias", "kernel", "recurrent_kernel")),
        *("tails/twice/bias", "tails/twice/kernel"),
    ]


def chained(count: int) -> dict[str, Any]:
    """A graph whose layers stand in the reverse order of what they take."""
    taken = [{"class_name": "__keras_tensor__", "config": {"keras_history": [f"l{k}", 0, 0]}} for k in range(count)]
    nodes = [{"inbound_nodes": [{"args": [each], "kwargs": {}}]} for each in taken]
    layers = [layer(f"l{k + 1}", units=2) | nodes[k] for k in reversed(range(count))]
    given = {"class_name": "InputLayer", "config": {"name": "l0", "batch_shape": [None, 2]}, "inbound_nodes": []}
    ends = {"input_layers": [["l0", 0, 0]], "output_layers": [[f"l{count}", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "m", "layers": [given, *layers], **ends}}


@pytest.mark.parametrize("kind", ["graph", "own classes", "classes of Keras", "layers that all differ"])
def test_the_work_grows_with_the_configuration(kind: str, tmp_path: Path) -> None:
    from paramctl.source.open import open_path

    count = 3_000 if kind == "graph" else 6_000
    config = {
        "graph": lambda: chained(count),
        "own classes": lambda: sequential(*(layer(f"l{k}", "Own", "own") for k in range(count))),
        "classes of Keras": lambda: sequential(layer("o", "Own"), *(layer(f"l{k}", units=2) for k in range(count))),
        "layers that all differ": lambda: sequential(
            layer("o", "Own"), *(layer(f"l{k}", units=k + 1) for k in range(count))
        ),
    }[kind]()
    path = archived(tmp_path / "k.keras", config, {"layers/dense": ("l1", dense())})
    begun = time.process_time()
    open_path(str(path))
    assert time.process_time() - begun < 15 * forks.start_cpu()


def members(path: Path) -> dict[str, Any]:
    """The metadata and the configuration of an archive."""
    with zipfile.ZipFile(path) as archive:
        return {name: json.loads(archive.read(name)) for name in ("metadata.json", "config.json")}


def test_an_archive_of_keras_2_becomes_one_of_keras_3(paramctl: Run, tmp_path: Path) -> None:
    """Its configuration is translated, as that of an .h5, also by way of another format; in place it stays as it is."""
    old = FIXTURES / "keras2_functional.keras"
    assert members(old)["metadata.json"]["keras_version"].startswith("2.")
    done = paramctl("save", str(old), "-o", "new.keras")
    assert (done.returncode, done.stderr) == (0, "wrote new.keras: 2 arrays, 10 values\n")
    paramctl("save", str(old), "-o", "middle.safetensors")
    paramctl("save", "middle.safetensors", "-o", "again.keras")
    paramctl("save", str(old), "-o", "new.weights.h5")
    new = members(tmp_path / "new.keras")
    assert new == members(tmp_path / "again.keras")
    assert new["metadata.json"]["keras_version"].startswith("3.")
    assert new["config.json"]["module"] == "keras"
    assert new["config.json"]["config"]["layers"][0]["config"]["batch_shape"] == [None, 4]
    for name in ("new.keras", "again.keras", "new.weights.h5"):
        assert paramctl("diff", str(old), name).returncode == 0
    (tmp_path / "own.keras").write_bytes(old.read_bytes())
    assert paramctl("set", "own.keras", "dense/bias = 1", "--in-place").returncode == 0
    assert members(tmp_path / "own.keras") == members(old)


def test_an_untranslatable_archive_of_keras_2_is_refused(paramctl: Run, tmp_path: Path) -> None:
    """One with a custom class; its weights alone can be saved."""
    config = sequential(layer("mine", module=None), layer("keras", units=2))
    archived(tmp_path / "k.keras", config, {"layers/dense": ("mine", dense()), "layers/dense_1": ("keras", dense())})
    rewritten(tmp_path / "k.keras", {"keras_version": "2.13.1"})
    done = paramctl("save", "k.keras", "-o", "new.keras")
    assert (done.returncode, done.stdout) == (2, "")
    rule = "the configuration of Keras 2 in k has layers that cannot be translated for Keras 3."
    assert done.stderr == f"new.keras: {rule} Save the values alone as 'new.weights.h5'\n"
    assert not (tmp_path / "new.keras").exists()
    assert paramctl("save", "k.keras", "-o", "new.weights.h5").returncode == 0


def rewritten(path: Path, metadata: Mapping[str, Any]) -> None:
    """Replace the metadata of an archive."""
    with zipfile.ZipFile(path) as archive:
        others = {name: archive.read(name) for name in archive.namelist() if name != "metadata.json"}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        for name, content in others.items():
            archive.writestr(name, content)


def test_settings_that_a_translation_drops_are_named(paramctl: Run, tmp_path: Path) -> None:
    """A regularizer and a constraint of a layer, and the policy of another; those of a .keras are kept in a .keras."""
    policy = {"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}
    norm = {"class_name": "UnitNorm", "config": {}}
    layers = [layer("a", units=2, kernel_regularizer="l2", bias_constraint=norm), layer("b", units=2, dtype=policy)]
    weights = {name: {f"{name}/kernel": dense()[0], f"{name}/bias": dense()[1]} for name in "ab"}
    keras2(tmp_path / "k.h5", weights, sequential(*layers) | {"build_config": {"input_shape": [None, 2]}})
    done = paramctl("save", "k.h5", "-o", "new.keras")
    assert done.returncode == 0, done.stderr
    assert "kernel_regularizer of a" in done.stderr
    objects = {f"layers/dense{number}": (name, dense()) for name, number in {"a": "", "b": "_1"}.items()}
    archived(tmp_path / "k.keras", sequential(*layers) | {"build_config": {"input_shape": [None, 2]}}, objects)
    rewritten(tmp_path / "k.keras", {"keras_version": "3.0.0"})
    assert "regularizer" not in paramctl("save", "k.keras", "-o", "new.keras", "--force").stderr
    rewritten(tmp_path / "k.keras", {"keras_version": "2.15.0"})
    assert "kernel_regularizer of a" in paramctl("save", "k.keras", "-o", "new.keras", "--force").stderr


def test_attention_takes_the_inputs_that_its_call_names() -> None:
    """By name, in any order, in both generations of the configuration; one with a mask is no document."""
    from paramctl.store.keras.from_config import UnsupportedConfig, document

    def call(options: Mapping[str, list[Any]], legacy: bool) -> dict[str, Any]:
        def tensor(history: list[Any]) -> Any:
            return history if legacy else {"class_name": "__keras_tensor__", "config": {"keras_history": history}}

        kwargs = {name: tensor(history) for name, history in options.items()}
        node = [["q", 0, 0, kwargs]] if legacy else {"args": [tensor(["q", 0, 0])], "kwargs": kwargs}
        inputs = [
            {"class_name": "InputLayer", "config": {"name": name, "batch_shape": [None, 5, 4]}, "inbound_nodes": []}
            for name in ("q", "v", "k", "m")
        ]
        attention = layer("a", "MultiHeadAttention", num_heads=2, key_dim=2) | {"inbound_nodes": [node]}
        ends = {"input_layers": [[name, 0, 0] for name in "qvkm"], "output_layers": [["a", 0, 0]]}
        return {"class_name": "Functional", "config": {"name": "m", "layers": [*inputs, attention], **ends}}

    named = {"key": ["k", 0, 0], "value": ["v", 0, 0]}
    for legacy in (False, True):
        (entry,) = document(call(named, legacy))["layers"]
        attention = entry["multi_head_attention"]
        assert (attention["from"], attention["value"], attention["key"]) == ("q", "v", "k")
        with pytest.raises(UnsupportedConfig, match="a mask that is a tensor"):
            document(call({"value": ["v", 0, 0], "attention_mask": ["m", 0, 0]}, legacy))

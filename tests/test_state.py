"""The arrays of an optimizer: listed, printed, compared and kept by --state, and never counted as parameters."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import paramctl as pc
from paramctl.errors import OutputError
from tests.conftest import ROOT, Run
from tests.formats import ANY, KERAS
from tests.samples import SAMPLES
from tests.test_keras_files import dense, floats, keras3

KERAS2 = str(ROOT / "tests/fixtures/keras2_full_model.h5")
MLP = str(ROOT / "sample_models/mlp.yaml")


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A file of Keras 3 with the state of an optimizer: a count, a rate, and a moment of the kernel."""
    objects = {
        "layers/dense": ("dense", dense()),
        "optimizer": ("adam", [np.array(7, "i4"), np.array(0.01, "f4"), *floats((4, 4))]),
    }
    return keras3(tmp_path / "trained.weights.h5", objects)


def state(path: object) -> dict[str, list[float]]:
    """Return the values of a file's optimizer by path, as paramctl reads them."""
    weights = pc.open(str(path)).with_state()
    return {
        path: np.asarray(array).reshape(-1).tolist()
        for path, array in weights.items()
        if not array.parameter.is_parameter
    }


def test_the_summary_counts_the_state_apart(paramctl: Run, trained: Path) -> None:
    """Its line has arrays, values and bytes; the totals of parameters are the same with its rows and without."""
    plain = paramctl("summary", str(trained)).stdout
    listed = paramctl("summary", str(trained), "--state").stdout
    with h5py.File(trained) as file:
        names = [f"optimizer/vars/{name}" for name in file["optimizer/vars"]]
        size = sum(dataset.size for dataset in file["optimizer/vars"].values())
    line = f"Optimizer state: {len(names)} arrays, {size} values, {4 * size} bytes"
    total = plain[plain.index("Total parameters") :]
    assert line in total
    assert listed.endswith(total)
    assert all(name in listed and name not in plain for name in names)


def test_machine_formats_tell_parameters_from_state(paramctl: Run, trained: Path) -> None:
    """JSON has the state under a key of its own; rows of CSV have their kind."""
    with_rows = json.loads(paramctl("summary", str(trained), "--state", "--format", "json").stdout)
    without = json.loads(paramctl("summary", str(trained), "--format", "json").stdout)
    assert len(with_rows["optimizer_state"].pop("rows")) == with_rows["optimizer_state"]["arrays"] == 3
    assert with_rows == without
    lines = paramctl("summary", str(trained), "--state", "--format", "csv").stdout.splitlines()
    assert sum(line.endswith(",optimizer") for line in lines) == 3
    other = json.loads(paramctl("summary", MLP, "--format", "json").stdout)
    assert "optimizer_state" not in other


def test_patterns_and_filters_select_among_both(paramctl: Run, trained: Path) -> None:
    """An address of the state, and --kind optimizer, leave no parameter."""
    for words in (["optimizer/**"], ["--kind", "optimizer"]):
        facts = json.loads(paramctl("summary", str(trained), "--state", *words, "--format", "json").stdout)
        assert (facts["totals"]["parameters"], facts["optimizer_state"]["arrays"], facts["parameters"]) == (0, 3, [])
    one = json.loads(paramctl("summary", str(trained), "--state", "optimizer/vars/2", "--format", "json").stdout)
    assert one["optimizer_state"]["values"] == 16


def test_addresses_of_the_state(paramctl: Run, trained: Path) -> None:
    """With --state they select its values and slices; without it, an error names the option."""
    with h5py.File(trained) as file:
        moments = file["optimizer/vars/2"][:]
    done = paramctl("dump", str(trained), "--state", "optimizer/vars/2[1, :2]", "--format", "json")
    assert json.loads(done.stdout) == {"optimizer/vars/2": moments[1, :2].tolist()}
    for words in (["dump"], ["stat"], ["summary"]):
        done = paramctl(*words, str(trained), "optimizer/vars/2")
        assert (done.returncode, done.stdout) == (2, "")
        assert "only the optimizer's state has this name (got 'optimizer/vars/2'). Add --state.\n" in done.stderr
    assert "Add --state" not in paramctl("dump", str(trained), "optimiser").stderr


def test_an_index_counts_layers_alone(paramctl: Run, trained: Path) -> None:
    """layers[-1] and weights[-1] lead to the model's last with --state too."""
    for address in ("layers[-1].weights[-1]", "weights[-1]"):
        assert (
            paramctl("dump", str(trained), "--state", address).stdout == paramctl("dump", str(trained), address).stdout
        )


def test_stat_measures_every_array(trained: Path) -> None:
    rows = {row.path: row for row in pc.stat(str(trained), state=True).rows}
    assert rows["optimizer/vars/0"].mean == 7
    assert [*pc.open(str(trained))] == [path for path in rows if not path.startswith("optimizer")]


def test_a_file_without_state_says_so(paramctl: Run, tmp_path: Path) -> None:
    pc.save(MLP, tmp_path / "m.h5")
    for name in ("m.h5", MLP):
        done = paramctl("summary", name, "--state")
        assert (done.returncode, done.stderr) == (0, f"{name}: holds no optimizer state\n")


@pytest.mark.parametrize("name", ANY)
@pytest.mark.parametrize("source", [None, KERAS2], ids=["keras3", "keras2"])
def test_state_is_kept_in_every_format(
    source: str | None, name: str, paramctl: Run, tmp_path: Path, trained: Path
) -> None:
    """All values are kept under their names, and the new file counts them apart, whatever is done to it after."""
    path = source or str(trained)
    target = str(tmp_path / name)
    before = state(path)
    assert paramctl("save", path, "-o", name, "--state", "--dtype", "float64").returncode == 0
    assert state(target) == before
    assert pc.summary(target).totals.parameters == pc.summary(path).totals.parameters
    assert [*pc.open(target)] == [*pc.open(path)]
    file = f"{name}model.safetensors" if name.endswith("/") else name
    assert paramctl("set", file, f"{next(iter(pc.open(target)))} += 1", "--in-place").returncode == 0
    assert state(target) == before
    assert paramctl("save", name, "-o", "again.npz", "--state").returncode == 0
    assert paramctl("diff", name, "again.npz", "--state").returncode == 0
    other = np.savez(tmp_path / "other.npz", **{key: np.asarray(value) for key, value in pc.open(target).items()})
    assert other is None
    assert paramctl("diff", name, "other.npz").returncode == 0
    assert paramctl("diff", name, "other.npz", "--state").returncode == 1


@pytest.mark.parametrize("name", ANY)
def test_state_is_dropped_with_a_line(name: str, paramctl: Run, trained: Path, tmp_path: Path) -> None:
    done = paramctl("save", str(trained), "-o", name)
    assert done.stderr.endswith("does not include 3 optimizer or metric arrays of the source\n")
    assert state(tmp_path / name) == {}


@pytest.mark.parametrize("name", ANY)
def test_a_file_written_again_in_place_keeps_its_state(name: str, paramctl: Run, trained: Path, tmp_path: Path) -> None:
    """A change that needs the whole file to be written, such as a tie, loses nothing."""
    objects = {
        "layers/dense": ("dense", dense()),
        "layers/dense_1": ("dense_1", dense()),
        "optimizer": ("adam", floats((4, 4))),
    }
    twin = keras3(tmp_path / "twin.weights.h5", objects)
    assert paramctl("save", str(twin), "-o", name, "--state").returncode == 0
    file = f"{name}model.safetensors" if name.endswith("/") else name
    done = paramctl("tie", file, "dense/kernel", "dense_1/kernel", "--in-place")
    assert done.returncode == 0, done.stderr
    assert state(tmp_path / name) == state(twin)
    assert len(pc.ties(tmp_path / name)) == 1


def test_state_goes_back_into_a_keras_file(paramctl: Run, trained: Path, tmp_path: Path) -> None:
    """By way of any format it is the file that Keras wrote: its groups, their names, and every value."""
    for name in ANY:
        assert paramctl("save", str(trained), "-o", name, "--state", "--force").returncode == 0
        assert paramctl("save", name, "-o", "back.weights.h5", "--force").stderr.count("\n") == 1
        with h5py.File(trained) as one, h5py.File(tmp_path / "back.weights.h5") as other:
            assert one["optimizer/vars"].attrs["name"] == other["optimizer/vars"].attrs["name"] == "adam"
            for key, dataset in one["optimizer/vars"].items():
                assert dataset[()].tobytes() == other[f"optimizer/vars/{key}"][()].tobytes()


def test_keras_files_keep_state_whole_or_not_at_all(paramctl: Run, trained: Path, tmp_path: Path) -> None:
    """Keras loads all variables of an optimizer or none, each in its dtype."""
    assert paramctl("save", str(trained), "-o", "b.weights.h5", "--state").returncode == 0
    assert state(tmp_path / "b.weights.h5") == state(trained)
    done = paramctl("save", str(trained), "-o", "c.weights.h5", "--state", "--dtype", "optimizer/**=float64")
    assert (done.returncode, "only as Keras wrote it" in done.stderr) == (2, True)
    assert not (tmp_path / "c.weights.h5").exists()
    assert KERAS  # the rule is for these formats


@pytest.mark.parametrize("words", [[], ["--state"]], ids=["without", "with"])
def test_dropped_by_name_it_is_named_as_dropped(words: list[str], paramctl: Run, trained: Path, tmp_path: Path) -> None:
    """--drop takes addresses of the state, with --state or not, and a Keras file is written without the optimizer."""
    for name in ("m.safetensors", "m.weights.h5"):
        done = paramctl("save", str(trained), *words, "--drop", "optimizer/**", "-o", name)
        note = "note: dropped 3 of 3 arrays of the optimizer: optimizer/vars/0, optimizer/vars/1, optimizer/vars/2"
        assert done.stderr == f"wrote {name}: 2 arrays, 6 values\n{note}\n"
        assert state(tmp_path / name) == {}
    done = paramctl("save", str(trained), *words, "--drop", "optimizer/vars/0", "-o", "part.weights.h5")
    if words:
        assert (done.returncode, "only as Keras wrote it" in done.stderr) == (2, True)
    else:
        assert "dropped 1 of 3 arrays of the optimizer: optimizer/vars/0\n" in done.stderr
        assert "does not include 2 optimizer or metric arrays" in done.stderr
        assert state(tmp_path / "part.weights.h5") == {}


def test_addresses_in_save_select_among_both(paramctl: Run, trained: Path, tmp_path: Path) -> None:
    words = ["dense/bias", "optimizer/vars/2[0]"]
    done = paramctl("save", str(trained), "-o", "m.npz", *words)
    assert (done.returncode, "Add --state" in done.stderr) == (2, True)
    assert paramctl("save", str(trained), "-o", "m.npz", "--state", *words).returncode == 0
    assert [*pc.open(tmp_path / "m.npz")] == ["dense/bias"]
    assert state(tmp_path / "m.npz") == {"optimizer/vars/2": state(trained)["optimizer/vars/2"][:4]}


def test_a_file_of_state_alone_is_not_saved_as_an_empty_one(paramctl: Run, trained: Path, tmp_path: Path) -> None:
    """Such as the optimizer.pt of a training. Without --state nothing would be in the new file."""
    state, copy = tmp_path / "state.npz", tmp_path / "copy.npz"
    assert paramctl("save", str(trained), "optimizer/**", "--state", "-o", str(state)).returncode == 0
    refused = paramctl("save", str(state), "-o", str(copy))
    assert (refused.returncode, refused.stderr.count("\n"), copy.exists()) == (2, 1, False)
    assert "must have parameters (got" in refused.stderr
    assert "Add --state" in refused.stderr
    assert paramctl("save", str(state), "--state", "-o", str(copy)).returncode == 0
    assert paramctl("diff", str(state), str(copy), "--state").returncode == 0


def test_addresses_and_a_layout_select_among_both(paramctl: Run, tmp_path: Path) -> None:
    """The selection by the source's names comes after the conversion, in which the state has no part."""
    words = ["--layout", "torch", "--state", "dense_2", "optimizer_weights/Adam/m/dense_2/*"]
    done = paramctl("save", KERAS2, "-o", "m.npz", *words)
    assert done.returncode == 0, done.stderr
    assert [*pc.open(tmp_path / "m.npz")] == ["dense_2.weight", "dense_2.bias"]
    assert sorted(state(tmp_path / "m.npz")) == [
        f"optimizer_weights/Adam/m/dense_2/{name}:0" for name in ("bias", "kernel")
    ]


def test_conversions_leave_the_state_as_it_is(paramctl: Run, trained: Path, tmp_path: Path) -> None:
    """Its names and shapes are no layers': only a rule that names it changes its dtype or its name."""
    (tmp_path / "m.yaml").write_text("input: [2]\nlayers: [{dense: 2}]\n")
    words = ["--state", "--layout", "torch", "--like", "m.yaml", "--dtype", "float16"]
    done = paramctl("save", str(trained), "-o", "t.safetensors", *words)
    assert done.returncode == 0, done.stderr
    assert [*pc.open(tmp_path / "t.safetensors")] == ["dense.weight", "dense.bias"]
    assert state(tmp_path / "t.safetensors") == state(trained)
    words = ["--state", "--rename", "optimizer/vars/**=adam/**", "--dtype", "adam/2=float64", "-q"]
    assert paramctl("save", str(trained), "-o", "r.npz", *words).stderr == ""
    renamed = pc.open(tmp_path / "r.npz").with_state()
    assert renamed["adam/2"].dtype == np.float64
    assert [*renamed.parameters][2:] == ["adam/0", "adam/1", "adam/2"]


@pytest.mark.parametrize("name", SAMPLES)
def test_state_of_every_format_that_is_read(name: str, paramctl: Run, tmp_path: Path) -> None:
    """The arrays that a format keeps as an optimizer's state are listed, and kept as such in another format."""
    path = SAMPLES[name](tmp_path)
    optimizer = pc.open(path).source.origin.optimizer
    expected = {} if optimizer is None else optimizer.arrays
    facts = json.loads(paramctl("summary", str(path), "--state", "--format", "json").stdout)
    rows = facts.get("optimizer_state", {}).get("rows", [])
    assert {row["path"] for row in rows} == expected.keys()
    assert not {row["path"] for row in facts["parameters"]} & expected.keys()
    if expected:
        before = state(path)
        done = paramctl("save", str(path), "-o", "kept.npz", "--state")
        assert done.returncode == 0, done.stderr
        assert "optimizer or metric array" not in done.stderr
        assert state(tmp_path / "kept.npz") == before
        assert pc.summary(tmp_path / "kept.npz").totals.parameters == facts["totals"]["parameters"]


def test_a_name_of_both_is_refused(tmp_path: Path) -> None:
    """An array of the optimizer under the name of a parameter cannot be selected, so it is no guess."""
    from dataclasses import replace

    from paramctl.errors import AddressError
    from paramctl.source.open import open_checkpoint
    from paramctl.source.with_state import with_state
    from paramctl.store.contents import OptimizerState

    pc.save(MLP, tmp_path / "m.h5")
    source = open_checkpoint(str(tmp_path / "m.h5"))
    source.origin = replace(source.origin, optimizer=OptimizerState(source.model.parameters, source))
    with pytest.raises(AddressError, match="must not have the name of a parameter"):
        with_state(source)


def test_a_training_records_its_slots_as_state(paramctl: Run, tmp_path: Path) -> None:
    """The file from which a training goes on has values as parameters, and the optimizer's arrays as state."""
    pytest.importorskip("autograd")
    np.savez(tmp_path / "data.npz", x=np.ones((4, 4), "f4"), y=np.ones((4, 1), "f4"))
    words = ["--data", "data.npz", "--loss", "mse", "--optimizer", "adam", "-o", "out.npz"]
    done = paramctl("train", MLP, *words, "--steps", "2")
    assert done.returncode == 0, done.stderr
    listed = state(tmp_path / "out.npz.state.npz")
    assert listed["step"] == [2]
    assert [name for name in listed if name.startswith("slots/")]
    assert all(name.startswith("values/") for name in pc.open(tmp_path / "out.npz.state.npz"))
    assert pc.summary(tmp_path / "out.npz.state.npz").totals.parameters == 25
    assert paramctl("train", MLP, *words, "--steps", "3", "--resume").returncode == 0
    assert state(tmp_path / "out.npz.state.npz")["step"] == [3]


def test_an_error_leaves_nothing_behind(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="only as Keras wrote it"):
        pc.save(str(trained), tmp_path / "x.weights.h5", state=True, dtype="optimizer/**=float64")
    assert not (tmp_path / "x.weights.h5").exists()

"""Selections: save with addresses, --drop and --dry-run, and renaming by regular expressions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import paramctl as pc
from paramctl.store.registry import FORMATS
from tests.conftest import ROOT, Run

MLP = str(ROOT / "sample_models" / "mlp.yaml")
WRITABLE = [suffix for format_ in FORMATS if format_.writable and not format_.unnamed for suffix in format_.suffixes]
TIED = "input: [4]\nlayers:\n  - dense: {name: a, units: 4}\n  - dense: {name: b, units: 4}\n  - dense: {name: c, units: 4}\n"


def values(path: Path | str) -> dict[str, np.ndarray[Any, Any]]:
    """Return all the arrays of a checkpoint."""
    with pc.open(path) as weights:
        return {name: np.array(weights[name]) for name in weights}


@pytest.fixture
def arrays(tmp_path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays in the file x.safetensors."""
    rng = np.random.default_rng(0)
    made = {
        "enc.0.weight": rng.normal(size=(6, 4)).astype("f4"),
        "enc.0.bias": rng.normal(size=6).astype("f4"),
        "enc.1.weight": rng.normal(size=(3, 6, 2)).astype("f2"),
        "head.weight": rng.normal(size=(5, 6)).astype("f4"),
        "step": np.array(7, "i8"),
    }
    save_file(made, tmp_path / "x.safetensors")
    return made


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["enc"], ["enc.0.weight", "enc.0.bias", "enc.1.weight"]),
        (["enc", "--drop", "**/bias"], ["enc.0.weight", "enc.1.weight"]),
        (["--drop", "enc.0.*", "--drop", "step"], ["enc.1.weight", "head.weight"]),
        (["--min-size", "25"], ["enc.1.weight", "head.weight"]),
        (["re:.*weight", "step"], ["enc.0.weight", "enc.1.weight", "head.weight", "step"]),
    ],
)
def test_only_the_selected_arrays_are_written_with_their_values(
    paramctl: Run, tmp_path: Path, arrays: dict[str, Any], options: list[str], names: list[str]
) -> None:
    """Every other array is counted and named on standard error."""
    result = paramctl("save", "x.safetensors", *options, "-o", "y.safetensors")
    assert result.returncode == 0, result.stderr
    written = load_file(tmp_path / "y.safetensors")
    assert sorted(written) == sorted(names)
    for name in names:
        assert written[name].dtype == arrays[name].dtype
        np.testing.assert_array_equal(written[name], arrays[name])
    lost = [name for name in arrays if name not in names]
    assert f"dropped {len(lost)} of 5 arrays" in result.stderr
    assert all(name in result.stderr for name in lost)


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITABLE if suffix in (".safetensors", ".h5", ".npz", "/")])
def test_a_selection_is_written_in_every_format_that_has_any_names(
    paramctl: Run, tmp_path: Path, arrays: dict[str, Any], suffix: str
) -> None:
    result = paramctl("save", "x.safetensors", "enc", "--drop", "enc.0.bias", "-o", f"y{suffix}")
    assert result.returncode == 0, result.stderr
    written = values(tmp_path / f"y{suffix}")
    assert sorted(written) == ["enc.0.weight", "enc.1.weight"]
    np.testing.assert_array_equal(written["enc.1.weight"], arrays["enc.1.weight"])


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".weights.json"])
def test_a_subset_is_no_keras_file(paramctl: Run, tmp_path: Path, suffix: str) -> None:
    """Keras would refuse to load it, so it is refused, and with --dry-run too."""
    for more in ([], ["--dry-run"]):
        result = paramctl("save", MLP, "dense", "-o", f"y{suffix}", *more)
        assert (result.returncode, result.stdout) == (2, "")
        assert "must hold every parameter" in result.stderr
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("address", "index"),
    [
        ("enc.0.weight[1:3]", np.s_[1:3]),
        ("enc.0.weight[::-2, 0]", np.s_[::-2, 0]),
        ("enc.1.weight[..., 1]", np.s_[..., 1]),
        ("enc.1.weight[-1]", np.s_[-1]),
        ("enc.0.bias[2]", np.s_[2]),
        ("enc.0.bias[3:3]", np.s_[3:3]),
    ],
)
def test_a_slice_is_written_under_its_name(
    paramctl: Run, tmp_path: Path, arrays: dict[str, Any], address: str, index: Any
) -> None:
    result = paramctl("save", "x.safetensors", address, "-o", "y.npz")
    assert result.returncode == 0, result.stderr
    name = address.partition("[")[0]
    with np.load(tmp_path / "y.npz") as written:
        assert [each for each in written.files if "paramctl" not in each] == [name]
        np.testing.assert_array_equal(written[name], arrays[name][index])


def test_a_slice_keeps_the_roles_that_are_still_true(tmp_path: Path) -> None:
    """A slice of a kernel has the roles of its axes, and an index removes one."""
    sliced = pc.convert(MLP, select=["dense/kernel[:, 1:3]", "dense_1/kernel[0]"])
    assert [(axis.size, axis.role) for axis in sliced.parameters["dense/kernel"].axes] == [(4, "in"), (2, "out")]
    assert [(axis.size, axis.role) for axis in sliced.parameters["dense_1/kernel"].axes] == [(1, "out")]


def test_a_shared_array_moves_to_its_other_name(tmp_path: Path) -> None:
    """Dropping the kept name keeps the values, transposed where the tie says so, and ties among the others."""
    (tmp_path / "m.yaml").write_text(
        f"{TIED}ties:\n  - {{keep: a/kernel, tie: b/kernel, transpose: true}}\n  - {{keep: a/kernel, tie: c/kernel}}\n"
    )
    whole = {name: np.array(array) for name, array in pc.initialize(tmp_path / "m.yaml", seed=1).items()}
    np.testing.assert_array_equal(whole["b/kernel"], whole["a/kernel"].T)
    for drop, ties in [
        (["a/kernel"], [("b/kernel", "c/kernel", True)]),
        (["c/kernel"], [("a/kernel", "b/kernel", True)]),
        (["a/kernel", "c/kernel"], []),
        (["a/kernel", "b/kernel"], []),
    ]:
        pc.save(pc.initialize(tmp_path / "m.yaml", seed=1), tmp_path / "y.h5", drop=drop, force=True)
        with pc.open(tmp_path / "y.h5") as weights:
            assert sorted(weights) == sorted(whole.keys() - set(drop))
            assert [(tie.kept, tie.tied, tie.transpose) for tie in pc.ties(weights)] == ties
            for name, array in weights.items():
                np.testing.assert_array_equal(array, whole[name])


def test_names_that_leave_a_shared_array_are_named(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(f"{TIED}ties:\n  - {{keep: a/kernel, tie: b/kernel}}\n")
    result = paramctl("save", "m.yaml", "--drop", "a/kernel", "-o", "y.safetensors")
    assert "dropped names of shared arrays: a/kernel" in result.stderr


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["--drop", "nope"], "no parameter with this name"),
        (["nope"], "no parameter with this name"),
        (["--drop", "**"], "--drop leaves no array"),
        (["--drop", "head.weight[0]"], "only whole parameters can be dropped"),
        (["head.weight[0]", "head.weight[1]"], "selected twice"),
        (["head.weight", "head.weight[1]"], "selected twice"),
        (["head.weight[9]"], "head.weight"),
        (["--kind", "bias"], "does not record"),
        (["enc.0.weight", "--dtype", "int8"], "a dtype that is not floating-point"),
        (["head.weight", "--rename", "enc.**=**"], "no parameter with this name"),
    ],
)
def test_a_selection_that_cannot_be_made_is_refused(
    paramctl: Run, tmp_path: Path, arrays: dict[str, Any], options: list[str], rule: str
) -> None:
    """With --dry-run too, and nothing is written."""
    for more in ([], ["--dry-run"]):
        result = paramctl("save", "x.safetensors", *options, "-o", "y.safetensors", *more)
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert rule in result.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_selection_of_a_model_is_converted_to_torch(paramctl: Run, tmp_path: Path) -> None:
    """The names are the model's, and the result has the values of the whole conversion."""
    assert paramctl("save", MLP, "--layout", "torch", "-o", "all.safetensors").returncode == 0
    assert paramctl("save", MLP, "dense", "--layout", "torch", "-o", "some.safetensors").returncode == 0
    whole, some = load_file(tmp_path / "all.safetensors"), load_file(tmp_path / "some.safetensors")
    assert sorted(some) == ["dense.bias", "dense.weight"]
    np.testing.assert_array_equal(some["dense.weight"], whole["dense.weight"])
    result = paramctl("save", MLP, "dense/kernel[0]", "--layout", "torch", "-o", "slice.safetensors")
    assert result.returncode == 2
    assert "not slices" in result.stderr


def test_an_array_packed_from_several_needs_them_all(tmp_path: Path) -> None:
    """torch's in_proj_weight has query, key and value: two of them make no tensor."""
    document = "input: [3, 8]\nlayers:\n  - multi_head_attention: {name: mha, num_heads: 2, key_dim: 4}\n"
    (tmp_path / "m.yaml").write_text(document)
    packed = pc.convert(tmp_path / "m.yaml", select="mha", layout="torch")
    assert "mha.in_proj_weight" in packed
    with pytest.raises(pc.AddressError, match="in_proj_weight has the values of"):
        pc.convert(tmp_path / "m.yaml", drop="mha/query/kernel", layout="torch")


def test_extra_arrays_are_dropped_before_a_conversion(paramctl: Run, tmp_path: Path) -> None:
    """A checkpoint with arrays that the model lacks becomes the model's Keras file."""
    assert paramctl("save", MLP, "--layout", "torch", "-o", "t.safetensors").returncode == 0
    extra = load_file(tmp_path / "t.safetensors") | {"loss.scale": np.ones(1, "f4")}
    save_file(extra, tmp_path / "extra.safetensors")
    arguments = ["save", "extra.safetensors", "--like", MLP, "--layout", "keras", "-o", "y.weights.h5"]
    assert paramctl(*arguments).returncode == 2
    assert paramctl(*arguments, "--drop", "loss").returncode == 0
    assert paramctl("diff", MLP, "y.weights.h5").returncode == 0


def test_a_dry_run_prints_what_a_save_writes(paramctl: Run, tmp_path: Path, arrays: dict[str, Any]) -> None:
    """Rows on standard output, files on standard error, and an unchanged folder."""
    command = ["save", "x.safetensors", "enc", "-o", "new/set/", "--max-shard-size", "100"]
    result = paramctl(*command, "--dry-run", "--format", "json")
    assert result.returncode == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]
    planned = dict(re.findall(r"would write (\S+): ([\d,]+) bytes", result.stderr))
    assert paramctl(*command).returncode == 0
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("new/set/*.safetensors")}
    assert planned.keys() == written
    for name, size in planned.items():
        assert sum(array.nbytes for array in load_file(tmp_path / name).values()) == int(size)
    rows = {row["path"]: row for row in json.loads(result.stdout)}
    for name, array in values(tmp_path / "new/set").items():
        expected = {"shape": list(array.shape), "dtype": array.dtype.name, "bytes": array.nbytes, "tied_to": None}
        assert rows[name] == {"path": name, **expected}


def test_a_dry_run_refuses_what_a_save_refuses(paramctl: Run, tmp_path: Path) -> None:
    """Also what only the values show, and that the file exists."""
    save_file({"w": np.array([0.0] * 400_000 + [1e30], "f4")}, tmp_path / "x.safetensors")
    for options, rule in [
        (["-o", "y.npz", "--dtype", "float16"], "exceeds the range"),
        (["-o", "x.safetensors"], "already exists"),
        (["-o", "y.txt"], "suffix"),
        (["-o", "none/y.npz"], "no such folder"),
        ([], "Missing option"),
    ]:
        for more in ([], ["--dry-run"]):
            result = paramctl("save", "x.safetensors", *options, *more)
            assert (result.returncode, result.stdout) == (2, ""), (options, more)
            assert rule in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize("target", ["y.safetensors", "y.npz", "y.h5", "set/"])
@pytest.mark.parametrize("empty", [{}, {"e": np.zeros((0, 3), "f4")}])
def test_a_dry_run_of_empty_arrays_writes_nothing(tmp_path: Path, target: str, empty: dict[str, Any]) -> None:
    """Such a file is complete before the first value is written, and must not replace another one."""
    save_file(empty, tmp_path / "empty.safetensors")
    pc.save(MLP, f"{tmp_path}/{target}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    planned = pc.save(tmp_path / "empty.safetensors", f"{tmp_path}/{target}", force=True, dry_run=True)
    assert [file.bytes for file in planned] == [0]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    # and a new one is not left behind
    new = "new/" if target == "set/" else f"new-{target}"
    pc.save(tmp_path / "empty.safetensors", f"{tmp_path}/{new}", dry_run=True)
    assert not (tmp_path / new).exists()


def test_a_selection_can_be_opened_again(tmp_path: Path, arrays: dict[str, Any]) -> None:
    """Its description is JSON, and gives the same values."""
    selected = pc.convert(tmp_path / "x.safetensors", select=["enc.0.weight[1:5:2]", "step"])
    again = pc.reopen(json.loads(json.dumps(selected.describe())))
    assert list(again) == list(selected) == ["step", "enc.0.weight"]
    for name in again:
        np.testing.assert_array_equal(again[name], selected[name])


def test_values_changed_in_a_selection_do_not_bring_the_rest_back(tmp_path: Path, arrays: dict[str, Any]) -> None:
    """assign patches a copy of a whole file; a selection is not the whole file."""
    changed = pc.assign(pc.convert(tmp_path / "x.safetensors", select="head"), {"head.weight": 2})
    pc.save(changed, tmp_path / "y.safetensors")
    assert list(load_file(tmp_path / "y.safetensors")) == ["head.weight"]


RENAMINGS = [
    ([r"re:^enc\.(\d+)=blocks.\1.layer"], ["blocks.0.layer.weight", "blocks.0.layer.bias", "blocks.1.layer.weight"]),
    ([r"re:(?P<a>enc)\.(?P<n>\d)=\g<n>.\g<a>"], ["0.enc.weight", "0.enc.bias", "1.enc.weight"]),
    (["re:enc.=", "re:nothing|head=top"], ["0.weight", "0.bias", "1.weight", "top.weight"]),
    (["re:e=E"], ["Enc.0.wEight", "Enc.0.bias", "Enc.1.wEight", "hEad.wEight", "stEp"]),
    (["re:(?=step)=last_"], ["last_step"]),
    (["re:[s=]tep=st"], ["st"]),
]


@pytest.mark.parametrize(("rules", "names"), RENAMINGS)
def test_names_are_replaced_as_re_sub_does(
    paramctl: Run, tmp_path: Path, arrays: dict[str, Any], rules: list[str], names: list[str]
) -> None:
    """Every match in a name; the first rule that matches a name applies."""
    options = [word for rule in rules for word in ("--rename", rule)]
    result = paramctl("save", "x.safetensors", *options, "-o", "y.safetensors")
    assert result.returncode == 0, result.stderr
    written = load_file(tmp_path / "y.safetensors")
    assert set(names) <= written.keys()
    expected = dict(arrays)
    for name in arrays:
        for rule in rules:
            pattern, _, replacement = rule.removeprefix("re:").rpartition("=")
            if re.search(pattern, name):
                expected[re.sub(pattern, replacement, name)] = expected.pop(name)
                break
    assert written.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(written[name], array)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("re:nothing=x", "no parameter with this name"),
        (r"re:(enc)=\2", "invalid replacement"),
        (r"re:(enc)=\g<x>", "invalid replacement"),
        ("re:(enc=x", "re:"),
        ("re:enc", "re:EXPRESSION=REPLACEMENT"),
        ("re:=x", "re:EXPRESSION=REPLACEMENT"),
        ("re:.*=", "empty name"),
        (r"re:\d=0", "would have the same name"),
    ],
)
def test_a_bad_expression_is_refused(
    paramctl: Run, tmp_path: Path, arrays: dict[str, Any], rule: str, message: str
) -> None:
    result = paramctl("save", "x.safetensors", "--rename", rule, "-o", "y.safetensors")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert message in result.stderr
    assert not (tmp_path / "y.safetensors").exists()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: name.replace("dense_1.", "dense_1._orig_mod."),
        lambda name: f"module.{name}".replace("dense.", "dense._orig_mod."),
    ],
)
def test_the_prefixes_of_wrapped_modules_are_hinted_at(paramctl: Run, tmp_path: Path, wrap: Any) -> None:
    """The hint can be pasted, and then the names match."""
    assert paramctl("save", MLP, "--layout", "torch", "-o", "t.safetensors").returncode == 0
    wrapped = {wrap(name): array for name, array in load_file(tmp_path / "t.safetensors").items()}
    save_file(wrapped, tmp_path / "w.safetensors")
    arguments = ["save", "w.safetensors", "--like", MLP, "--layout", "keras", "-o", "y.h5"]
    refused = paramctl(*arguments)
    assert refused.returncode == 2
    hint = re.search(r"Use --rename '(.*)' to match", refused.stderr)
    assert hint, refused.stderr
    assert paramctl(*arguments, "--rename", hint[1]).returncode == 0


def test_arrays_of_packed_dtypes_are_selected_whole(paramctl: Run, tmp_path: Path) -> None:
    """Their bytes are copied; a slice of them is refused, because their values cannot be read."""
    header = {
        "a": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]},
        "b": {"dtype": "U8", "shape": [1], "data_offsets": [2, 3]},
    }
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"\x12\x34\x56")
    assert paramctl("save", "x.safetensors", "a", "-o", "y.safetensors").returncode == 0
    assert (tmp_path / "y.safetensors").read_bytes().endswith(b"\x12\x34")
    for more in ([], ["--dry-run"]):
        result = paramctl("save", "x.safetensors", "a[0:2]", "-o", "z.safetensors", *more)
        assert result.returncode == 2
        assert "can be copied but not read" in result.stderr

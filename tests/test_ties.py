"""paramctl tie, untie and ties: one array under several names, in documents as they are laid out, and in files."""

import difflib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from paramctl.edit import tie as edit
from paramctl.errors import AddressError, DocumentError
from paramctl.model import Model
from paramctl.store.registry import FORMATS
from tests import forks
from tests.conftest import ROOT, SAMPLES, Call, Run, model

FIXTURES = ROOT / "tests/fixtures"
SAMPLE = {path.stem: str(path) for path in SAMPLES}
THREE = (
    "input: [4]   # four features\nlayers:\n"
    "  - dense: {name: a, units: 4}\n  - dense: {name: b, units: 4}\n\n  # the last\n  - dense: {name: c, units: 4}\n"
)
AC = "{keep: a/kernel, tie: c/kernel}"
AB = "{keep: a/kernel, tie: b/kernel}"
TURNED = (
    "name: turned\ninput: [6]\nlayers:\n  - dense: {name: a, units: 5}\n  - dense: {name: b, units: 6}\n"
    "  - dense: {name: c, units: 6}\n  - dense: {name: d, units: 6}\n"
)


def done(result: tuple[int, str, str]) -> str:
    """Return the output of a command, which must have succeeded."""
    code, out, err = result
    assert code == 0, err
    return out


def listed(call: Call, path: str) -> list[tuple[str, str, bool]]:
    """Return the rows of ``paramctl ties``."""
    rows = json.loads(done(call("ties", path, "--format", "json")))
    return [(row["keep"], row["tie"], row["transpose"]) for row in rows]


def difference(before: bytes, after: bytes) -> tuple[list[str], list[str]]:
    """The lines, with their ends, that are only in the first, and only in the second."""
    lines = list(difflib.ndiff(before.decode().splitlines(True), after.decode().splitlines(True)))
    return [line[2:] for line in lines if line[0] == "-"], [line[2:] for line in lines if line[0] == "+"]


# Documents: a line goes in

NEW = ["\n", "ties:\n", f"  - {AB}\n"]
GOES_IN = {
    "no ties yet": (THREE, NEW),
    "no ties yet, and a comment at the end": (f"{THREE}# the end\n", NEW),
    "no ties yet, and an indented comment at the end": (f"{THREE}    # the end\n", NEW),
    "a line that begins the document": (f"---\n{THREE}", NEW),
    "text at the end": (f"{THREE}name: |\n  m\n", NEW),
    "a key without items": (f"ties:\n{THREE}", NEW[2:]),
    "a list": (f"{THREE}ties:\n  - {AC}   # why\n", NEW[2:]),
    "a list at the beginning": (f"ties:\n  - {AC}\n{THREE}", NEW[2:]),
    "a list at the margin": (f"{THREE}ties:\n- {AC}\n", [f"- {AB}\n"]),
    "a list with comments": (
        f"{THREE}ties:\n  # the first\n  - keep: a/kernel   # one\n    tie: c/kernel\n  # the last\n",
        NEW[2:],
    ),
    "a list with wide dashes": (f"{THREE}ties:\n  -   keep: a/kernel\n      tie: c/kernel\n", [f"  -   {AB}\n"]),
    "a list with an anchor": (f"{THREE}ties: &t\n  - &x {AC}\n", NEW[2:]),
    "after lines that Unicode ends": (f"# one\x85# two\n{THREE}ties:\n  - {AC}\n", NEW[2:]),
    "names of several bytes before it": (f"# é𝒳é\n{THREE}ties:\n  - {AC}\n", NEW[2:]),
    "the word in a text": (f'name: "x\\\nties:"\n{THREE}', NEW),
}


@pytest.mark.parametrize(("document", "lines"), GOES_IN.values(), ids=list(GOES_IN))
def test_only_lines_are_put_in(document: str, lines: list[str], call: Call, tmp_path: Path) -> None:
    """Every line that was there is there still, to the byte; and untie takes out what tie has put in."""
    path = tmp_path / "m.yaml"
    path.write_bytes(document.encode())
    before = listed(call, "m.yaml")
    assert call("tie", "m.yaml", "a/kernel", "b/kernel", "--in-place") == (
        0,
        "",
        "b/kernel tied to a/kernel; values of a/kernel kept\n",
    )
    assert difference(document.encode(), path.read_bytes()) == ([], lines)
    assert sorted(listed(call, "m.yaml")) == sorted([*before, ("a/kernel", "b/kernel", False)])
    done(call("untie", "m.yaml", "b/kernel", "--in-place"))
    assert listed(call, "m.yaml") == before
    assert difference(document.encode(), path.read_bytes()) == ([], lines[:-1])


def test_into_a_list_in_brackets(call: Call, tmp_path: Path) -> None:
    for document, expected in (
        (f"{THREE}ties: [{AC}]\n", f"{THREE}ties: [{AB}, {AC}]\n"),
        (f"{THREE}ties: [\n  {AC},   # why\n]\n", f"{THREE}ties: [\n  {AB}, {AC},   # why\n]\n"),
        (f"{THREE}ties: []\n", f"{THREE}ties:\n  - {AB}\n"),
        (f"ties: []\n{THREE}", f"ties:\n  - {AB}\n{THREE}"),
    ):
        (tmp_path / "m.yaml").write_text(document)
        done(call("tie", "m.yaml", "a/kernel", "b/kernel", "--in-place"))
        assert (tmp_path / "m.yaml").read_text() == expected


def test_a_document_without_a_newline_at_the_end_gets_one(call: Call, tmp_path: Path) -> None:
    for document in (THREE, f"{THREE}ties: [{AC}]\n"):
        (tmp_path / "m.yaml").write_text(document.removesuffix("\n"))
        done(call("tie", "m.yaml", "a/kernel", "b/kernel", "--in-place"))
        made = (tmp_path / "m.yaml").read_text()
        assert made.startswith(document.removesuffix("]\n").rpartition("[")[0] or document)
        assert ("a/kernel", "b/kernel", False) in listed(call, "m.yaml")


def test_several_at_once_and_patterns_and_transposes(call: Call, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(THREE)
    out = done(call("tie", "m.yaml", "0/kernel", "-1/kernel", "b/k*", "--transpose", "-o", "-"))
    assert out == (
        f"{THREE}\nties:\n  - {{keep: a/kernel, tie: c/kernel, transpose: true}}\n"
        "  - {keep: a/kernel, tie: b/kernel, transpose: true}\n"
    )


def test_a_name_that_yaml_would_read_otherwise_is_quoted(call: Call, tmp_path: Path) -> None:
    for name in ("b #", "é"):
        document = (
            f'input: [4]\nlayers:\n  - dense: {{name: "1e3", units: 4}}\n  - dense: {{name: "{name}", units: 4}}\n'
        )
        (tmp_path / "m.yaml").write_text(document)
        done(call("tie", "m.yaml", "1e3/kernel", f"'{name}'/kernel", "--in-place"))
        assert listed(call, "m.yaml") == [("1e3/kernel", f"{name}/kernel", False)]
        assert difference(document.encode(), (tmp_path / "m.yaml").read_bytes())[0] == []


def test_a_name_beyond_the_basic_plane_is_written(call: Call, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(THREE.replace("name: b", 'name: "😀"'))
    done(call("tie", "m.yaml", "a/kernel", "😀/kernel", "--in-place"))
    assert listed(call, "m.yaml") == [("a/kernel", "😀/kernel", False)]


ENDS = {
    "lines end as in DOS": (THREE.replace("\n", "\r\n"), "\r\n"),
    "lines end as in DOS, in a list": (f"{THREE}ties:\n  - {AC}\n".replace("\n", "\r\n"), "\r\n"),
    "a byte order mark": (f"\ufeff{THREE}", "\n"),
    "empty lines at the end": (f"{THREE}\n\n\n", "\n"),
    "a comment after empty brackets": (f"{THREE}ties: []   # none yet\n", "\n"),
    "a comment after the key": (f"{THREE}ties:   # none yet\n", "\n"),
    "text that keeps its empty lines": (f"{THREE}name: |+\n  m\n\n\n", "\n"),
}


@pytest.mark.parametrize(("document", "end"), ENDS.values(), ids=list(ENDS))
def test_lines_other_than_ties_stay(document: str, end: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_bytes(document.encode())
    done(call("tie", "m.yaml", "a/kernel", "b/kernel", "--in-place"))
    after = (tmp_path / "m.yaml").read_bytes()
    assert ("a/kernel", "b/kernel", False) in listed(call, "m.yaml")
    gone, come = difference(document.encode(), after)
    assert [line for line in gone if not line.startswith("ties:")] == []
    assert all(line.endswith(end) and (end != "\n" or "\r" not in line) for line in come)
    assert ("none yet" in document) == (b"none yet" in after)


def test_lines_that_end_in_either_way_stay_so(call: Call, tmp_path: Path) -> None:
    document = THREE.replace("\n", "\r\n", 1).encode()
    (tmp_path / "m.yaml").write_bytes(document)
    done(call("tie", "m.yaml", "a/kernel", "b/kernel", "--in-place"))
    assert difference(document, (tmp_path / "m.yaml").read_bytes())[0] == []


REFUSED = {
    "all in brackets": "{input: [4], layers: [{dense: {name: a, units: 4}}, {dense: {name: b, units: 4}}]}\n",
    "an end of the document": f"{THREE}...\n",
    "an end and a comment": f"%YAML 1.1\n---\n{THREE}...\n# over\n",
    "the key in quotes": f'"ties": []\n{THREE}',
    "brackets over several lines": f"ties: [\n  ]\n{THREE}",
    "a dash on a line of its own": f"{THREE}ties:\n  -\n    keep: a/kernel\n    tie: c/kernel\n",
    "everything indented": "".join(f"  {line}\n" for line in THREE.splitlines()),
}


@pytest.mark.parametrize("document", REFUSED.values(), ids=list(REFUSED))
def test_a_document_in_another_layout_is_refused_with_the_line_to_write(
    document: str, call: Call, tmp_path: Path
) -> None:
    (tmp_path / "m.yaml").write_text(document)
    for output in (["--in-place"], ["-o", "new.yaml"]):
        code, out, err = call("tie", "m.yaml", "a/kernel", "b/kernel", *output)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"Write under 'ties': - {AB}" in err
    assert (tmp_path / "m.yaml").read_text() == document
    assert [each.name for each in tmp_path.iterdir()] == ["m.yaml"]


# Documents: a line goes out

GOES_OUT = {
    "one line of a list": (f"{THREE}ties:\n  - {AB}\n  - {AC}   # why\n", [f"  - {AC}   # why\n"], []),
    "the only line": (f"{THREE}ties:\n  - {AC}\n", [f"  - {AC}\n"], []),
    "several lines": (
        f"{THREE}ties:\n- keep: a/kernel\n  tie:\n    - c/kernel\nname: x\n",
        ["- keep: a/kernel\n", "  tie:\n", "    - c/kernel\n"],
        [],
    ),
    "comments around it": (
        f"{THREE}ties:\n  # the first\n  - keep: a/kernel   # one\n    tie: c/kernel\n  # the last\n  - {AB}\n",
        ["  - keep: a/kernel   # one\n", "    tie: c/kernel\n"],
        [],
    ),
    "lines that end as in DOS": (
        f"{THREE}ties:\n  - {AC}\n  - {AB}\n".replace("\n", "\r\n"),
        [f"  - {AC}\r\n"],
        [],
    ),
    "no newline at the end": (f"{THREE}ties:\n  - {AB}\n  - {AC}", [f"  - {AC}"], []),
    "brackets": (f"{THREE}ties: [{AC}]\n", [f"ties: [{AC}]\n"], ["ties: []\n"]),
    "first in brackets": (f"{THREE}ties: [{AC}, {AB}]\n", [f"ties: [{AC}, {AB}]\n"], [f"ties: [{AB}]\n"]),
    "last in brackets": (f"{THREE}ties: [{AB}, {AC}]\n", [f"ties: [{AB}, {AC}]\n"], [f"ties: [{AB}]\n"]),
    "a comma after the last": (f"{THREE}ties: [{AC},]\n", [f"ties: [{AC},]\n"], ["ties: []\n"]),
    "a name by a variable": (
        f'vars: {{t: a}}\n{THREE}ties:\n  - {{keep: "${{t}}/kernel", tie: c/kernel}}\n',
        ['  - {keep: "${t}/kernel", tie: c/kernel}\n'],
        [],
    ),
}


@pytest.mark.parametrize(("document", "gone", "come"), GOES_OUT.values(), ids=list(GOES_OUT))
def test_only_the_ties_lines_are_taken_out(
    document: str, gone: list[str], come: list[str], call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(document.encode())
    before = listed(call, "m.yaml")
    done(call("untie", "m.yaml", "c/kernel", "--in-place"))
    assert difference(document.encode(), path.read_bytes()) == (gone, come)
    assert listed(call, "m.yaml") == [tie for tie in before if tie[1] != "c/kernel"]


def test_a_comment_below_a_line_that_goes_out_stays(call: Call, tmp_path: Path) -> None:
    document = f"{THREE}ties:\n  - {AC}\n    # of the next one\n  - {AB}\n"
    (tmp_path / "m.yaml").write_text(document)
    done(call("untie", "m.yaml", "c/kernel", "--in-place"))
    assert (tmp_path / "m.yaml").read_text() == document.replace(f"  - {AC}\n", "")


STAYS = {
    "one name of several": (
        f"{THREE}ties: [{{keep: a/kernel, tie: [b/kernel, c/kernel]}}]\n",
        "remove it from the list",
    ),
    "a pattern": (f'{THREE}ties: [{{keep: a/kernel, tie: "c/k*"}}]\n', "list names instead of the pattern"),
    "an empty line within": (f"{THREE}ties:\n- keep: a/kernel\n\n  tie: c/kernel\n", "Remove the ties by hand."),
    "an anchor that another needs": (
        f"{THREE}ties:\n  - &x {AC}\n  - {{<<: *x, tie: b/kernel}}\n",
        "Remove the ties by hand.",
    ),
    "a dash on a line of its own": (REFUSED["a dash on a line of its own"], "Remove the ties by hand."),
}


@pytest.mark.parametrize(("document", "says"), STAYS.values(), ids=list(STAYS))
def test_a_tie_that_cannot_be_taken_out_is_refused(
    document: str, says: str, call: Call, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "m.yaml").write_text(document)
    code, out, err = call("untie", "m.yaml", "c/kernel", "--in-place")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
    assert err.startswith("m.yaml:"), "with the place"
    assert (tmp_path / "m.yaml").read_text() == document


def test_a_document_keeps_its_mode_and_its_link(call: Call, tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text(THREE)
    (tmp_path / "real.yaml").chmod(0o640)
    (tmp_path / "m.yaml").symlink_to("real.yaml")
    done(call("tie", "m.yaml", "a/kernel", "b/kernel", "--in-place"))
    assert (tmp_path / "m.yaml").is_symlink()
    assert stat.S_IMODE((tmp_path / "real.yaml").stat().st_mode) == 0o640
    assert (tmp_path / "real.yaml").read_text().endswith(f"  - {AB}\n")


@pytest.mark.parametrize("name", ["m.h5", "m.safetensors"])
def test_a_document_is_not_written_under_a_checkpoints_suffix(name: str, call: Call, tmp_path: Path) -> None:
    """The command refuses the file or draws it, and never writes text to a file named HDF5 or safetensors."""
    (tmp_path / "m.yaml").write_text(THREE)
    code, _, _ = call("tie", "m.yaml", "a/kernel", "b/kernel", "-o", name)
    assert code == 2 or listed(call, name) == [("a/kernel", "b/kernel", False)]
    assert code == 2 or not (tmp_path / name).read_bytes().startswith(b"input")


# What cannot be tied

WRONG = {
    "shapes": (["a/kernel", "a/bias"], "tied parameters must have equal shapes (got a/kernel (6, 5) float32 and"),
    "shapes that no transpose makes one": (
        ["c/kernel", "a/kernel"],
        "tied parameters must have equal shapes (got c/kernel (6, 6) float32 and a/kernel (6, 5) float32",
    ),
    "a reversed shape": (["a/kernel", "b/kernel"], "Use --transpose to tie one to the other's transpose."),
    "no reversed shape": (["a/kernel", "c/kernel", "--transpose"], "must have reversed shapes"),
    "dtypes": (
        ["c/kernel", "half/kernel"],
        "tied parameters must have equal dtypes (got c/kernel (6, 6) float32 and",
    ),
    "itself": (["c/kernel", "c/kernel"], "a parameter cannot be tied to itself (got 'c/kernel'"),
    "itself by a pattern": (["c/kernel", "c/k*"], "a parameter cannot be tied to itself (got 'c/kernel'"),
    "itself by a place": (["c/kernel", "2/0"], "a parameter cannot be tied to itself (got 'c/kernel'"),
    "tied already": (["c/kernel", "e/kernel"], "e/kernel is already tied to d/kernel"),
    "tied already, to the same": (["d/kernel", "e/kernel"], "e/kernel is already tied to d/kernel"),
    "to what is itself tied": (["e/kernel", "c/kernel"], "e/kernel is itself tied to d/kernel"),
    "a cycle": (["e/kernel", "d/kernel"], "e/kernel is itself tied to d/kernel"),
    "what others are tied to": (["c/kernel", "d/kernel"], "other parameters are tied to d/kernel"),
    "several to keep": (["*/bias", "c/bias"], "a tie keeps one parameter (got '*/bias', which matches"),
    "a slice to keep": (["c/kernel[0]", "d/kernel"], "only whole parameters can be tied, not slices"),
    "a slice to tie": (["c/bias", "d/bias[:]"], "only whole parameters can be tied, not slices"),
    "no such parameter": (["c/kernel", "z/kernel"], "turned has no parameter with this name (got 'z/kernel'"),
    "no such place": (["9/0", "c/kernel"], "turned has 6 layers."),
}


@pytest.fixture(scope="module")
def many() -> Model:
    """Six layers, two of which are tied, and the last of another dtype."""
    made = model(
        TURNED + "  - dense: {name: e, units: 6}\n  - dense: {name: half, units: 6}\n"
        "ties: [{keep: d/kernel, tie: e/kernel}]\n"
    )
    return made.map_parameters(lambda each: replace(each, dtype="float16") if each.path.startswith("half/") else each)


@pytest.mark.parametrize(("arguments", "says"), WRONG.values(), ids=list(WRONG))
def test_parameters_that_cannot_be_tied(arguments: list[str], says: str, many: Model) -> None:
    keep, *others = (each for each in arguments if each != "--transpose")
    with pytest.raises((AddressError, DocumentError)) as refused:
        edit.add_ties(many, keep, others, "--transpose" in arguments)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_only_a_tied_parameter_can_be_untied(many: Model) -> None:
    with pytest.raises(AddressError, match=r"only a tied parameter can be untied \(got c/kernel\)"):
        edit.remove_ties(many, ["c/kernel"])
    with pytest.raises(AddressError, match=r"\(got .*, which keeps it\)\. Untie e/kernel\."):
        edit.remove_ties(many, ["d/kernel"])


def test_a_refusal_is_one_line_and_changes_nothing(call: Call, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(THREE)
    done(call("init", "m.yaml", "-q", "-o", "m.safetensors"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for file in before:
        for arguments in (
            ["tie", file, "a/kernel", "a/kernel", "--in-place"],
            ["tie", file, "a/kernel", "b/bias", "--in-place"],
            ["tie", file, "a/kernel", "b/kernel"],
            ["tie", file, "a/kernel", "b/kernel", "--in-place", "-o", "x"],
            ["tie", file, "a/kernel", "b/kernel", "-o", file],
            ["untie", file, "a/kernel", "--in-place"],
            ["untie", file, "nosuch", "--in-place"],
        ):
            code, out, err = call(*arguments)
            assert (code, out, err.count("\n")) == (2, "", 1), arguments
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_layer_used_again_is_not_untied_but_written_anew(call: Call) -> None:
    """In the tied model of D2L one layer is applied twice: the line to write in the second's place is told."""
    for file in (SAMPLE["tied_mlp"], SAMPLE["fancy_mlp"]):
        code, out, err = call("untie", file, "shared/kernel", "-o", "-")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "shared is one layer, which 'reuse' applies again: replace the 'reuse' by a layer" in err
        assert "Write: - dense: {" in err
    (line,) = [line for line in Path(SAMPLE["fancy_mlp"]).read_text().splitlines() if "name: shared" in line]
    assert err.rstrip().rstrip(".").endswith(line.strip().replace("name: shared, ", "")), "but for the name"


# Checkpoints


def somebodys(path: Path) -> None:
    """An HDF5 file with two arrays of 400 kB, and much beside them."""
    generator = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs["note"] = "somebody's"
        for name in ("a/w", "b/w"):
            file[name] = generator.normal(size=(200, 500)).astype("float32")
            file[name].attrs["unit"] = f"of {name}"
        file["a"].attrs["tags"] = ["x", "y"]
        file["turned"] = generator.normal(size=(500, 200)).astype("float32")
        file["text"] = "not a number"
        file["a/names"] = np.array(["p", "q"], h5py.string_dtype())
        file.create_group("nothing").attrs["why"] = 1
        file["soft"] = h5py.SoftLink("/a/w")
        file.create_dataset("cut", data=np.arange(100.0).reshape(10, 10), chunks=(3, 4), compression=1)


def test_in_hdf5_a_tie_is_a_hard_link_and_its_space_is_given_back(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    somebodys(path)
    path.chmod(0o640)
    with h5py.File(path) as file:
        values = {name: file[name][()] for name in ("a/w", "b/w", "cut", "turned")}
    size = path.stat().st_size
    done(call("tie", "m.h5", "b/w", "a/w", "--in-place"))
    assert 400_000 - 8_192 < size - path.stat().st_size < 400_000 + 16_384
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    with h5py.File(path) as file:
        assert file["a/w"] == file["b/w"]
        assert np.array_equal(file["a/w"][()], values["b/w"]), "the values of the one that is kept win"
        assert np.array_equal(file["cut"][()], values["cut"])
        assert (file["text"][()], list(file["a/names"].asstr())) == (b"not a number", ["p", "q"])
        assert file.attrs["note"] == "somebody's"
        assert file["a"].attrs["tags"].tolist() == ["x", "y"]
        assert file["nothing"].attrs["why"] == 1
        assert file["b/w"].attrs["unit"] == "of b/w"
    ((_, other, _),) = listed(call, "m.h5")
    done(call("untie", "m.h5", other, "--in-place"))
    assert path.stat().st_size > size - 8_192
    with h5py.File(path) as file:
        assert file["a/w"] != file["b/w"]
        assert np.array_equal(file["a/w"][()], values["b/w"])
        assert np.array_equal(file["b/w"][()], values["b/w"])
        assert file["text"][()] == b"not a number"


def test_soft_links_stay(call: Call, tmp_path: Path) -> None:
    somebodys(tmp_path / "m.h5")
    done(call("tie", "m.h5", "a/w", "b/w", "--in-place"))
    with h5py.File(tmp_path / "m.h5") as file:
        assert file.get("soft", getlink=True).path == "/a/w"


def test_a_keras_file_stays_one_or_is_refused(call: Call, tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "keras3_nested.weights.h5", tmp_path / "k.weights.h5")
    code, _, _ = call("tie", "k.weights.h5", "block1/dense/kernel", "block1/dense_1/kernel", "--in-place")
    with h5py.File(tmp_path / "k.weights.h5") as file:
        assert code == 2 or "layers" in file


def test_in_safetensors_a_tie_is_a_line_of_metadata_and_its_space_is_given_back(call: Call, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays = {name: generator.normal(size=(100, 250)).astype("float32") for name in ("a.w", "b.w", "c.w")}
    path = tmp_path / "m.safetensors"
    save_file(arrays, path, metadata={"format": "pt"})
    size = path.stat().st_size
    done(call("tie", "m.safetensors", "c.w", "a.w", "--in-place"))
    assert 100_000 - 1_000 < size - path.stat().st_size <= 100_000
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"]["a.w"] == "c.w"
    assert header["__metadata__"]["format"] == "pt"
    assert {name: array.tobytes() for name, array in load_file(path).items()} == {
        name: arrays[name].tobytes() for name in ("b.w", "c.w")
    }
    assert listed(call, "m.safetensors") == [("c.w", "a.w", False)]
    shown = json.loads(done(call("dump", "m.safetensors", "a", "c", "--format", "json")))
    assert set(shown) == {"a.w", "c.w"}
    assert np.array_equal(np.array(shown["a.w"], "float32"), arrays["c.w"])
    done(call("untie", "m.safetensors", "a.w", "-o", "new.safetensors"))
    assert np.array_equal(load_file(tmp_path / "new.safetensors")["a.w"], arrays["c.w"])
    assert listed(call, "new.safetensors") == []


def test_in_safetensors_foreign_metadata_stays(call: Call, tmp_path: Path) -> None:
    save_file({name: np.zeros(3, "float32") for name in "ab"}, tmp_path / "m.safetensors", {"format": "tf", "by": "me"})
    done(call("tie", "m.safetensors", "a", "b", "--in-place"))
    data = (tmp_path / "m.safetensors").read_bytes()
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    assert (metadata["format"], metadata["by"]) == ("tf", "me")


@pytest.mark.parametrize("suffix", ["h5", "safetensors"])
def test_a_transposed_tie_and_back(suffix: str, call: Call, tmp_path: Path) -> None:
    """Either name is read and set, over several blocks too; untied, each has the values that it had."""
    (tmp_path / "m.yaml").write_text(
        "name: m\ninput: [700]\nlayers:\n  - dense: {name: a, units: 600}\n  - dense: {name: b, units: 700}\n"
    )
    file = f"m.{suffix}"
    done(call("init", "m.yaml", "-q", "-o", file))
    size = (tmp_path / file).stat().st_size
    done(call("tie", file, "a/kernel", "b/kernel", "--transpose", "--in-place"))
    assert size - (tmp_path / file).stat().st_size > 4 * 700 * 600 - 16_384
    assert listed(call, file) == [("a/kernel", "b/kernel", True)]
    done(call("set", file, "b/kernel[1, 2:5] = [1, 2, 3]", "a/kernel[0, 0] = 9", "--in-place", "-q"))
    kept, part = (
        np.array(json.loads(done(call("dump", file, text, "--format", "json")))[text.partition("[")[0]], "float32")
        for text in ("a/kernel[:8, :8]", "b/kernel[:8, :8]")
    )
    assert np.array_equal(kept.T, part)
    assert part[1, 2:5].tolist() == [1, 2, 3]
    assert part[0, 0] == 9
    done(call("untie", file, "b/kernel", "-o", f"new.{suffix}"))
    assert listed(call, f"new.{suffix}") == []
    if suffix == "h5":
        with h5py.File(tmp_path / "new.h5") as new:
            a, b = new["a/kernel"][()], new["b/kernel"][()]
    else:
        loaded = load_file(tmp_path / "new.safetensors")
        a, b = loaded["a/kernel"], loaded["b/kernel"]
    assert b.shape == (600, 700)
    assert np.array_equal(a.T, b)
    assert np.array_equal(a[:8, :8], kept)


@pytest.mark.parametrize("shape", [(), (3,)], ids=["a number", "a row"])
def test_a_vector_can_be_tied_as_its_own_transpose(
    shape: tuple[int, ...], call: Call, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    arrays = {name: np.full(shape, value, "float32") for name, value in (("a", 1), ("b", 2))}
    save_file(arrays, tmp_path / "m.safetensors")
    code, _, _ = call("tie", "m.safetensors", "a", "b", "--transpose", "--in-place")
    assert code == 0
    assert np.array_equal(json.loads(done(call("dump", "m.safetensors", "b", "--format", "json")))["b"], arrays["a"])
    done(call("set", "m.safetensors", "b += 1", "--in-place", "-q"))
    done(call("untie", "m.safetensors", "b", "--in-place"))
    assert np.array_equal(load_file(tmp_path / "m.safetensors")["b"], arrays["a"] + 1)


def test_one_array_counts_once_and_is_shown_under_both_names(call: Call, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(f"{THREE}ties: [{AC}]\n")
    for file in ("m.yaml", "m.h5", "m.safetensors"):
        if file != "m.yaml":
            done(call("init", "m.yaml", "-q", "-o", file))
        totals = json.loads(done(call("summary", file, "--format", "json")))["totals"]
        assert (totals["parameters"], totals["bytes"]) == (2 * 16 + 12, 4 * (2 * 16 + 12))
        assert "Tied: c/kernel = a/kernel" in done(call("summary", file))
        both = json.loads(done(call("dump", file, "*/kernel", "--format", "json")))
        assert list(both) == ["a/kernel", "b/kernel", "c/kernel"]
        assert both["a/kernel"] == both["c/kernel"] != both["b/kernel"]
        assert list(json.loads(done(call("dump", file, "--format", "json")))) == [
            "a/kernel",
            "a/bias",
            "b/kernel",
            "b/bias",
            "c/bias",
        ]


TIES = "ties:\n  - {keep: a/kernel, tie: b/kernel, transpose: true}\n  - {keep: c/kernel, tie: d/kernel}\n"
LATER = "ties:\n  - {keep: d/kernel, tie: c/kernel}\n"


@pytest.mark.parametrize("ties", [TIES, LATER], ids=["the first is kept", "a later one is kept"])
def test_ties_survive_every_format(ties: str, call: Call, tmp_path: Path) -> None:
    """The document, HDF5, safetensors, npz and HDF5 again: the same ties in the same direction, the same values."""
    (tmp_path / "m.yaml").write_text(TURNED + ties)
    expected = listed(call, "m.yaml")
    before = "m.yaml"
    for after in ("m.h5", "m.safetensors", "m.npz", "again.h5"):
        done(call("save", before, "-o", after))
        assert listed(call, after) == expected, after
        before = after
    values = [json.loads(done(call("dump", name, "**", "--format", "json"))) for name in ("m.yaml", "again.h5")]
    assert values[0] == values[1]
    assert len(values[0]) == 8
    assert (tmp_path / "m.h5").read_bytes() == (tmp_path / "again.h5").read_bytes()


# What could be tied


def test_equal_arrays_are_found(call: Call, tmp_path: Path) -> None:
    """One shape, one dtype, the same bits; what is tied already, empty, or equal only as numbers is not among them."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["a"] = np.arange(6, dtype="float32").reshape(2, 3)
        file["b"] = file["a"][()]
        file["big"] = np.arange(6, dtype=">f4").reshape(2, 3)
        file["c"] = file["a"]
        file["wide"] = np.arange(6, dtype="float64").reshape(2, 3)
        file["turned"] = np.arange(6, dtype="float32").reshape(3, 2)
        file["nought"], file["minus"] = np.zeros(3, "float32"), -np.zeros(3, "float32")
        file["nan"], file["nan2"] = np.full(2, np.nan, "float32"), np.full(2, np.nan, "float32")
        file["none"], file["none2"] = np.zeros((0, 2)), np.zeros((0, 2))
        file.create_dataset("cut", data=np.arange(6, dtype="float32").reshape(2, 3), chunks=(1, 3))
    rows = json.loads(done(call("ties", "m.h5", "--find", "--format", "json")))
    assert [(row["keep"], row["tie"]) for row in rows] == [("a", "b"), ("a", "big"), ("a", "cut"), ("nan", "nan2")]
    assert listed(call, "m.h5") == [("a", "c", False)]
    done(call("tie", "m.h5", "a", "b", "big", "cut", "-o", "new.h5"))
    rows = json.loads(done(call("ties", "new.h5", "--find", "--format", "json")))
    assert [(row["keep"], row["tie"]) for row in rows] == [("nan", "nan2")]


def test_equal_arrays_of_a_model_are_found_as_they_would_be_drawn(call: Call, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(f"{THREE}ties: [{AC}]\n")
    out = done(call("ties", "m.yaml", "--find", "--format", "csv"))
    assert out.splitlines() == ["keep,tie", "a/bias,b/bias", "a/bias,c/bias"]


MEASURED = """
import resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "paramctl", *sys.argv[1:]])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(done.returncode)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told in kilobytes on Linux")
def test_equal_arrays_are_found_in_little_memory(tmp_path: Path) -> None:
    """Two arrays of 128 MB are read block by block, and the last value tells one of them from a third."""
    size = 1 << 27
    entries = {
        name: {"dtype": "F32", "shape": [size // 4], "data_offsets": [k * size, (k + 1) * size]}
        for k, name in enumerate("abc")
    }
    data = json.dumps(entries).encode()
    with (tmp_path / "m.safetensors").open("wb") as file:
        file.write(len(data).to_bytes(8, "little") + data)
        file.truncate(8 + len(data) + 3 * size)
        file.seek(8 + len(data) + 2 * size - 1)
        file.write(b"\x01")  # in the last value of b
    command = [sys.executable, "-c", MEASURED, "ties", str(tmp_path / "m.safetensors"), "--find", "--format", "csv"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=forks.patience())
    assert found.stdout.splitlines() == ["keep,tie", "a,c"], found.stderr
    assert 10e6 < int(found.stderr.splitlines()[-1]) * 1024 < 200e6


def test_without_ties_nothing_is_listed(call: Call) -> None:
    assert listed(call, SAMPLE["mlp"]) == []
    assert listed(call, SAMPLE["gpt2"]) == [("tokens/embeddings", "head/kernel", True)]
    assert done(call("ties", SAMPLE["gpt2"], "--format", "csv")).splitlines()[1:] == [
        "tokens/embeddings,head/kernel,true"
    ]


def test_through_pipes(tmp_path: Path) -> None:
    """Tied, untied and listed by processes, with nothing on the disk."""
    command = forks.shell_command()
    drawn = f"{command} init {SAMPLE['rgnet']} -o - | {command} tie - block2/block-0/dense/kernel"
    refused = piped(f"{drawn} 'block2/*/*/kernel' -o -", tmp_path)
    assert refused.returncode == 2
    assert "a parameter cannot be tied to itself" in refused.stderr
    line = f"{drawn} 0/1/1/0 0/2/1/0 -o - | {command} untie - 0/1/1/0 -o - | {command} ties - --format csv"
    shown = piped(line, tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[1:] == ["block2/block-0/dense/kernel,block2/block-2/dense/kernel,false"]


def piped(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A pipeline of shell commands, in an empty folder that it leaves empty."""
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=forks.patience(),
    )
    assert list(folder.iterdir()) == []
    return ended


@pytest.mark.parametrize("command", [("set", "b = 5"), ("init", "--rule", "b=zeros")])
def test_a_change_through_a_tied_name_is_reported(command: tuple[str, ...], paramctl: Run, tmp_path: Path) -> None:
    """The report names the array that changes; the other name that shows the change is named too."""
    np.savez(tmp_path / "m.npz", a=np.ones(3, "float32"), b=np.ones(3, "float32"), c=np.ones(2, "float32"))
    assert paramctl("tie", "m.npz", "a", "b", "--in-place").returncode == 0
    name, *options = command
    done = paramctl(name, "m.npz", *options, "-o", "new.npz")
    assert done.returncode == 0
    assert "changed through a tie: b (= a)\n" in done.stderr
    assert "tie" not in paramctl("set", "m.npz", "c = 5", "-o", "other.npz").stderr


LATE = (
    "input: [6]\nlayers:\n"
    "  - dense: {name: enc, units: 5}\n  - dense: {name: mid, units: 6}\n"
    "  - dense: {name: dec, units: 5}\n  - dense: {name: out, units: 6}\n"
)
LATE_TIES = "ties:\n  - {keep: dec/kernel, tie: enc/kernel}\n  - {keep: dec/kernel, tie: mid/kernel, transpose: true}\n"


@pytest.mark.parametrize(
    "file", ["late.yaml", "late.h5", "late.safetensors", "late.npz", "late.weights.h5", "late.keras"]
)
def test_a_tie_has_one_direction(file: str, call: Call, tmp_path: Path) -> None:
    """Every output names the same parameter as the one that keeps the array, though another comes first."""
    (tmp_path / "late.yaml").write_text(LATE + LATE_TIES)
    (tmp_path / "untied.yaml").write_text(LATE)
    if file != "late.yaml":
        done(call("save", "late.yaml", "-o", file))
    ties = {(tied, kept, transpose) for kept, tied, transpose in listed(call, file)}
    if "keras" not in file and "weights" not in file:  # Keras can tie no transpose, and keeps the first name
        assert ties == {("enc/kernel", "dec/kernel", False), ("mid/kernel", "dec/kernel", True)}
    texts = {tied: f"= {kept}{', transposed' if transpose else ''}" for tied, kept, transpose in ties}
    facts = json.loads(done(call("summary", file, "--format", "json")))
    assert {(tie["tie"], tie["keep"], tie["transpose"]) for tie in facts["ties"]} == ties
    assert {row["path"]: row["tied_to"] for row in facts["parameters"] if row["tied_to"]} == {
        tied: kept for tied, kept, _ in ties
    }
    shown = done(call("summary", file))
    assert {line.removeprefix("Tied: ") for line in shown.splitlines() if line.startswith("Tied: ")} == {
        f"{tied} {text}" for tied, text in texts.items()
    }
    for layer, note in re.findall(r"^(\S+) .*\(kernel (.*)\)$", shown, re.MULTILINE):
        assert note == texts.get(f"{layer}/kernel", "counted at enc/kernel")
    rows = json.loads(call("diff", file, "untied.yaml", "--structure", "--format", "json")[1])
    assert {row["path"]: row["a"].partition(" float32 ")[2] for row in rows} == texts
    rows = json.loads(call("diff", "untied.yaml", file, "--structure", "--format", "json")[1])
    assert {row["path"]: row["b"].partition(" float32 ")[2] for row in rows} == texts
    _, _, err = call(
        "set",
        file,
        "dec/kernel = 0",
        "enc/kernel = 0",
        "-o",
        f"set.{file.partition('.')[2].replace('yaml', 'npz')}",
        "--force",
    )
    for tied, text in texts.items():
        assert f"{tied} ({text})" in err


def suffixes() -> list[str]:
    names = [suffix for format_ in FORMATS if format_.writable and not format_.unnamed for suffix in format_.suffixes]
    assert len(names) > 5
    return names


@pytest.mark.parametrize("suffix", suffixes())
def test_a_tie_that_becomes_a_copy_is_named(suffix: str, call: Call, tmp_path: Path) -> None:
    """A format that cannot record a transposed tie stores a copy, and save says so; the others keep the tie."""
    (tmp_path / "late.yaml").write_text(LATE + LATE_TIES)
    code, _, err = call("save", "late.yaml", "-o", f"late{suffix}")
    assert code == 0, err
    kept = {frozenset((tied, owner)) for owner, tied, _ in listed(call, f"late{suffix}")}
    assert frozenset(("enc/kernel", "dec/kernel")) in kept
    is_named = "has copies of arrays that were shared: mid/kernel (= dec/kernel, transposed)\n" in err
    assert is_named is (not any("mid/kernel" in names for names in kept))


def test_without_ties_a_line_says_so(call: Call, tmp_path: Path) -> None:
    """In place of the heading of an empty table; the formats of machines are as before."""
    np.savez(tmp_path / "w.npz", a=np.ones(3), b=np.zeros(3), c=np.ones(3))
    np.savez(tmp_path / "one.npz", a=np.ones(3))
    for format_ in ("table", "markdown"):
        assert call("ties", "w.npz", "--format", format_) == (
            0,
            "",
            "no ties: 3 arrays; --find lists arrays with equal values\n",
        )
    assert call("ties", "one.npz", "--find") == (0, "", "no equal arrays among 1\n")
    assert call("ties", SAMPLE["mlp"])[2].startswith("no ties: 4 arrays; ")
    code, out, err = call("ties", "w.npz", "--find")
    assert (code, out.splitlines()[2].split(), err) == (0, ["a", "c"], "")
    assert call("ties", "w.npz", "--format", "json") == (0, "[]\n", "")
    assert call("ties", "w.npz", "--format", "csv") == (0, "keep,tie,transpose\n", "")

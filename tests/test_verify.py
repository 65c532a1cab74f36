"""paramctl verify and sum: hashes that anybody can compute, a record in every file, and each changed bit named."""

import json
import os
import random
import re
import shlex
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import paramctl as pc
from paramctl.cli import all_commands
from paramctl.errors import InputError, ParamctlError
from paramctl.inspect import verify as module
from paramctl.inspect.sum_text import parse_sums, sum_lines
from paramctl.inspect.sums import SumRow
from paramctl.inspect.verify import verify_file
from paramctl.store.location import open_location
from paramctl.store.registry import detect
from paramctl.store.sums.array_sum import leaf_bytes, sum_of
from paramctl.store.sums.stored_array import StoredArray
from tests.conftest import ROOT, Call
from tests.forks import TORTURE
from tests.formats import KERAS, NAMES
from tests.range_server import serving

DOCUMENT = "input: [3]\nlayers: [{dense: 2}, {dense: 1}]\n"
TORTURE_SECONDS = 7
"""For the bits of each format."""
INDEXED = {"m/": "m/model.safetensors.index.json", "m.weights.json": "m.weights.json"}
"""The file to verify of a set."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_text(DOCUMENT)
    return tmp_path


def save(name: str) -> str:
    """Save the document in the format of a name, a set as several files, and return the file to verify."""
    pc.save("m.yaml", name, force=True, max_shard_size=20 if name in INDEXED else None)
    return INDEXED.get(name, name)


def randomness(seed: object) -> random.Random:
    return random.Random(str(seed))  # noqa: S311  a sample, the same in every run


def snippet() -> str:
    """The definition of the hash in Python, as docs/trust.md shows it."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/trust.md").read_text(), re.DOTALL)
    return code


def test_the_documented_definition_gives_the_hashes_of_sum(folder: Path) -> None:
    """Ten lines with hashlib alone reproduce the hash of an array of two and a half leaves, and of small ones."""
    space: dict[str, object] = {}
    exec(snippet(), space)  # noqa: S102  a page of this project
    rng = np.random.default_rng(1)
    arrays = {
        "long": rng.random((655_360,), np.float32),
        "big endian": np.arange(6.0).reshape(2, 3).astype(">f8"),
        "scalar": np.array(3, np.int16),
        "empty": np.zeros((0, 4), np.float16),
        "flags": np.array([True, False]),
        "fortran": np.asfortranarray(rng.random((5, 7))),
    }
    np.savez("a.npz", **arrays)
    rows = pc.sums("a.npz").rows
    assert {row.path: row.sha256 for row in rows} == {name: space["array_sum"](each) for name, each in arrays.items()}  # type: ignore[operator]


def test_pieces_cut_anywhere_join_to_the_same_hash() -> None:
    """The head of a piece is kept until its leaf is whole, and never more than that."""
    data, leaf = randomness(3).randbytes(5_003), 64
    whole = sum_of(data, 0, leaf)
    leaves = [sha256(data[at : at + leaf]).digest() for at in range(0, len(data), leaf)]
    expected = sha256(f"paramctl array 1 uint8 [{len(data)}]\n".encode() + b"".join(leaves)).hexdigest()
    for seed in range(40):
        cuts = sorted({0, len(data), *randomness(seed).choices(range(len(data)), k=1 + seed * 4)})
        parts = [sum_of(data[a:b], a, leaf) for a, b in pairwise(cuts)]
        assert all(len(part.head) <= leaf for part in parts)
        while len(parts) > 1:  # joined in any grouping, as partial results of several workers
            place = randomness(len(parts)).randrange(len(parts) - 1)
            parts[place : place + 2] = [parts[place].join(parts[place + 1])]
        assert parts[0].size == whole.size == len(data)
        assert parts[0].finish("uint8", (len(data),)) == whole.finish("uint8", (len(data),)) == expected
    assert leaf_bytes("bfloat16") == 2 << 18


@pytest.mark.parametrize("name", NAMES)
def test_an_array_has_the_same_hash_in_every_format(folder: Path, name: str) -> None:
    file = save(name)
    expected = {row.path: row.sha256 for row in pc.sums("m.yaml").rows}
    assert {row.path: row.sha256 for row in pc.sums(file).rows} == expected
    assert pc.verify(file, against=expected).matches
    result = pc.verify(file)
    assert result.matches
    assert {row.path: row.sha256 for row in result.rows if row.path} == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_same_content_gives_the_same_bytes(folder: Path, name: str) -> None:
    first = Path(save(name)).read_bytes()
    for path in Path().glob("m[._]*"):  # a set gets other names beside an older one
        if path.suffix != ".yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree("m", ignore_errors=True)
    assert Path(save(name)).read_bytes() == first


@pytest.mark.parametrize("name", NAMES)
def test_every_flipped_bit_is_found_and_an_array_named(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample of the bits of a file or set, with one of every array. In torture, as many as fit TORTURE_SECONDS."""
    save(name)
    # as in the file: to build the model for its own names takes most of the time
    monkeypatch.setattr(module, "_names", lambda location, format_: {})
    files = {path: path.read_bytes() for path in Path().rglob("m*") if path.is_file() and path.suffix != ".yaml"}
    arrays = {path: list_arrays(path) for path in files}
    assert sum(map(len, arrays.values())) == 4
    rng = randomness(name)
    bits = [(path, bit) for path, data in files.items() for bit in range(8 * len(data))]
    of_arrays = [
        (path, 8 * rng.randrange(array.begin, array.end) + rng.randrange(8)) for path in files for array in arrays[path]
    ]
    end = time.monotonic() + TORTURE_SECONDS
    for number, (path, bit) in enumerate([*of_arrays, *rng.sample(bits, len(bits) if TORTURE else 20)]):
        if TORTURE and number >= 60 and time.monotonic() > end:
            break
        place, good = bit // 8, files[path]
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << bit % 8]) + good[place + 1 :])
        try:
            with closing(open_location(INDEXED.get(name, name))) as file:
                result = verify_file(file)
        except ParamctlError as error:
            pytest.fail(f"bit {bit} of {path}: {error}")
        path.write_bytes(good)
        assert not result.matches, f"bit {bit} of {path} was not noticed"
        hit = [array.path for array in arrays[path] if array.begin <= place < array.end]
        if hit:
            assert [row.path for row in result.altered] == hit, f"bit {bit} of {path}"


def list_arrays(path: Path) -> Sequence[StoredArray]:
    """The places of the arrays in a file."""
    with closing(open_location(str(path))) as file:
        format_ = detect(file)
        assert format_ is not None
        return format_.stored_arrays(file) or ()


@pytest.mark.parametrize("name", INDEXED)
def test_a_change_of_any_file_of_a_set_is_found(folder: Path, name: str) -> None:
    """A bit of the index or of a file, a missing file, one more, and a file of an older set with the same names."""
    index = Path(save(name))
    shards = sorted(path for path in index.parent.iterdir() if re.search(r"model-0|m_0", path.name))
    assert len(shards) >= 2
    assert pc.verify(index).matches
    text = index.read_bytes()
    for place in randomness(5).sample(range(len(text)), 25):
        index.write_bytes(text[:place] + bytes([text[place] ^ 4]) + text[place + 1 :])
        assert not pc.verify(index).matches, place
    index.write_bytes(text)
    last = shards[-1]
    good = last.read_bytes()
    last.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert [row.file for row in pc.verify(index).altered] == [str(last)]
    last.unlink()
    assert [(row.file, row.status) for row in pc.verify(index).altered] == [(str(last), "missing")]
    last.write_bytes(good)
    extra = last.with_name(re.sub("0000[1-9]", "00009", last.name, count=1))
    extra.write_bytes(good)
    assert [(row.file, row.status) for row in pc.verify(index).altered] == [(str(extra), "extra")]
    extra.unlink()
    Path("old").mkdir()
    for path in (index, *shards):
        shutil.copy(path, "old")
    pc.save(pc.initialize("m.yaml", seed=9), name, force=True, max_shard_size=20)
    new = sorted(path for path in index.parent.iterdir() if path.suffix != ".json" and "0" in path.name)
    assert pc.verify(index).matches
    shutil.copy(Path("old") / shards[0].name, new[0])  # whole by itself, but not of this set
    assert [row.file for row in pc.verify(index).altered] == [str(new[0])]


def test_the_file_that_keras_opens_first_is_verified_too(folder: Path, call: Call) -> None:
    """Beside an older set, the shards have other names, and the index does not name the empty file."""
    save("m.weights.json")
    first = Path("m_00000.weights.h5")
    shard = first.read_bytes()
    save("m.weights.json")
    assert first.name not in Path("m.weights.json").read_text()
    assert pc.verify("m.weights.json").matches
    assert not pc.check("m.weights.json").findings
    empty = first.read_bytes()
    bits = randomness(1).sample(range(8 * len(empty)), 20)
    for bit in bits:
        data = bytearray(empty)
        data[bit // 8] ^= 1 << bit % 8
        first.write_bytes(data)
        assert [row.file for row in pc.verify("m.weights.json").altered] == [first.name], bit
    first.write_bytes(shard)
    code, out, _ = call("verify", "m.weights.json")
    assert (code, out) == (1, f"{first}: altered: the file must have no arrays, because the index names none\n")
    first.unlink()
    assert call("verify", "m.weights.json")[1] == f"{first}: missing: the file is missing\n"


WRITERS = {
    "init": ["m.yaml", "--seed", "3"],
    "save": ["FILE"],
    "set": ["FILE", "dense/kernel[0, 0] = 5"],
    "run": ["m.yaml", "--input", "x.npy"],
    "grad": ["m.yaml", "--loss", "sum", "--rows", "2"],
    "train": ["m.yaml", "--data", "data.npz", "--steps", "2"],
    "tie": ["FILE", "dense/kernel", "twin/kernel"],
    "untie": ["TIED", "twin/kernel"],
    "freeze": ["FILE", "dense/**"],
    "unfreeze": ["FILE", "dense/**"],
    "average": ["FILE", "FILE"],
    "arithmetic": ["a + b", "a=FILE", "b=FILE"],
    "merge": ["base.safetensors", "--lora", "lora"],
    "extract-lora": ["base.safetensors", "tuned.safetensors", "--rank", "1"],
}
"""The arguments of every command that writes checkpoints, without -o."""
ONLY_TO = {"extract-lora": "m/", "merge": "m.safetensors"}
"""Commands that write adapters and merged models, as the formats of these libraries."""
IN_PLACE = ["set", "tie", "untie", "freeze", "unfreeze"]
TWINS = "input: [3]\nlayers: [{dense: 3}, {dense: {name: twin, units: 3}}]\n"


def test_every_command_with_an_output_is_tried() -> None:
    """A new command that writes must be in WRITERS, and one that writes in place in IN_PLACE."""
    commands = all_commands()
    with_output = {each.name for each in commands if any(one.name == "output" for one in each.params)}
    assert with_output - {"report"} == WRITERS.keys()  # a report is a web page
    assert [each.name for each in commands if any(one.name == "in_place" for one in each.params)] == IN_PLACE


@pytest.fixture
def sources(folder: Path) -> Path:
    """The files that the commands read; FILE and TIED are in each format."""
    rng = np.random.default_rng(0)
    Path("m.yaml").write_text(TWINS)
    Path("tied.yaml").write_text(TWINS + "ties:\n  - {keep: dense/kernel, tie: twin/kernel}\n")
    np.save("x.npy", rng.random((2, 3), np.float32))
    np.savez("data.npz", x=rng.random((4, 3), np.float32), y=rng.random((4, 3), np.float32))
    base = {"base_model.model.w.weight": rng.random((4, 4), np.float32)}
    write_arrays("base.safetensors", {"w.weight": base["base_model.model.w.weight"]})
    write_arrays("tuned.safetensors", {"w.weight": base["base_model.model.w.weight"] + 1})
    return folder


def write_arrays(path: str, arrays: dict[str, np.ndarray]) -> None:
    np.savez("arrays.npz", **arrays)
    pc.save("arrays.npz", path, force=True)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_writes_a_true_record(sources: Path, call: Call, name: str) -> None:
    """Every command that writes, to every format and in place: verify finds the result as it was written."""
    file, tied = (f"{stem}{name[1:]}" for stem in ("file", "tied"))
    for source, target in (("m.yaml", file), ("tied.yaml", tied)):
        code, _, error = call("save", source, "-o", target, *(["--max-shard-size", "40"] if name in INDEXED else []))
        assert code == 0, error
    refused = []
    for command, words in WRITERS.items():
        arguments = [word.replace("FILE", file).replace("TIED", tied) for word in words]
        output = f"{command}{name[1:]}"
        if command in ONLY_TO and name != "m.safetensors":
            continue
        if command in ONLY_TO:
            output = ONLY_TO[command].replace("m", command, 1)
            if command == "extract-lora":
                output = "lora"
        if command == "merge":  # the adapter that extract-lora writes
            assert call("extract-lora", *WRITERS["extract-lora"], "-o", "lora")[0] == 0
        code, _, error = call(command, *arguments, "-o", output, *(["--force"] if command == "extract-lora" else []))
        if code:
            refused.append(command)
            continue
        check(call, written(output), command)
        for state in Path().glob("*.state.npz"):
            check(call, str(state), command)
    assert set(refused) <= ({"run", "grad", "tie", "untie", "freeze", "unfreeze"} if name in KERAS else set()), refused
    for command in IN_PLACE:
        arguments = [word.replace("FILE", file).replace("TIED", tied) for word in WRITERS[command]]
        code, _, error = call(command, *arguments, "--in-place")
        assert code == 0 or name in KERAS, (command, error)
        for each in (file, tied):
            check(call, each, f"{command} --in-place")


def written(path: str) -> str:
    return f"{path}/adapter_model.safetensors" if path == "lora" else path


def check(call: Call, path: str, command: str) -> None:
    code, out, error = call("verify", path)
    assert code == 0, f"{command}: {out}{error}"
    assert "match" in out


@pytest.mark.parametrize("name", ["m.safetensors", "m/", "m.h5"])
def test_changed_metadata_keeps_the_record_true(folder: Path, call: Call, name: str) -> None:
    file = save(name)
    assert call("set", file, "--metadata", "license=mit", "--in-place")[0] == 0
    check(call, file, "set --metadata")
    code, _, error = call("set", file, "--metadata", "paramctl.sums=x", "--in-place")
    assert code == 2
    assert "paramctl.sums" in error


@pytest.mark.parametrize("name", INDEXED)
def test_a_rebuilt_index_has_a_record(folder: Path, call: Call, name: str) -> None:
    file = save(name)
    os.unlink(file)
    assert call("save", name if name.endswith("/") else ".", "--rebuild-index")[0] == 0
    check(call, file, "save --rebuild-index")


@pytest.mark.parametrize("name", ["m.safetensors", "m.h5", "m.weights.h5"])
def test_altered_values_are_not_saved_under_a_new_record(folder: Path, call: Call, name: str) -> None:
    """A file that does not match its record is refused as a source, with one line and nothing written; its owner can
    drop the record.
    """
    file = save(name)
    location = open_location(file)
    format_ = detect(location)
    assert format_ is not None
    arrays = format_.stored_arrays(location)
    assert arrays is not None
    data = bytearray(Path(file).read_bytes())
    data[arrays[0].begin] ^= 1
    Path(file).write_bytes(data)
    for command in (
        ["save", file, "-o", "new.npz"],
        ["save", file, "-o", "new.safetensors", "--rename", "dense/**=first/**"],
        ["set", file, "dense/kernel[0, 0] = 1", "-o", f"new{name[1:]}"],
        ["set", file, "dense_1/bias = 1", "-o", "new.npz"],
    ):
        code, _, error = call(*command)
        assert code == 2, command
        assert "kernel: its values do not match the recorded hash" in error or "vars/0: its" in error
        assert error.count("\n") == 1
        assert not list(Path().glob("new*"))
    assert call("set", file, "--drop-metadata", "paramctl.sums", "--in-place")[0] == 0
    assert call("save", file, "-o", "new.npz")[0] == 0
    check(call, "new.npz", "save")
    code, _, error = call("verify", file)
    assert (code, error.count("\n")) == (2, 1)


TIED_LATE = """input: [6]
layers:
  - dense: {name: first, units: 5}
  - dense: {name: turned, units: 6}
  - dense: {name: owner, units: 5}
ties:
  - {keep: owner/kernel, tie: first/kernel}
  - {keep: owner/kernel, tie: turned/kernel, transpose: true}
"""


@pytest.mark.parametrize("name", ["m.safetensors", "m.h5"])
def test_an_array_is_compared_though_the_file_has_it_under_a_tied_name(folder: Path, call: Call, name: str) -> None:
    Path("late.yaml").write_text(TIED_LATE)
    assert call("save", "late.yaml", "-o", name)[0] == 0
    location = open_location(name)
    format_ = detect(location)
    assert format_ is not None
    kernel = next(array for array in format_.stored_arrays(location) or () if array.path.endswith("/kernel"))
    data = bytearray(Path(name).read_bytes())
    data[kernel.begin] ^= 1
    Path(name).write_bytes(data)
    code, _, error = call("save", name, "-o", "new.npz")
    assert (code, error.partition(". ")[0]) == (
        2,
        f"{name}: owner/kernel: its values do not match the recorded hash",
    )


def test_a_copy_under_a_tied_name_is_no_obstacle_to_an_edit(folder: Path, call: Call) -> None:
    """An npz has a copy of the array for each tied name, each with a hash. An edit of the array replaces them."""
    Path("late.yaml").write_text(TIED_LATE)
    assert call("save", "late.yaml", "-o", "m.npz")[0] == 0
    assert call("set", "m.npz", "owner/kernel = 0", "--in-place")[0] == 0
    check(call, "m.npz", "set")


@pytest.mark.parametrize("name", NAMES)
def test_check_compares_values_and_frame_with_the_record(folder: Path, call: Call, name: str) -> None:
    """A changed bit of an array, and one of the rest of a file, is one finding of check, which names the place."""
    save(name)
    assert call("check", name)[0] == 0
    files = [path for path in Path().rglob("m*") if path.is_file() and path.suffix not in (".yaml", ".json")]
    path = max(files)  # of a set, the last one
    location = open_location(str(path))
    format_ = detect(location)
    assert format_ is not None
    arrays = format_.stored_arrays(location)
    assert arrays
    good, first = path.read_bytes(), arrays[0]
    path.write_bytes(good[: first.begin] + bytes([good[first.begin] ^ 1]) + good[first.begin + 1 :])
    findings = pc.check(name, ignore="scheme").findings
    if name == "m.npz":  # its values are not read if the CRC-32 is wrong
        assert [each.name for each in findings] == ["unreadable"]
    else:
        assert [each.name for each in findings] == ["checksum"]
        (place,) = findings[0].paths
        assert place in ("dense/kernel", "dense/bias")
        assert not pc.check(name, ignore=["checksum", "scheme"]).findings
        others = pc.check(name, *{"dense/kernel", "dense/bias"} - {place}, select="checksum").findings
        # the zip file has one checksum for all arrays
        assert [each.paths for each in others] == ([()] if name == "m.keras" else [])
        (renamed,) = pc.check(name, rename={"dense/**": "first/**"}, select="checksum").findings
        assert renamed.paths == (place.replace("dense", "first"),)
    # letters of a scheme's name, or of the archive's description, which no reader looks at
    word = next(word for word in (b"glorot_uniform", b"date_saved", b"paramctl-sums") if word in good)
    path.write_bytes(good.replace(word, word.swapcase(), 1))
    findings = pc.check(name).findings
    assert [(each.name, each.paths) for each in findings] == [("checksum", ())]
    assert "does not match the seal" in findings[0].text or "is damaged" in findings[0].text


def test_a_damaged_header_is_not_sealed_again(folder: Path, call: Call) -> None:
    """A patched copy has a new seal, which would hide a change of the header."""
    file = Path(save("m.h5"))
    file.write_bytes(file.read_bytes().replace(b"glorot_uniform", b"glorot_unifurm", 1))
    for words in (
        ["set", "m.h5", "dense_1/bias = 1", "-o", "n.h5"],
        ["set", "m.h5", "--metadata", "a=b", "-o", "n.h5"],
        ["save", "m.h5", "-o", "n.npz"],
        ["save", "m.h5", "dense/bias", "-o", "n.h5"],
    ):
        code, _, error = call(*words)
        assert code == 2
        assert "does not match the recorded seal" in error
        assert error.count("\n") == 1
    assert not list(Path().glob("n.*"))


def test_an_array_that_another_program_adds_is_not_sealed(folder: Path, call: Call) -> None:
    """With another number of arrays, no hash can be assigned, but the file is known to be changed."""
    import h5py

    save("m.h5")
    with h5py.File("m.h5", "r+") as file:
        file["extra"] = np.ones(3, np.float32)
    assert "m.h5: altered: " in call("verify", "m.h5")[1]
    assert [each.name for each in pc.check("m.h5").findings] == ["checksum"]
    code, _, error = call("save", "m.h5", "-o", "n.npz")
    assert (code, error.count("\n")) == (2, 1)
    assert call("set", "m.h5", "--drop-metadata", "paramctl.sums", "--in-place")[0] == 0
    assert call("save", "m.h5", "-o", "n.npz")[0] == 0
    check(call, "n.npz", "save")


@pytest.mark.parametrize("name", INDEXED)
def test_the_altered_file_of_a_set_is_named_with_the_way_out(folder: Path, call: Call, name: str) -> None:
    """The command that the error names works as printed, and then the set can be saved."""
    index = Path(save(name))
    path = max(path for path in index.parent.iterdir() if re.search(r"model-0|m_0", path.name))
    data = bytearray(path.read_bytes())
    data[list_arrays(path)[0].begin] ^= 1
    path.write_bytes(data)
    code, _, error = call("save", str(index), "-o", "n.npz")
    assert code == 2
    assert error.startswith(f"{path}: ")
    command = shlex.split(error.partition("remove the record with: paramctl ")[2])
    assert call(*command)[0] == 0
    assert call("save", str(index), "-o", "n.npz")[0] == 0
    check(call, "n.npz", "save")


def test_a_file_of_a_server_is_verified(folder: Path, call: Call) -> None:
    """Whole, damaged within an array, unreadable, and against a list that is there too."""
    with serving(folder) as server:
        for name in NAMES:
            file = save(name)
            assert call("verify", f"{server.url}/{file}")[0] == 0, name
        for name in ("m.safetensors", "m.h5", "m.npz"):
            Path("sums").write_text(call("sum", f"{server.url}/{name}")[1])
            assert call("verify", "m.keras", "--against", f"{server.url}/sums")[0] == 0
        for name, place, words in (("m.safetensors", -1, "dense_1/bias"), ("m.h5", 9, "the file cannot be read: ")):
            data = bytearray(Path(name).read_bytes())
            data[place] ^= 1
            Path(f"bad-{name}").write_bytes(data)
            code, out, _ = call("verify", f"{server.url}/bad-{name}")
            assert (code, words in out) == (1, True), out


def test_sum_prints_lines_that_verify_reads(folder: Path, call: Call) -> None:
    save("m.safetensors")
    code, out, _ = call("sum", "m.safetensors")
    assert code == 0
    assert re.fullmatch("([0-9a-f]{64}  [a-z_0-9]+/[a-z]+\n){4}", out)
    Path("sums").write_text(out)
    save("m.h5")
    assert call("verify", "m.h5", "--against", "sums") == (0, "m.h5: 4 arrays match\n", "")
    code, out, _ = call("sum", "m.h5", "--format", "json")
    assert [list(row) for row in json.loads(out)] == [["path", "dtype", "shape", "sha256"]] * 4
    Path("sums.json").write_text(out)
    assert call("verify", "m.safetensors", "--against", "sums.json")[0] == 0
    code, out, _ = call("sum", "m.yaml", "dense/kernel[:, 0]", "dense/bias")
    rows = parse_sums(out, "out")
    assert rows.keys() == {"dense/kernel[:, 0]", "dense/bias"}
    Path("part").write_text(out)
    code, out, _ = call("verify", "m.h5", "--against", "part", "--format", "json")
    assert code == 1
    assert [row["status"] for row in json.loads(out)] == ["match", "match", "extra", "extra"]


def test_missing_extra_and_different_arrays_are_named(folder: Path, call: Call) -> None:
    save("m.npz")
    _, out, _ = call("sum", "m.npz")
    lines = out.splitlines()
    lines[0] = f"{'0' * 64}  {lines[0][66:]}"
    Path("sums").write_text("\n".join([*lines[:-1], f"{'1' * 64}  other"]))
    code, out, _ = call("verify", "m.npz", "--against", "sums")
    assert code == 1
    assert out.splitlines() == [
        "m.npz: dense/kernel: altered: its dtype, shape or values do not match the listed hash",
        "m.npz: other: missing: the file lacks the array",
        "m.npz: dense_1/bias: extra: the list lacks the array",
    ]


def test_names_are_escaped_as_sha256sum_does() -> None:
    names = ["a\nb", "a\\nb", "plain", "tab\t", "esc\x1b[2J", "ü"]
    rows = [SumRow(name, "float32", (1,), "ab" * 32) for name in names]
    lines = list(sum_lines(rows))
    assert lines[:3] == [f"\\{'ab' * 32}  a\\nb", f"\\{'ab' * 32}  a\\\\nb", f"{'ab' * 32}  plain"]
    assert all(line.isprintable() for line in lines)
    assert list(parse_sums("\n".join(lines), "x")) == names


@pytest.mark.parametrize("text", ["", "zz  a", "[1]", '[{"path": 1, "sha256": "a"}]', "{", "00 a", "[" * 9_999])
def test_a_list_that_is_none_is_one_error(folder: Path, call: Call, text: str) -> None:
    save("m.npz")
    Path("sums").write_text(text)
    code, out, error = call("verify", "m.npz", "--against", "sums")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert error.startswith("sums: must ")


def test_a_file_without_a_record_cannot_be_verified(folder: Path, call: Call) -> None:
    """npy files, streams and files of others: exit 2 and one line that names --against, which works."""
    np.savez("foreign.npz", a=np.ones(3))
    pc.save("foreign.npz", "a.npy")
    with Path("stream.safetensors").open("wb") as stream:
        pc.save("m.yaml", stream)
    for name in ("foreign.npz", "a.npy", "stream.safetensors"):
        code, out, error = call("verify", name)
        assert (code, out, error.count("\n")) == (2, "", 1)
        assert f"{name}: records no hashes" in error
        assert "--against" in error
        _, out, _ = call("sum", name)
        Path("sums").write_text(out)
        assert call("verify", name, "--against", "sums")[0] == 0
    code, _, error = call("verify", "m.yaml")
    assert code == 2


@pytest.mark.parametrize("name", ["m.h5", "m.keras", "m.weights.h5", "m.safetensors", "m.npz"])
def test_every_kind_of_damage_has_one_exit_code(folder: Path, call: Call, name: str) -> None:
    """An empty, replaced or truncated file: 1, one line that says that it cannot be read, and nothing of documents."""
    save(name)
    data = Path(name).read_bytes()
    for damaged in (b"", b"hello\n", bytes(range(256)), data[:20], data[: len(data) // 2], data[:-9]):
        Path(name).write_bytes(damaged)
        code, out, error = call("verify", name)
        assert (code, error, out.count("\n")) == (1, "", 1), (len(damaged), out, error)
        assert f"{name}: altered: the file cannot be read: " in out
        assert "document" not in out
    Path(name).unlink()
    assert call("verify", name)[:2] == (2, "")


def test_a_file_of_a_set_that_is_none_is_named_so(folder: Path, call: Call) -> None:
    save("m/")
    first = min(Path("m").glob("*.safetensors"))
    first.write_bytes(b"")
    code, out, _ = call("verify", "m")
    assert code == 1
    assert f"{first}: altered: the file cannot be read: is empty (0 bytes)\n" in out


def test_a_damaged_file_that_has_no_record_is_named_so(folder: Path, call: Call) -> None:
    """A truncated file of torch: its damage, not the want of a record."""
    data = (ROOT / "tests/fixtures/torch_tied.pt").read_bytes()
    for size in (20, len(data) - 30):
        Path("a.pt").write_bytes(data[:size])
        code, out, error = call("verify", "a.pt")
        assert (code, out, "records no hashes" in error, "damaged" in error) == (2, "", False, True), error


def test_several_files_and_quiet(folder: Path, call: Call) -> None:
    save("m.h5")
    save("m.npz")
    data = bytearray(Path("m.npz").read_bytes())
    data[-3] ^= 1
    Path("bad.npz").write_bytes(data)
    assert call("verify", "m.h5", "m.npz") == (
        0,
        "m.h5: 4 arrays and the header match\nm.npz: 4 arrays and the header match\n",
        "",
    )
    code, out, _ = call("verify", "m.h5", "bad.npz")
    assert code == 1
    assert "bad.npz: altered: " in out
    assert call("verify", "m.h5", "bad.npz", "-q") == (1, "", "")
    code, _, error = call("verify", "m.h5", "none.h5")
    assert code == 2
    assert "none.h5: " in error


@pytest.mark.parametrize("name", ["m.safetensors", "m.h5", "m/", "m.weights.json", "m.npz"])
def test_metadata_shows_the_record_as_one_short_item(folder: Path, call: Call, name: str) -> None:
    file = save(name)
    code, out, _ = call("summary", file, "--metadata", "--format", "json")
    assert code == 0
    assert "paramctl-sums" not in out


def test_a_foreign_hdf5_file_is_patched_without_a_record(folder: Path, call: Call) -> None:
    """Everything but the changed values stays the same to the byte in a file of another program."""
    import h5py

    with h5py.File("foreign.h5", "w") as file:
        file["w"] = np.ones((2, 2))
    assert call("set", "foreign.h5", "w = 2", "--in-place")[0] == 0
    with h5py.File("foreign.h5") as file:
        assert list(file.attrs) == []
    assert call("verify", "foreign.h5")[0] == 2


def test_a_library_call_takes_weights_and_mappings(folder: Path) -> None:
    save("m.h5")
    with pc.open("m.h5") as weights:
        assert pc.verify(weights).matches
        assert pc.verify(weights, against={row.path: row.sha256 for row in pc.sums(weights).rows}).matches
    with pytest.raises(InputError, match="in no file"):
        pc.verify(pc.initialize("m.yaml"))

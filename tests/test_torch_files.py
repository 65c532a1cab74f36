"""Files of torch, read without torch. The fixtures were written by torch itself; see tests/interop/test_torch_files.py."""

import json
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import paramctl
from paramctl.errors import InputError, ParamctlError
from paramctl.model import Tie
from paramctl.store.pickles.objects import Global, Record
from paramctl.store.pickles.state import BadPickle
from paramctl.store.torch.content import items_of
from paramctl.store.torch.reading import arrays_of, ties_of
from paramctl.store.torch.storages import Storage
from paramctl.store.torch.tensors import Tensor, Unreadable, tensor_of
from tests import forks
from tests.conftest import ROOT, Run

FIXTURES = ROOT / "tests/fixtures"
FILES = [
    "torch_tied.pt",
    "torch_legacy.pth",
    "torch_training.ckpt",
    "torch_script.pt",
    "torch_module.pt",
    "torch_quantized.pth",
]
ROUNDS = 60 * forks.ROUNDS


def values(path: Path) -> dict[str, Any]:
    model = paramctl.open(str(path))
    return {name: np.asarray(model[name]) for name in model}


def test_views_of_an_older_file() -> None:
    """Transposed, cut, and expanded views of one storage have the values that torch gives them."""
    arrays = values(FIXTURES / "torch_legacy.pth")
    base = np.arange(12, dtype="f4")
    assert np.array_equal(arrays["turned"], base.reshape(3, 4).T)
    assert np.array_equal(arrays["slice"], base[2:5])
    assert np.array_equal(arrays["expanded"], np.ones((2, 3), "f4"))
    assert (str(arrays["half"].dtype), arrays["half"].tolist(), arrays["count"].item()) == ("bfloat16", [1.0, 1.0], 7)


NAMES = [
    "embed.weight",
    "norm.weight",
    "norm.bias",
    "norm.running_mean",
    "norm.running_var",
    "norm.num_batches_tracked",
]


@pytest.mark.parametrize("name", ["torch_tied.pt", "torch_training.ckpt", "torch_module.pt"])
def test_names_are_those_of_the_state_dict(name: str) -> None:
    """The key of the only container is no part of the names, and a shared storage is a tie."""
    model = paramctl.open(str(FIXTURES / name))
    assert list(model) == [*NAMES, "head.weight"]
    assert [(tie.kept, tie.tied) for tie in model.source.model.ties] == [("embed.weight", "head.weight")]


def test_everything_beside_the_parameters_is_named(paramctl: Run) -> None:
    """The sentence that people look for: it converts a checkpoint, and names what the copy does not include."""
    result = paramctl("save", str(FIXTURES / "torch_training.ckpt"), "-o", "model.safetensors", check=True)
    assert "wrote model.safetensors: 6 arrays, 28 values" in result.stdout + result.stderr
    assert "does not include 9 optimizer or metric arrays" in result.stderr
    assert "sparse (a sparse tensor)" in result.stderr
    assert set(load_file(paramctl.folder / "model.safetensors")) == set(NAMES)


def test_torchscript_names_its_parameters_in_its_code() -> None:
    model = paramctl.open(str(FIXTURES / "torch_script.pt"))
    assert list(model)[:2] == ["0.weight", "0.bias"]
    facts = {path: parameter.trainable for path, parameter in model.source.model.parameters.items()}
    assert (facts["0.weight"], facts["1.running_mean"]) == (True, False)


def test_a_set_is_checked_against_its_index(paramctl: Run, tmp_path: Path) -> None:
    """A file that is missing, or an array that the index lists elsewhere, is an error that names it."""
    shutil.copytree(FIXTURES / "torch_sharded", tmp_path / "set")
    assert sorted(values(tmp_path / "set")) == ["a.bias", "a.weight", "b.weight"]
    index = tmp_path / "set/pytorch_model.bin.index.json"
    text = index.read_text()
    for old, new, words in (
        ('"b.weight"', '"c.weight"', "'b.weight' is in pytorch_model-00002-of-00002.bin, but the index says None"),
        ("00002-of-00002.bin", "00003-of-00002.bin", "names pytorch_model-00003-of-00002.bin, which does not exist"),
    ):
        index.write_text(text.replace(old, new))
        result = paramctl("summary", "set")
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert words in result.stderr
        assert "--rebuild-index" not in result.stderr


def test_a_set_drops_no_array_that_is_called_like_state(tmp_path: Path) -> None:
    """The index lists the parameters. An array that it does not list is an error, as any other."""
    arrays = {"w": np.ones(2, "float32"), "rng_state": np.arange(3, dtype="uint8")}
    (tmp_path / "m.bin").write_bytes(pickle.dumps(arrays, protocol=4))
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(arrays, "m.bin")}))
    assert {name: value.tolist() for name, value in values(index).items()} == {"w": [1, 1], "rng_state": [0, 1, 2]}
    index.write_text(json.dumps({"weight_map": {"w": "m.bin"}}))
    with pytest.raises(InputError, match=r"'rng_state' is in m\.bin, but the index says None"):
        values(index)


def test_a_folder_opens_its_model(tmp_path: Path) -> None:
    """pytorch_model.bin is preferred, files of training are not models, and safetensors are preferred to pickles."""
    shutil.copy(FIXTURES / "torch_tied.pt", tmp_path / "pytorch_model.bin")
    shutil.copy(FIXTURES / "torch_legacy.pth", tmp_path / "other.bin")
    shutil.copy(FIXTURES / "torch_legacy.pth", tmp_path / "training_args.bin")
    assert "embed.weight" in values(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    assert "turned" in values(tmp_path)
    shutil.copy(FIXTURES / "torch_tied.safetensors", tmp_path / "model.safetensors")
    assert "turned" not in values(tmp_path)


def tensor(key: str = "0", shape: tuple[int, ...] = (2,), **facts: Any) -> Record:
    """Return the record of a contiguous tensor of 12 numbers' storage."""
    storage = facts.get("storage", Storage(key, "float32", 48))
    strides = facts.get("strides", tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))))
    args = (storage, facts.get("offset", 0), shape, strides, False, Record(Global("collections.OrderedDict")))
    return Record(Global("torch._utils._rebuild_tensor_v2"), args)


def names(root: Any) -> tuple[list[str], list[str], list[str], list[str]]:
    arrays = arrays_of(items_of(root, lambda name: ""), None)  # type: ignore[arg-type]
    return list(arrays.parameters), list(arrays.state), list(arrays.metadata), list(arrays.skipped)


W = {"w": tensor(), "b": tensor("1")}
ROOTS: dict[str, tuple[Any, list[str], list[str], list[str]]] = {
    "plain": (W, ["w", "b"], [], []),
    "one container": ({"epoch": 3, "net": W}, ["w", "b"], [], ["epoch"]),
    "two containers": ({"net": W, "ema": W}, ["net.w", "net.b", "ema.w", "ema.b"], [], []),
    "nested": ({"a": {"b": W}}, ["w", "b"], [], []),
    "a tensor beside": ({"net": W, "mean": tensor("2")}, ["net.w", "net.b", "mean"], [], []),
    "optimizer": ({"net": W, "optim": {"m": W}}, ["w", "b"], ["optim.m.w", "optim.m.b"], []),
    "optimizer by its form": (
        {"net": W, "d": {"state": {0: {"m": tensor()}}, "param_groups": [{"lr": 0.1}]}},
        ["w", "b"],
        ["d.state.0.m"],
        ["d.param_groups.0.lr"],
    ),
    "a parameter named like state": ({"scheduler.betas": tensor(), "w": tensor("1")}, ["scheduler.betas", "w"], [], []),
    "a parameter with these letters": ({"charngram.w": tensor(), "w": tensor("1")}, ["charngram.w", "w"], [], []),
    "list": ([W, W], ["0.w", "0.b", "1.w", "1.b"], [], []),
    "tuple": ((W, 3), ["w", "b"], [], ["1"]),
    "bare": (tensor(), ["tensor"], [], []),
    "random state": ({"net": W, "rng_state": tensor("2")}, ["w", "b"], ["rng_state"], []),
}


@pytest.mark.parametrize("name", ROOTS)
def test_names_follow_from_the_content(name: str) -> None:
    root, parameters, state, metadata = ROOTS[name]
    assert names(root) == (parameters, state, metadata, [])


def test_names_that_collide_are_refused() -> None:
    with pytest.raises(BadPickle, match="two arrays have the name"):
        names({"a": {"b.c": tensor()}, "a.b": {"c": tensor()}, "d": tensor()})


def test_containers_that_contain_themselves_end() -> None:
    """A cycle is listed once. Lists that double with every level end at a limit."""
    loop: dict[str, Any] = {"w": tensor()}
    loop["again"] = loop
    assert names(loop) == (["w"], [], [], ["again"])
    laughs: Any = [0, "x", tensor()]
    for _ in range(60):
        laughs = [laughs, laughs]
    with pytest.raises(BadPickle, match="occur in more than 1,000"):
        names(laughs)


def test_views_that_share_their_values_are_tied() -> None:
    """A transpose is tied as one. Views of other shapes, dtypes, or places are arrays of their own."""
    storage = Storage("0", "float32", 48)
    views = {
        "w": {"shape": (3, 4)},
        "again": {"shape": (3, 4)},
        "turned": {"shape": (4, 3), "strides": (1, 4)},
        "flat": {"shape": (12,)},
        "rows": {"shape": (2, 4)},
        "later": {"shape": (2, 4), "offset": 4},
    }
    arrays = {name: tensor_of(tensor(storage=storage, **facts)) for name, facts in views.items()}
    tensors = [(name, array) for name, array in arrays.items() if isinstance(array, Tensor)]
    assert len(tensors) == len(views)
    assert ties_of(tensors) == (Tie("w", "again"), Tie("w", "turned", transpose=True))


BAD: dict[str, dict[str, Any]] = {
    "beyond the end": {"shape": (13,)},
    "by its offset": {"offset": 11},
    "by its strides": {"shape": (2, 2), "strides": (11, 2)},
    "negative stride": {"strides": (-1,)},
    "negative offset": {"offset": -1},
    "negative size": {"shape": (-1,), "strides": (1,)},
    "huge size": {"shape": (1 << 63,), "strides": (0,)},
    "stride missing": {"shape": (1, 1), "strides": (1,)},
    "text as an offset": {"offset": "0"},
    "truth as an offset": {"offset": True},
    "no storage": {"storage": ["storage"]},
    "many axes": {"shape": (1,) * 65},
}


@pytest.mark.parametrize("name", BAD)
def test_a_view_outside_its_storage_is_refused(name: str) -> None:
    with pytest.raises(BadPickle):
        tensor_of(tensor(**BAD[name]))


def test_tensors_that_cannot_be_read_have_a_kind() -> None:
    """A file of few bytes does not become terabytes, and values of an unknown kind are not guessed."""
    assert isinstance(tensor_of(tensor(shape=(1 << 40,), strides=(0,))), Unreadable)
    assert isinstance(tensor_of(tensor(storage=Storage("0", "qint8", 48))), Unreadable)
    assert isinstance(tensor_of(tensor(storage=Storage("0", "float32", 48, on_meta=True))), Unreadable)
    assert isinstance(tensor_of(tensor(shape=(0, 5))), Tensor)


def test_malformed_arguments_are_refused() -> None:
    """Parameters of parameters, any number deep, and calls with other arguments."""
    deep = tensor()
    for _ in range(100_000):
        deep = Record(Global("torch._utils._rebuild_parameter"), (deep, True, None))
    with pytest.raises(BadPickle):
        tensor_of(deep)
    with pytest.raises(BadPickle):
        tensor_of(Record(Global("torch._utils._rebuild_tensor_v2"), ()))


def repacked(path: Path, source: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> None:
    """Pack an archive again, with members changed, renamed, or left out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if member := change(name, old.read(name)):
                new.writestr(*member)


CHANGES: dict[str, tuple[Callable[[str, bytes], tuple[str, bytes] | None], str]] = {
    "big-endian": (lambda n, d: (n, b"big" if n.endswith("byteorder") else d), "unsupported byte order big"),
    "no storage": (lambda n, d: None if "/data/0" in n else (n, d), "lacks the member"),
    "short storage": (lambda n, d: (n, d[:-1] if "/data/0" in n else d), "but its tensors need"),
    "cut pickle": (lambda n, d: (n, d[:-9] if n.endswith("data.pkl") else d), "the pickle is truncated"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_damaged_archive_is_refused(name: str, paramctl: Run, tmp_path: Path) -> None:
    change, words = CHANGES[name]
    repacked(tmp_path / "m.pt", FIXTURES / "torch_tied.pt", change)
    result = paramctl("summary", "m.pt")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert words in result.stderr


def test_other_pickles_are_refused_by_name(paramctl: Run, tmp_path: Path) -> None:
    """Objects of other programs, files of joblib, and the oldest files of torch say what they are."""
    model = Record  # any class that is not torch's
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(model))
    (tmp_path / "b.pt").write_bytes(pickle.dumps({"epoch": 3}))
    with tarfile.open(tmp_path / "c.pt", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    for name, words in (
        (
            "a.pkl",
            "a pickle without arrays that can be read: object (the class or function",
        ),
        ("b.pt", "a pickle without arrays that can be read"),
        ("c.pt", "a tar archive of torch before version"),
    ):
        result = paramctl("summary", name)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert words in result.stderr


def test_tensors_are_read_in_bounded_memory(tmp_path: Path) -> None:
    """A transposed view of 120 MB is written to safetensors within 150 MB, with the right values."""
    rows, columns = 3000, 10_000
    data = np.random.default_rng(0).standard_normal((rows, columns), dtype="f4")
    body = b"".join(
        (
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n",
            b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ" + struct.pack("<i", rows * columns) + b"tQK\x00",
            b"J" + struct.pack("<i", columns) + b"J" + struct.pack("<i", rows) + b"\x86K\x01",
            b"J" + struct.pack("<i", columns) + b"\x86\x89ccollections\nOrderedDict\n)RtR.",
        )
    )
    with zipfile.ZipFile(tmp_path / "t.pt", "w") as archive:
        archive.writestr("t/data.pkl", body)
        archive.writestr("t/data/0", data.tobytes())
    code = (
        "import paramctl\n"
        "paramctl.save(paramctl.open('t.pt'), 't.safetensors')\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert int(result.stdout) < 220_000  # Python and NumPy take 70,000 of these kilobytes
    assert np.array_equal(load_file(tmp_path / "t.safetensors")["tensor"], data.T)


GUARDED = """
import os, pickle, sys
import paramctl
from paramctl.errors import InputError, ParamctlError
from tests.test_pickles import HARMLESS, REFUSED
allowed = {"open", "builtins.id", "os.listdir", "object.__getattr__", "tempfile.mkstemp", "os.remove", "fcntl.flock", "fcntl.fcntl"}
events, armed = [], False
folder = os.getcwd()
def hook(event, args):
    if event.startswith("paramctl."):  # its own, for --verbose
        return
    if armed and (event not in allowed or (event == "open" and not str(args[0]).startswith(folder + "/m"))):
        events.append((event, str(args)[:200]))
sys.addaudithook(hook)
def read(path):
    try:
        model = paramctl.open(path)
        for name in model:
            model[name][...]
    except ParamctlError:
        pass
for path in sys.argv[1:]:
    read(path)  # imports what reading needs
armed = True
for path in sys.argv[1:]:
    read(path)
for number, data in enumerate([*HARMLESS.values(), *REFUSED.values()]):
    path = f"{folder}/m{number}"
    armed = False
    with open(path, "wb") as file:
        file.write(data)
    read(path) if number == 0 else None
    armed = True
    read(path)
armed = False
assert not events, events[:5]
assert "torch" not in sys.modules and "this" not in sys.modules
"""


def test_nothing_is_imported_executed_or_opened(tmp_path: Path) -> None:
    """Python reports imports, calls of the system, and opened files to an audit hook: only the file itself appears."""
    paths = [Path(shutil.copy(FIXTURES / name, tmp_path / f"m-{name}")) for name in FILES]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", GUARDED, *map(str, paths)]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize("name", FILES)
def test_a_mutated_file_is_refused_or_read(name: str, tmp_path: Path) -> None:
    """Opcodes, arguments, and members changed at random: an error of paramctl's, or arrays that can be read."""
    generator = random.Random(name)  # noqa: S311
    whole = (FIXTURES / name).read_bytes()
    begin = whole.find(b"\x80\x02")
    refused = 0
    for number in range(ROUNDS):
        data = bytearray(whole)
        for _ in range(generator.choice((1, 2, 4))):
            place = (
                generator.randrange(begin, min(len(data), begin + 2500))
                if number % 4
                else generator.randrange(len(data))
            )
            data[place] = generator.choice(
                (data[place] ^ 1, 0, 255, generator.randrange(256), *b"(tR.}]q\x85\x86\x93Q")
            )
        path = tmp_path / "m.pt"
        path.write_bytes(data)
        try:
            model = paramctl.open(str(path))
            for array in model:
                if model[array].size < 10_000:
                    np.asarray(model[array])
        except ParamctlError as error:
            refused += 1
            assert "\n" not in str(error)
            assert len(str(error)) < 500
    assert refused


def test_a_second_object_of_a_file_is_named(paramctl: Run) -> None:
    """Only the first object of several in one file is read, as torch.load does."""
    pickled = pickle.dumps({"a": np.ones(2)}), pickle.dumps({"b": np.ones(2)})
    (paramctl.folder / "two.pkl").write_bytes(b"".join(pickled))
    legacy = (FIXTURES / "torch_legacy.pth").read_bytes()
    (paramctl.folder / "two.pth").write_bytes(legacy + legacy)
    for name, size in (("two.pkl", len(pickled[1])), ("two.pth", len(legacy))):
        result = paramctl("summary", name, check=True)
        assert f"rest ({size:,} bytes behind the object)" in result.stderr
    shutil.copy(FIXTURES / "torch_legacy.pth", paramctl.folder / "one.pth")
    assert "behind" not in paramctl("summary", "one.pth", check=True).stderr


def test_two_arrays_of_one_name_are_no_damage(paramctl: Run) -> None:
    (paramctl.folder / "clash.pkl").write_bytes(pickle.dumps({"a": {"b": np.ones(2)}, "a.b": np.ones(2)}))
    result = paramctl("summary", "clash.pkl")
    line = "clash.pkl: two arrays have the name 'a.b', because keys are joined by dots\n"
    assert (result.returncode, result.stderr) == (2, line)


def test_text_that_is_no_unicode_is_escaped(paramctl: Run) -> None:
    """Half of a surrogate pair in a plain value, or in its key, is carried into another file as an escape."""
    value = {"w": np.ones(2, "f4"), "note\udc80": "x\udc81", "notes": ["\udc82", "y"]}
    (paramctl.folder / "old.pkl").write_bytes(pickle.dumps({"model": {"w": value.pop("w")}} | value))
    paramctl("save", "old.pkl", "-o", "new.safetensors", check=True)
    printed = paramctl("summary", "new.safetensors", "--metadata", check=True).stdout
    assert all(text in printed for text in ("note\\udc80", "x\\udc81", "\\udc82"))

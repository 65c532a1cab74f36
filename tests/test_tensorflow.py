"""TensorFlow's checkpoints: those that TensorFlow wrote, those made by hand, and every kind of damage."""

import random
import shutil
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from paramctl.errors import InputError, ParamctlError
from paramctl.source.base import select_values
from paramctl.source.open import open_checkpoint
from paramctl.source.save import save
from paramctl.source.stored import Stored
from paramctl.store.checkpoint import Checkpoint
from paramctl.store.io.crc32c import checksum
from paramctl.store.io.verified import Coverage
from paramctl.store.tensorflow.ordered_code import slice_key
from tests import forks
from tests.conftest import ROOT, Run
from tests.tensorflow_files import (
    MAGIC,
    TEXT,
    Bundle,
    Entry,
    Node,
    block,
    closed,
    graph,
    header,
    mask,
    mixed,
    sealed,
    table,
    varint,
)

FIXTURES = ROOT / "tests/fixtures/tensorflow"
KEY = "/.ATTRIBUTES/VARIABLE_VALUE"
GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
KERAS = [
    ("dense/kernel", (4, 3)),
    ("dense/bias", (3,)),
    ("batch_normalization/gamma", (3,)),
    ("batch_normalization/beta", (3,)),
    ("batch_normalization/moving_mean", (3,)),
    ("batch_normalization/moving_variance", (3,)),
    ("out/kernel", (3, 2)),
    ("out/bias", (2,)),
]
"""The parameters of the model in the fixtures of Keras, in order."""


def opened(path: Path | str) -> Checkpoint:
    return open_checkpoint(str(path)).checkpoint


def value(checkpoint: Checkpoint, path: str) -> np.ndarray:
    parameter = checkpoint.model.parameters[path]
    return checkpoint.reader.read(path, 0, parameter.size).reshape(parameter.shape)


def shapes(checkpoint: Checkpoint) -> list[tuple[str, tuple[int, ...]]]:
    return [(path, parameter.shape) for path, parameter in checkpoint.model.parameters.items()]


def state(checkpoint: Checkpoint) -> set[str]:
    return set(checkpoint.origin.optimizer.arrays if checkpoint.origin.optimizer else ())


# --- files that TensorFlow wrote


def test_a_module_has_the_paths_of_its_objects() -> None:
    """Two attributes that hold one variable are a tie. A text is skipped by name."""
    checkpoint = opened(FIXTURES / "module/module.index")
    expected = {"w": (3, 4), "alias": (3, 4), "b": (4,), "c": (1,), "list/0": (), "list/1": (2,)}
    assert dict(shapes(checkpoint)) == expected
    dtypes = {path: parameter.dtype for path, parameter in checkpoint.model.parameters.items()}
    assert dtypes["b"] == "bfloat16"
    assert dtypes["list/0"] == "int64"
    assert value(checkpoint, "w").tolist() == np.arange(12, dtype="float32").reshape(3, 4).tolist()
    assert value(checkpoint, "c").tolist() == [1 + 2j]
    assert value(checkpoint, "list/1").tolist() == [True, False]
    assert [(tie.tied, tie.kept) for tie in checkpoint.model.ties] == [("alias", "w")]
    assert checkpoint.skipped == (f"s{KEY} (text)",)
    assert state(checkpoint) == set()


@pytest.mark.parametrize("name", ["keras3/variables", "keras2/w"])
def test_a_keras_model_has_keras_names(name: str) -> None:
    """The graph of objects records them. The optimizer's arrays, slots too, are not parameters."""
    checkpoint = opened(FIXTURES / name)
    assert shapes(checkpoint) == KERAS
    assert len(state(checkpoint)) > 12
    names = {"keras3": {"adam/iteration", "adam/dense_kernel_momentum"}, "keras2": {"Adam/iter", "Adam/dense/kernel/m"}}
    assert names[name[:6]] <= state(checkpoint)
    optimizer = checkpoint.origin.optimizer
    for path, parameter in optimizer.arrays.items():
        assert optimizer.reader.read(path, 0, parameter.size).shape == (parameter.size,)


def test_a_saver_with_shards_and_a_partitioned_variable() -> None:
    """The shards, found by the file ``checkpoint``, whose path is that of another machine. Slots are by their names."""
    checkpoint = opened(FIXTURES / "partitioned")
    assert dict(shapes(checkpoint)) == {"dense/bias": (4,), "dense/kernel": (3, 4), "part": (10, 3)}
    adam = {f"{name}/{slot}" for name in ("dense/bias", "dense/kernel", "part") for slot in ("Adam", "Adam_1")}
    assert state(checkpoint) == adam | {"beta1_power", "beta2_power", "global_step"}
    part = value(checkpoint, "part")
    assert len(np.unique(part)) == 30
    for start in range(30):
        for stop in range(start, 31):
            assert checkpoint.reader.read("part", start, stop).tolist() == part.reshape(-1)[start:stop].tolist()


@pytest.mark.parametrize(
    "path",
    [
        "module/module",
        "module/module.index",
        "module/module.data-00000-of-00001",
        "module",
        "partitioned/checkpoint",
        "partitioned/model.ckpt-1",
        "partitioned/model.ckpt-1.data-00002-of-00003",
    ],
)
def test_every_way_to_name_a_checkpoint(path: str, paramctl: Run) -> None:
    done = paramctl("summary", str(FIXTURES / path), check=True)
    assert "Total parameters:  " in done.stdout
    assert done.stdout.startswith(("module\n", "model.ckpt-1\n"))


def test_a_saved_model_is_its_variables(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "lenet").mkdir()
    (tmp_path / "lenet/saved_model.pb").write_bytes(b"\x08\x01\x12\x00")
    refused = paramctl("summary", "lenet")
    assert (refused.returncode, refused.stderr) == (2, "lenet: a TensorFlow SavedModel without variables\n")
    shutil.copytree(FIXTURES / "keras3", tmp_path / "lenet/variables")
    (tmp_path / "lenet/assets").mkdir()
    done = paramctl("summary", "lenet", check=True)
    assert (done.stdout.splitlines()[0], done.stderr) == ("lenet", "")
    refused = paramctl("summary", "lenet/saved_model.pb")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "Name its folder, whose variables are read" in refused.stderr


def test_a_keras_model_is_checked_against_a_document_and_saved(paramctl: Run, tmp_path: Path) -> None:
    """A checkpoint of a Keras model is one of the document with its layers, and becomes a ``.keras`` file of it."""
    (tmp_path / "m.yaml").write_text(
        "name: m\ninput: [4]\nlayers:\n  - dense: 3\n  - batch_normalization\n  - dense: {name: out, units: 2}\n"
    )
    saved = paramctl("save", str(FIXTURES / "keras3"), "--like", "m.yaml", "-o", "m.keras", check=True)
    assert "wrote m.keras: 8 arrays, 35 values" in saved.stderr
    assert "m.keras does not include 14 optimizer or metric arrays of the source" in saved.stderr
    kernel = value(opened(FIXTURES / "keras3"), "out/kernel")
    assert value(opened(tmp_path / "m.keras"), "out/kernel").tolist() == kernel.tolist()


def test_the_savers_first_version_is_refused_by_name(paramctl: Run) -> None:
    done = paramctl("summary", str(FIXTURES / "first/model.ckpt-1"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert (
        "Saver's first version is not supported. Save it again with a Saver of TensorFlow 1.0 or later" in done.stderr
    )


def test_a_checkpoint_is_not_changed_in_place(paramctl: Run, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "module", tmp_path / "module")
    done = paramctl("set", "module", "b = 0", "--in-place")
    assert done.returncode == 2
    assert done.stderr.endswith("\nmodule: TensorFlow is only read (use -o to write another file)\n")
    paramctl("set", "module", "b = 1", "-o", "m.safetensors", check=True)
    assert value(opened(tmp_path / "m.safetensors"), "b").tolist() == [1, 1, 1, 1]


# --- files made by hand


@pytest.mark.parametrize(("shards", "big_endian", "per_block"), [(1, False, 16), (3, False, 2), (2, True, 1)])
def test_values_of_every_kind(shards: int, big_endian: bool, per_block: int, tmp_path: Path) -> None:
    bundle, arrays = mixed(shards, big_endian)
    checkpoint = opened(bundle.write(tmp_path / "m", per_block))
    assert {path: array.shape for path, array in arrays.items()} == dict(shapes(checkpoint))
    for path, array in arrays.items():
        stored = value(checkpoint, path)
        assert (stored.dtype, stored.tobytes()) == (array.dtype, array.tobytes())
    save(Stored(checkpoint), str(tmp_path / "m.safetensors"))
    copy = opened(tmp_path / "m.safetensors")
    assert all(value(copy, path).tobytes() == array.tobytes() for path, array in arrays.items())


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("lengths", [[5], [2, 3], [1, 0, 3, 1]])
def test_any_range_of_a_partitioned_variable(axis: int, lengths: list[int], tmp_path: Path) -> None:
    shape = [3, 2, 4]
    shape[axis] = 5
    array = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    bundle = Bundle(shards=2)
    bundle.add_sliced("w", array, axis, lengths)
    checkpoint = opened(bundle.write(tmp_path / "m"))
    flat = array.reshape(-1)
    for start in range(flat.size):
        for stop in range(start, flat.size + 1):
            assert checkpoint.reader.read("w", start, stop).tolist() == flat[start:stop].tolist()


def test_slices_along_several_axes(tmp_path: Path) -> None:
    """TensorFlow's policy of a largest shard cuts an axis of what another axis has cut."""
    array = np.arange(4 * 6 * 5, dtype="float32").reshape(4, 6, 5)
    cuts = [(0, 2, 0, 6), (2, 1, 0, 4), (2, 1, 4, 2), (3, 1, 0, 1), (3, 1, 1, 5)]
    bundle = Bundle(shards=2)
    boxes = [[(a, b), (c, d), (0, 5)] for a, b, c, d in cuts]
    for box in reversed(boxes):
        part = array[tuple(slice(start, start + length) for start, length in box)]
        bundle.add(slice_key("w", box), np.ascontiguousarray(part))
    bundle.entries[b"w"] = Entry(1, array.shape, slices=boxes).encode()
    checkpoint = opened(bundle.write(tmp_path / "m"))
    for start in range(0, 120, 3):
        for stop in range(start, 121):
            assert checkpoint.reader.read("w", start, stop).tolist() == array.reshape(-1)[start:stop].tolist()


def test_keys_of_slices_are_encoded_as_tensorflow_does() -> None:
    """The first is in the fixture; the others are by the definition: longer numbers, a NUL, and the whole axis."""
    assert slice_key("part", [(4, 3), (0, 3)]) == b"\0part\0\1\1\2\x84\x83\x80\x83"
    assert slice_key("a\0b", [(0, -1)]) == b"\0a\0\xffb\0\1\1\1\x80\x7f"
    assert slice_key("p", [(63, 64), (8191, 8192)])[5:] == b"\2\xbf\xc0\x40\xdf\xff\xe0\x20\x00"


def objects(nodes: dict[str, str | None], slots: tuple[int, ...] = ()) -> list[Node]:
    """A root whose children have these names, each a variable with a full name."""
    children = {name: 1 + k for k, name in enumerate(nodes)}
    return [Node(children, slots=slots), *(Node(variable=(full or "", f"{name}{KEY}")) for name, full in nodes.items())]


def with_graph(nodes: list[Node], keys: list[str], folder: Path) -> Checkpoint:
    bundle = Bundle()
    for number, key in enumerate(keys):
        bundle.add(key, np.array([number], "float32"))
    bundle.add_text(GRAPH, graph(nodes))
    return opened(bundle.write(folder / "m"))


def test_full_names_are_used_only_if_each_is_the_only_one(tmp_path: Path) -> None:
    """Modules name their variables Variable: then the paths of the objects are the names."""
    keys = [f"{name}{KEY}" for name in "ab"]
    assert set(with_graph(objects({"a": "x/w", "b": "y/w"}), keys, tmp_path).model.parameters) == {"x/w", "y/w"}
    for second in ("x/w", None):
        checkpoint = with_graph(objects({"a": "x/w", "b": second}), keys, tmp_path)
        assert set(checkpoint.model.parameters) == {"a", "b"}
    checkpoint = with_graph(objects({"a": "x/w"}), keys, tmp_path)
    assert set(checkpoint.model.parameters) == {"a", "b"}, "a key that the graph does not have is a parameter too"


@pytest.mark.parametrize(
    ("names", "inner", "expected"),
    [
        (("m/a/w", "m/b/w"), "_functional", {"a/w", "b/w"}),
        (("sequential_2/a/w", "sequential_2/b/w"), "x", {"a/w", "b/w"}),
        (("m/a/w", "m/b/w"), "x", {"m/a/w", "m/b/w"}),
        (("m/a/w", "n/b/w"), "_functional", {"m/a/w", "n/b/w"}),
        (("m/a/w", "m/w"), "_functional", {"m/a/w", "m/w"}),
    ],
)
def test_the_name_of_a_sequential_model_is_left_out(
    names: tuple[str, str], inner: str, expected: set[str], tmp_path: Path
) -> None:
    """Keras 3 puts it before the names of all variables, but neither files of Keras nor documents have it."""
    keys = [f"model/{inner}/{name}{KEY}" for name in "ab"]
    variables = [Node(variable=pair) for pair in zip(names, keys, strict=True)]
    nodes = [Node({"model": 1}), Node({inner: 2}), Node({"a": 3, "b": 4}), *variables]
    assert set(with_graph(nodes, keys, tmp_path).model.parameters) == expected


def test_equal_names_of_different_variables_are_not_copies(tmp_path: Path) -> None:
    """Keras 3's export writes each variable twice. Two variables are never taken for one because of their name."""
    keys = [f"{name}{KEY}" for name in ("variables/0", "_all_variables/0")]
    lists = {"variables": 1, "_all_variables": 2}
    nodes = [Node(lists), Node({"0": 3}), Node({"0": 4}), *(Node(variable=("w", key)) for key in keys)]
    assert len(with_graph(nodes, keys, tmp_path).model.parameters) == 2
    bundle = Bundle()
    for key in keys:
        bundle.add(key, np.array([7], "float32"))
    bundle.add_text(GRAPH, graph(nodes))
    assert set(opened(bundle.write(tmp_path / "m")).model.parameters) == {"w"}


def test_the_number_of_saves_is_metadata(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(f"save_counter{KEY}", np.array(12, "int64"))
    bundle.add(f"w{KEY}", np.ones(2, "float32"))
    bundle.add_text(GRAPH, graph(objects({"save_counter": "save_counter", "w": "w"})))
    checkpoint = opened(bundle.write(tmp_path / "m"))
    assert (checkpoint.origin.metadata, set(checkpoint.model.parameters)) == ({"save_counter": 12}, {"w"})


def test_slots_by_name_need_their_variable(tmp_path: Path) -> None:
    """A layer may be called Adam. Without a variable of its name and shape, its array is a parameter."""
    bundle = Bundle()
    for name, shape in {"w": (2,), "w/Adam": (2,), "v/Momentum": (2,), "w/Momentum": (3,), "beta1_power": ()}.items():
        bundle.add(name, np.zeros(shape, "float32"))
    checkpoint = opened(bundle.write(tmp_path / "m"))
    assert state(checkpoint) == {"w/Adam"}
    assert set(checkpoint.model.parameters) == {"w", "v/Momentum", "w/Momentum", "beta1_power"}


# --- damage


def test_a_changed_value_is_noticed_by_every_command_that_reads_all(paramctl: Run, tmp_path: Path) -> None:
    """The error names the array. Nothing is written; a stream ends before the array does, so no reader accepts it."""
    shutil.copytree(FIXTURES / "keras3", tmp_path / "m")
    data = tmp_path / "m/variables.data-00000-of-00001"
    damaged = bytearray(data.read_bytes())
    damaged[damaged.index(value(opened(tmp_path / "m"), "out/kernel").tobytes()) + 5] ^= 0x10
    data.write_bytes(damaged)
    rule = "m/variables.data-00000-of-00001: out/kernel does not match its CRC-32C checksum\n"
    for command in (["stat", "m"], ["save", "m", "-o", "m.h5"], ["save", "m", "-o", "m/"], ["dump", "m", "--full"]):
        done = paramctl(*command)
        assert (done.returncode, done.stderr) == (2, rule), command
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]
    done = paramctl("save", "m", "-o", "-", text=False)
    assert (done.returncode, done.stderr.decode()) == (2, rule)
    (tmp_path / "cut.safetensors").write_bytes(done.stdout)
    assert paramctl("summary", "cut.safetensors").returncode == 2
    assert paramctl("dump", "m", "out/bias", check=True).stdout


def test_a_checksum_is_checked_in_any_order_of_pieces() -> None:
    """Pieces in random order, some of them twice or overlapping, by turns of claim and settle."""
    data = np.random.default_rng(0).bytes(5000)
    for seed in range(50):
        rng = random.Random(seed)  # noqa: S311
        coverage = Coverage(len(data))
        cuts = sorted({0, 5000, *(rng.randrange(5000) for _ in range(9))})
        pieces = [*pairwise(cuts), *((n, min(5000, n + 700)) for n in range(0, 5000, 600))]
        rng.shuffle(pieces)
        waiting: list[tuple[int, int]] = []
        for piece in pieces:
            waiting += coverage.claim(*piece)
            rng.shuffle(waiting)
            while waiting and rng.random() < 0.7:
                start, stop = waiting.pop()
                coverage.settle(start, stop, checksum(data[start:stop]))
        assert coverage.whole is None or not waiting
        for start, stop in waiting:
            coverage.settle(start, stop, checksum(data[start:stop]))
        assert coverage.whole == checksum(data)


def bundle_of(entries: dict[str, bytes] | None = None, head: bytes | None = None) -> bytes:
    keys = {b"": header() if head is None else head} | {k.encode(): v for k, v in (entries or {}).items()}
    return table(keys)


GOOD = Entry(1, (2,), 0, 0, 8, checksum(bytes(8)))
HUGE = Entry(1, (1 << 60,), 0, 0, 1 << 62)
DISORDER = block([(b"", header()), (b"b", GOOD.encode()), (b"a", GOOD.encode())])
ONE = block([(b"", header())])
CASES: dict[str, tuple[bytes, str]] = {
    "an empty table": (table({}), "its header is missing"),
    "no header": (table({b"w": GOOD.encode()}), "its header is missing"),
    "cut": (bundle_of({"w": GOOD.encode()})[:-20], "its last 8 bytes are not those of an index"),
    "a magic number alone": (MAGIC, "its last 8 bytes are not those of an index"),
    "handles beyond the file": (
        bytes(100) + varint(0) * 2 + varint(1 << 40) * 2 + bytes(26) + MAGIC,
        "a block ends at",
    ),
    "Snappy": (table({b"": header()}, compression=1), "a block is compressed (Snappy)"),
    "a newer version": (bundle_of(head=header(required=2)), "requires a reader of version 2"),
    "no shards": (bundle_of(head=header(shards=0)), "must have 1 to 100,000 shards (got 0)"),
    "keys out of order": (closed(DISORDER, [(b"z", varint(0) + varint(len(DISORDER) - 5))]), "not in order"),
    "a block twice": (closed(ONE, [(b"z", varint(0) + varint(len(ONE) - 5))] * 2), "its blocks overlap"),
    "another shard": (bundle_of({"w": GOOD._replace(shard=3).encode()}), "w is in shard 3 of 1"),
    "a size that is wrong": (bundle_of({"w": GOOD._replace(size=12).encode()}), "w must have 8 bytes (got 12)"),
    "an array beyond the data": (
        bundle_of({"w": GOOD._replace(offset=1 << 40).encode()}),
        "m.data-00000-of-00001 is truncated",
    ),
    "a negative offset": (bundle_of({"w": GOOD._replace(offset=-8).encode()}), "a place must not be negative"),
    "an exabyte": (bundle_of({"w": HUGE.encode()}), "m.data-00000-of-00001 is truncated"),
    "a negative shape": (bundle_of({"w": GOOD._replace(shape=(-2,)).encode()}), "sizes of at least 0"),
    "255 axes": (bundle_of({"w": GOOD._replace(shape=(1,) * 255).encode()}), "at most 254 sizes"),
    "an overlap": (bundle_of({"v": GOOD._replace(offset=4).encode(), "w": GOOD.encode()}), "w and v overlap"),
    "a name with a NUL": (bundle_of({"w\0v": GOOD.encode()}), "has a NUL"),
    "a slice that is missing": (
        bundle_of({"w": Entry(1, (2,), slices=[[(0, 2)]]).encode()}),
        "a slice of w is missing",
    ),
    "a graph that is no text": (bundle_of({GRAPH: GOOD.encode()}), f"{GRAPH} must be a text"),
    "a graph of other bytes": (bundle_of({GRAPH: Entry(TEXT, (), 0, 0, 8).encode()}), "does not match its CRC-32C"),
}


@pytest.mark.parametrize("case", CASES)
def test_damage_is_described(case: str, tmp_path: Path) -> None:
    index, rule = CASES[case]
    (tmp_path / "m.index").write_bytes(index)
    (tmp_path / "m.data-00000-of-00001").write_bytes(bytes(16))
    with pytest.raises(InputError) as caught:
        opened(tmp_path / "m.index")
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'm.index'}: damaged TensorFlow checkpoint (")
    assert rule in text


def sliced(boxes: list[list[tuple[int, int]]], shape: tuple[int, ...] = (4, 4)) -> Bundle:
    bundle = Bundle()
    for box in boxes:
        bundle.add(slice_key("w", box), np.zeros([size for _, size in box], "float32"))
    bundle.entries[b"w"] = Entry(1, shape, slices=boxes).encode()
    return bundle


@pytest.mark.parametrize(
    ("boxes", "rule"),
    [
        ([[(0, 2), (0, 4)]], "leave a gap, or overlap"),
        ([[(0, 2), (0, 4)], [(3, 1), (0, 4)]], "leave a gap, or overlap"),
        ([[(0, 3), (0, 4)], [(2, 2), (0, 4)]], "leave a gap, or overlap"),
        ([[(0, 2), (0, 4)], [(2, 2), (0, 2)], [(2, 2), (1, 2)]], "leave a gap, or overlap"),
        ([[(0, 4), (0, 4)], [(0, 4), (0, 4)]], "leave a gap, or overlap"),
        ([[(-1, 5), (0, 4)]], "must have its entry's shape"),
        ([[(0, 4)]], "must have 2 axes (got 1)"),
    ],
)
def test_slices_that_do_not_fit(boxes: list[list[tuple[int, int]]], rule: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        opened(sliced(boxes).write(tmp_path / "m"))
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('model_checkpoint_path: "../m"', "must name a checkpoint in its own folder (got '../m')"),
        ('model_checkpoint_path: "sub/m"', "must name a checkpoint in its own folder (got 'sub/m')"),
        ('model_checkpoint_path: "m\0"', "must name a checkpoint in its own folder (got 'm\\x00')"),
        ("model_checkpoint_path: 3", "must name a checkpoint in its own folder (got '')"),
        ('model_checkpoint_path: "gone"', "names the TensorFlow checkpoint 'gone.index', which does not exist"),
        ('model_checkpoint_path: "/a/.."', "names the TensorFlow checkpoint '...index', which does not exist"),
    ],
)
def test_the_file_checkpoint_leads_nowhere_else(text: str, rule: str, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    mixed()[0].write(tmp_path / "m")
    (tmp_path / "x/checkpoint").write_text(text)
    (tmp_path / "x/other.index").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        opened(tmp_path / "x")
    assert rule in str(caught.value)


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    index = mixed(shards=3)[0].write(tmp_path / "m")
    (tmp_path / "m.data-00001-of-00003").unlink()
    with pytest.raises(InputError, match=r"m\.data-00001-of-00003: No such file or directory"):
        opened(index)
    index.rename(tmp_path / "m.idx")
    with pytest.raises(InputError, match=r"its name must end in \.index"):
        opened(tmp_path / "m.idx")


def read_all(path: Path) -> None:
    for selected in select_values(Stored(opened(path)), []):
        if selected.selection.size < 10_000:
            list(selected.pieces())


def damaged_block(data: bytes, rng: random.Random) -> bytes:
    """A table of which the first block is changed, and has the right checksum."""
    index = data.index(struct.pack("<II", 0, 1)) + 9
    body = bytearray(data[:index])
    for _ in range(rng.choice((1, 1, 3))):
        place = rng.randrange(len(body) - 9)
        body[place] = rng.choice((0, 1, 0x7F, 0xFF, body[place] ^ (1 << rng.randrange(8))))
    return sealed(bytes(body)) + data[index + 4 :]


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed) if rng.random() < 0.8 else bytes(changed[: rng.randrange(len(changed))])


@pytest.mark.parametrize("damage", [damaged_block, damaged_bytes])
@pytest.mark.parametrize("name", ["made", "keras3/variables", "module/module"])
def test_a_damaged_checkpoint_is_refused_or_read(
    name: str, damage: Callable[[bytes, random.Random], bytes], tmp_path: Path
) -> None:
    """Nothing but an error of paramctl's own escapes, and a changed value is always an error."""
    prefix = tmp_path / "m"
    if name == "made":
        mixed()[0].write(prefix, per_block=99)
    else:
        for suffix in (".index", ".data-00000-of-00001"):
            shutil.copy(f"{FIXTURES / name}{suffix}", f"{prefix}{suffix}")
    index, data = tmp_path / "m.index", tmp_path / "m.data-00000-of-00001"
    whole, values, rng = index.read_bytes(), data.read_bytes(), random.Random(name)  # noqa: S311
    refused, rounds = 0, 60 * forks.ROUNDS
    for number in range(rounds):
        in_values = damage is damaged_bytes and number % 2 == 1
        data.write_bytes(damage(values, rng) if in_values else values)
        index.write_bytes(whole if in_values else damage(whole, rng))
        try:
            read_all(index)
        except ParamctlError as error:
            refused += 1
            assert str(tmp_path) in str(error)
        else:
            # the arrays of an optimizer and texts are not read here
            assert not in_values or name != "made"
    assert refused > rounds // 4


def test_entries_that_share_long_keys_are_limited(tmp_path: Path) -> None:
    """A key of 1 MB costs the next key, which repeats it, no bytes in the file."""
    first = varint(0) * 2 + varint(len(header())) + header()
    long = varint(0) + varint(1 << 20) + varint(0) + b"k" * (1 << 20)
    again = b"".join(varint((1 << 20) + k) + varint(1) + varint(0) + b"k" for k in range(2000))
    body = first + long + again + struct.pack("<II", 0, 1) + b"\0"
    handle = varint(0) + varint(len(body) - 1)
    (tmp_path / "m.index").write_bytes(closed(sealed(body), [(b"z", handle)]))
    ran = forks.measured("summary", str(tmp_path / "m.index"))
    assert ran.megabytes < 300
    assert mask(0) == 0xA282EAD8
    with pytest.raises(InputError, match="bytes of keys"):
        opened(tmp_path / "m.index")


def test_a_variable_without_a_name_has_the_path_of_its_object(tmp_path: Path) -> None:
    """TensorFlow's default name is no name, and the other variables keep theirs."""
    keys = [f"{name}{KEY}" for name in "wv"]
    checkpoint = with_graph(objects({"w": "dense/kernel", "v": "Variable"}), keys, tmp_path)
    assert set(checkpoint.model.parameters) == {"dense/kernel", "v"}
    assert set(with_graph(objects({"w": "Variable"}), keys[:1], tmp_path).model.parameters) == {"w"}


@pytest.mark.parametrize("is_numbered", [True, False])
def test_a_numbered_checkpoint_has_its_step_as_metadata(is_numbered: bool, tmp_path: Path) -> None:
    """The integer beside a model is no parameter if ``save`` has numbered the checkpoint."""
    values = {"step": np.int64(7), "w": np.float32([1, 2])} | ({"save_counter": np.int64(3)} if is_numbered else {})
    bundle = Bundle()
    for name in sorted(values):
        bundle.add(f"{name}{KEY}", np.asarray(values[name]))
    bundle.add_text(GRAPH, graph(objects(dict.fromkeys(values, "Variable"))))
    checkpoint = opened(bundle.write(tmp_path / "m"))
    assert set(checkpoint.model.parameters) == ({"w"} if is_numbered else {"w", "step"})
    assert checkpoint.origin.metadata == ({"step": 7, "save_counter": 3} if is_numbered else {})


def test_the_iterations_of_an_optimizer_are_not_a_parameter_under_a_second_name(tmp_path: Path) -> None:
    """A checkpoint often holds them as its own step, whose path is the shorter one."""
    nodes = [
        Node({"step": 2, "optimizer": 1, "w": 3}),
        Node({"_iterations": 2, "_variables": 1}),
        Node(variable=("iteration", f"step{KEY}")),
        Node(variable=("w", f"w{KEY}")),
    ]
    checkpoint = with_graph(nodes, [f"step{KEY}", f"w{KEY}"], tmp_path)
    assert set(checkpoint.model.parameters) == {"w"}
    assert state(checkpoint) == {"iteration"}


def test_the_state_of_a_random_generator_is_not_a_parameter(tmp_path: Path) -> None:
    """Keras' export writes it beside the variables of the model."""
    names = {"w": "sequential/dense/kernel", "g": "seed_generator/seed_generator_state"}
    checkpoint = with_graph(objects(names), [f"{name}{KEY}" for name in "gw"], tmp_path)
    assert set(checkpoint.model.parameters) == {"dense/kernel"}
    assert state(checkpoint) == {names["g"]}


def test_slots_of_renamed_optimizers_are_not_parameters(tmp_path: Path) -> None:
    """An optimizer may have any name; Adafactor's sums have other shapes; moving averages are slots too."""
    slots = {"a/MyAdam": (2,), "a/MyAdam_1": (2,), "b/MyAdam": (3, 4), "b/MyAdam_1": (3, 4), "beta1_power_1": ()}
    slots |= {"b_slot_vr": (3,), "b_slot_vc": (4,), "a_slot_v": (2,), "a/ExponentialMovingAverage": (2,)}
    bundle = Bundle()
    for name, shape in {"a": (2,), "b": (3, 4), "v": (), "a/v": (2,), "global_step": (), **slots}.items():
        bundle.add(name, np.ones(shape, "float32"))
    bundle.entries = dict(sorted(bundle.entries.items()))
    checkpoint = opened(bundle.write(tmp_path / "m"))
    assert state(checkpoint) == {*slots, "global_step"}
    assert set(checkpoint.model.parameters) == {"a", "b", "v", "a/v"}, "v is also the last part of a variable's name"


def test_an_absolute_url_in_the_file_checkpoint_is_an_absolute_path(tmp_path: Path) -> None:
    """TensorFlow writes one where it saves into a bucket. The folder has since been downloaded."""
    mixed()[0].write(tmp_path / "m")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "gs://bucket/run/m"')
    assert opened(tmp_path).model.name == "m"

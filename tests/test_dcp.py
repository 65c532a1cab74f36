"""Distributed checkpoints of torch: parts that are joined, what is state or metadata, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paramctl.errors import InputError
from paramctl.source.open import open_path
from paramctl.store.checkpoint import Checkpoint
from tests.conftest import Run
from tests.dcp_files import FIXTURE, Index, sample

ROWS = (("__0_0.distcp", 0, 1641), ("__1_0.distcp", 2522, 1641))
"""The places of the two parts of row: rows 0 to 3, and 4 to 6."""
WHOLE = np.arange(42.0, dtype=np.float32).reshape(7, 6)


def opened(path: Path) -> Checkpoint:
    checkpoint = open_path(str(path)).checkpoint
    assert checkpoint is not None
    return checkpoint


def values(checkpoint: Checkpoint, name: str) -> np.ndarray:
    parameter = checkpoint.model.parameters[name]
    return checkpoint.reader.read(name, 0, parameter.size).reshape(parameter.shape)


def test_the_parts_of_two_processes_are_joined() -> None:
    """Tensors that are cut along rows, along columns, and not at all; the keys around all of them are no names."""
    found = opened(FIXTURE)
    assert {name: (each.shape, each.dtype) for name, each in found.model.parameters.items()} == {
        "row": ((7, 6), "float32"),
        "col": ((7, 6), "float32"),
        "rep": ((5, 6), "bfloat16"),
        "plain": ((7, 6), "float32"),
    }
    for name, want in (("row", WHOLE), ("col", WHOLE), ("plain", 2 * WHOLE)):
        assert np.array_equal(values(found, name), want), name
    assert values(found, "rep").astype(np.float32).reshape(-1).tolist() == list(range(30))


@pytest.mark.parametrize("name", ["row", "col"])
def test_any_range_is_read(name: str) -> None:
    found = opened(FIXTURE)
    for start in range(43):
        for stop in range(start, 43):
            assert np.array_equal(found.reader.read(name, start, stop), WHOLE.reshape(-1)[start:stop])


def test_only_the_parts_of_a_range_are_opened() -> None:
    found = opened(FIXTURE)
    found.reader.read("row", 0, 24)
    assert len(found.reader.readers) == 1  # type: ignore[attr-defined]


def test_state_and_plain_values(paramctl: Run, tmp_path: Path) -> None:
    found = opened(FIXTURE)
    assert found.origin.optimizer is not None
    assert list(found.origin.optimizer.arrays) == ["optim.state.row.exp_avg", "optim.state.row.step"]
    assert np.array_equal(found.origin.optimizer.reader.read("optim.state.row.exp_avg", 20, 30), np.arange(20, 30))
    assert found.origin.metadata == {"optim.param_groups.0.lr": 1e-3, "step": 4}
    done = paramctl("save", str(FIXTURE), "-o", "x.safetensors", check=True)
    assert "2 optimizer" in done.stderr
    assert np.array_equal(values(opened(tmp_path / "x.safetensors"), "col"), WHOLE)


def test_an_index_that_is_written_again_is_read(tmp_path: Path) -> None:
    """A part that is listed twice counts once; without paths, a name is a name."""
    sample(tmp_path)
    index = Index()
    parts = [((0, 0), (4, 6), *ROWS[0]), ((4, 0), (3, 6), *ROWS[1])]
    index.add("a.row", (7, 6), [*parts, parts[0]])
    index.write(tmp_path)
    found = opened(tmp_path)
    assert np.array_equal(values(found, "a.row"), WHOLE)


def test_an_array_without_values_may_be_in_any_number_of_parts(tmp_path: Path) -> None:
    sample(tmp_path)
    index = Index()
    index.add("none", (0, 6), [])
    index.add("two", (0, 6), [((0, 0), (0, 3), *ROWS[0]), ((0, 3), (0, 3), *ROWS[1])])
    index.write(tmp_path)
    found = opened(tmp_path)
    assert all(found.reader.read(name, 0, 0).tolist() == [] for name in ("none", "two"))


def rows(first: tuple[Any, ...] = ROWS[0], offsets: Any = (0, 0), sizes: Any = (4, 6)) -> list[tuple[Any, ...]]:
    return [(offsets, sizes, *first), ((4, 0), (3, 6), *ROWS[1])]


REFUSED: dict[str, tuple[Any, list[tuple[Any, ...]], str]] = {
    "a missing part": ((7, 6), rows()[:1], "the parts of w have 24 of 42 values"),
    "parts that overlap": ((8, 6), [*rows(), ((3, 0), (1, 6), *ROWS[0])], "the parts of w leave a gap, or overlap"),
    "a part outside": ((6, 6), rows(), "a part of w at (4, 0) ends outside the shape (6, 6)"),
    "other axes": ((7, 6), rows(offsets=(0,)), "a part of w has another number of axes"),
    "a negative size": ((7, -6), rows(), "must be non-negative integers"),
    "another file": ((7, 6), rows(("../x.distcp", 0, 9)), "must be in its folder (got '../x.distcp')"),
    "an absolute file": ((7, 6), rows(("/etc/passwd", 0, 9)), "must be in its folder (got '/etc/passwd')"),
    "a file that is missing": ((7, 6), rows(("x.distcp", 0, 9)), "x.distcp: No such file"),
    "a place beyond the end": ((7, 6), rows(("__0_0.distcp", 0, 10**9)), "truncated: "),
    "a negative place": ((7, 6), rows(("__0_0.distcp", -1, 10)), "w must have a place in '__0_0.distcp'"),
    "a transformed part": ((7, 6), rows((*ROWS[0], ["zstd"])), "w is transformed (zstd), which is not supported"),
    "a file that is no text": ((7, 6), rows((7, 0, 9)), "a part must have a name, a file"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_damaged_index_is_refused(what: str, tmp_path: Path) -> None:
    shape, parts, words = REFUSED[what]
    sample(tmp_path)
    index = Index()
    index.add("w", shape, parts)
    index.write(tmp_path)
    with pytest.raises(InputError) as error:
        opened(tmp_path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("place", [("__0_0.distcp", 1641, 1641), ("__0_0.distcp", 3, 1600), ("__1_0.distcp", 0, 1261)])
def test_a_part_that_is_another_object_is_refused(place: tuple[Any, ...], tmp_path: Path) -> None:
    """Another tensor, bytes that are no file of torch.save, and a number."""
    sample(tmp_path)
    index = Index()
    index.add("w", (7, 6), rows(place))
    index.write(tmp_path)
    found = opened(tmp_path)
    with pytest.raises(InputError, match="the part of w at") as error:
        found.reader.read("w", 0, 42)
    assert "\n" not in str(error.value)


def test_a_part_without_a_place_is_refused(tmp_path: Path) -> None:
    sample(tmp_path)
    index = Index()
    index.add("w", (7, 6), rows())
    index.write(tmp_path, storage_data={})
    with pytest.raises(InputError, match="the index has no place for w"):
        opened(tmp_path)


def test_dtypes_that_are_unknown_are_named(paramctl: Run, tmp_path: Path) -> None:
    sample(tmp_path)
    index = Index()
    index.add("w", (7, 6), rows())
    index.add("z", (7, 6), rows(), dtype="complex32")
    index.write(tmp_path)
    assert opened(tmp_path).origin.skipped == {"z": "a tensor of complex32"}


def test_a_changed_value_is_detected(paramctl: Run, tmp_path: Path) -> None:
    """Each part has a checksum, which is checked before all values are read."""
    sample(tmp_path)
    data = bytearray((tmp_path / "__1_0.distcp").read_bytes())
    place = data.index(np.arange(24, 42, dtype="<f4").tobytes())
    data[place] ^= 1
    (tmp_path / "__1_0.distcp").write_bytes(data)
    for command in (("stat", "."), ("save", ".", "-o", "x.h5")):
        done = paramctl(*command)
        assert done.returncode == 2
        assert "__1_0.distcp: damaged zip file" in done.stderr
    assert not (tmp_path / "x.h5").exists()


def test_one_file_of_several_is_not_read_alone(paramctl: Run, tmp_path: Path) -> None:
    """It is a zip behind another, of which a reader of zips finds the last alone."""
    sample(tmp_path)
    done = paramctl("summary", "__0_0.distcp")
    assert done.returncode == 2
    assert "folder" in done.stderr

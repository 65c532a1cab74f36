"""Histograms: the counts of numpy.histogram for every dtype, however the values are cut and by any number of threads."""

import csv
import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import paramctl as pc
from paramctl.cli.bars import edge_texts
from paramctl.core.dtypes import numpy_dtype
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.inspect.histogram import Bins, Counts, Histogram, bins_between, count, histograms
from paramctl.inspect.tally import tally
from paramctl.source.base import select_values
from paramctl.source.open import open_checkpoint
from tests.conftest import ROOT, Run

REAL = [name for name in DTYPE_BYTES if not name.startswith("complex")]


def ends(values: np.ndarray) -> tuple[float, float] | None:
    part = tally(values).parts[0]
    return (part.minimum, part.maximum) if part.size else None


def in_pieces(values: np.ndarray, bins: Bins, cuts: list[int]) -> Counts:
    return reduce(Counts.join, [count(piece, bins) for piece in np.split(values, sorted(cuts))])


def drawn(name: str, data: st.DataObject) -> np.ndarray:
    """Return values of any bits of a dtype."""
    dtype = numpy_dtype(name)
    raw = data.draw(st.binary(min_size=dtype.itemsize, max_size=40 * dtype.itemsize))
    if name == "bool":
        return np.frombuffer(raw, "u1") % 2 == 1
    return np.frombuffer(raw[: len(raw) // dtype.itemsize * dtype.itemsize], dtype)


@pytest.mark.parametrize("name", REAL)
@given(data=st.data())
def test_any_values_in_any_pieces_are_counted_as_numpy_counts(name: str, data: st.DataObject) -> None:
    """With a number of bins: NumPy's own edges and counts, as far as NumPy has an answer. No value is lost."""
    values = drawn(name, data)
    number = data.draw(st.integers(1, 30))
    cuts = data.draw(st.lists(st.integers(0, values.size), max_size=3))
    bins = bins_between(ends(values), name, values.size, number)
    counted = in_pieces(values, bins, cuts)
    with np.errstate(all="ignore"):
        wide = values.astype(np.float64)
        finite = wide[np.isfinite(wide)]
    assert int(counted.bins.sum()) == finite.size
    assert (counted.below, counted.above) == (0, 0)
    assert (counted.nan, counted.inf) == (np.isnan(wide).sum(), np.isinf(wide).sum())
    if not finite.size:
        assert bins.edges.size == 0
        return
    assert (bins.edges[0], bins.edges[-1]) == (finite.min(), finite.max())
    assert np.array_equal(counted.bins, np.histogram(finite, bins.edges)[0])
    if np.isfinite(finite.max() - finite.min()) and bins.edges.size == number + 1 and finite.min() < finite.max():
        counts, edges = np.histogram(finite, number)
        assert np.array_equal(bins.edges, edges)
        assert np.array_equal(counted.bins, counts)


@pytest.mark.parametrize("name", REAL)
@given(data=st.data())
def test_a_range_counts_what_is_outside(name: str, data: st.DataObject) -> None:
    """Those below and above are counted apart from infinities and NaN, and the sum is the size."""
    values = drawn(name, data)
    low = data.draw(st.floats(-100, 100))
    high = low + data.draw(st.floats(0.5, 100))
    number = data.draw(st.none() | st.integers(1, 30))
    bins = bins_between((low, high), name, values.size, number)
    counted = in_pieces(values, bins, [values.size // 2])
    with np.errstate(all="ignore"):
        wide = values.astype(np.float64)
    assert counted.below == (np.isfinite(wide) & (wide < low)).sum()
    assert counted.above == (np.isfinite(wide) & (wide > high)).sum()
    assert int(counted.bins.sum()) == ((wide >= low) & (wide <= high)).sum()
    assert int(counted.bins.sum()) + sum(counted[1:]) == values.size
    if number:
        assert np.array_equal(counted.bins, np.histogram(wide, number, (low, high))[0])


def of_file(path: Path, **options: object) -> dict[str, Histogram]:
    return {row.path: row for row in histograms(select_values(open_checkpoint(str(path)), []), **options)}


def test_integers_have_bins_of_whole_numbers(tmp_path: Path) -> None:
    """A bin for each integer where they are few, of several integers each where they are many, and two for a bool."""
    np.savez(
        tmp_path / "m.npz",
        few=np.array([3, 5, 5, 9], "u1"),
        many=np.arange(-50, 51),
        bits=np.array([True, False, True]),
        far=np.array([2**62, 2**62 + 2**40]),
    )
    rows = of_file(tmp_path / "m.npz")
    assert (rows["few"].edges, rows["few"].counts) == (tuple(range(3, 11)), (1, 0, 2, 0, 0, 0, 1))
    assert rows["many"].edges == tuple(range(-50, 57, 6))
    assert rows["many"].counts == (6,) * 16 + (5,)
    assert (rows["bits"].edges, rows["bits"].counts) == ((0, 1, 2), (1, 2))
    assert (rows["far"].edges, rows["far"].counts) == ((2.0**62, 2.0**62 + 2**39, 2.0**62 + 2**40), (1, 1))
    assert all(isinstance(edge, int) for name in ("few", "many", "bits") for edge in rows[name].edges)
    within = of_file(tmp_path / "m.npz", limits=(3.5, 7))["few"]
    assert (within.edges, within.counts, within.below, within.above) == ((4, 5, 6, 7, 8), (0, 2, 0, 0), 1, 1)


def test_ends_at_which_numpy_gives_up(tmp_path: Path) -> None:
    """One value, equal ones, neighbors, and a range beyond float64: each value is in a bin, and the ends are exact."""
    most = np.finfo("f8").max
    arrays = {
        "one": np.array([0.1], "f4"),
        "equal": np.full(7, 1e300),
        "near": np.array([1.0, np.nextafter(1.0, 2)]),
        "small": np.array([0.0, 5e-324]),
        "wide": np.array([-most, -5e-324, 0.0, most]),
        "nothing": np.zeros((3, 0)),
        "nan": np.array([np.nan, -np.inf]),
    }
    np.savez(tmp_path / "m.npz", **arrays)
    rows = of_file(tmp_path / "m.npz")
    assert {name: row.counts for name, row in rows.items() if name != "wide"} == {
        "one": (1,),
        "equal": (7,),
        "near": (2,),
        "small": (2,),
        "nothing": (),
        "nan": (),
    }
    assert rows["equal"].edges == (1e300, 1e300)
    assert rows["nothing"].edges == rows["nan"].edges == ()
    assert (rows["nan"].nan, rows["nan"].inf) == (1, 1)
    assert (rows["wide"].edges[0], rows["wide"].edges[-1]) == (-most, most)
    assert [at for at, number in enumerate(rows["wide"].counts) if number] == [0, 1]
    empty = of_file(tmp_path / "m.npz", limits=(-1, 1), bins=2)["nothing"]
    assert (empty.edges, empty.counts) == ((-1, 0, 1), (0, 0))


def test_complex_values_by_their_absolute_values(tmp_path: Path) -> None:
    """NaN in one part is NaN, and an infinity is infinite."""
    values = np.array([3 + 4j, 1, complex(np.nan, 1), complex(1, -np.inf), complex(np.inf, np.nan)], "c8")
    np.savez(tmp_path / "m.npz", w=values)
    row = of_file(tmp_path / "m.npz", bins=2)["w"]
    assert (row.edges, row.counts, row.nan, row.inf) == ((1, 3, 5), (1, 1), 2, 1)


def test_threads_and_known_tallies_change_nothing(tmp_path: Path) -> None:
    """Of an array of several pieces, read by one thread and by seven; and NumPy's own counts of all values at once."""
    rng = np.random.default_rng(1)
    values = rng.standard_normal((1100, 700), dtype="f4")
    values[5, 5] = np.nan
    np.savez(tmp_path / "m.npz", w=values)
    first = of_file(tmp_path / "m.npz", bins=33, threads=1)["w"]
    assert first == of_file(tmp_path / "m.npz", bins=33, threads=7)["w"]
    known = tally(values.reshape(-1))
    assert first == of_file(tmp_path / "m.npz", bins=33, tallies={0: known})["w"]
    finite = values[np.isfinite(values)].astype("f8")
    counts, edges = np.histogram(finite, 33)
    assert (first.counts, first.edges, first.nan) == (tuple(counts), tuple(edges), 1)


def in_a_terminal(columns: int, *arguments: str, cwd: Path, **environment: str) -> str:
    """Return what the command draws on a terminal of this width."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "PARAMCTL_PAGER": "cat"} | environment
    environment.pop("COLUMNS", None)
    command = [sys.executable, "-m", "paramctl", "histogram", *arguments]
    process = subprocess.Popen(command, cwd=cwd, stdout=side, stderr=subprocess.PIPE, env=environment)
    os.close(side)
    data = b""
    with suppress(OSError):  # the terminal ends with the process
        while piece := os.read(main, 1 << 16):
            data += piece
    assert process.wait() == 0
    return data.decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    values = np.array([0, 1, 1, 1, 1, 2, 2, 3.5, 4, np.nan, np.inf], "f4")
    np.savez(tmp_path / "m.npz", w=values, n=np.array([1, 2, 2, 7], "u1"))
    return tmp_path


def test_a_drawing(folder: Path, paramctl: Run) -> None:
    """The ends and counts of each bin, bars in eighths, and the values in no bin; integers by their values."""
    done = paramctl("histogram", "m.npz", "w", "--bins", "4", "--range", "0,3")
    assert done.stdout.splitlines() == [
        "w (11,) float32: 11 values",
        "0.00  0.75  1  " + "█" * 16 + "▎",
        "0.75  1.50  4  " + "█" * 65,
        "1.50  2.25  2  " + "█" * 32 + "▌",
        "2.25  3.00  0",
        "In no bin: 2 above, 1 NaN, 1 Inf",
    ]
    lines = paramctl("histogram", "m.npz", "n", "--log").stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        [str(k), str(n)] for k, n in enumerate([1, 2, 0, 0, 0, 0, 1], 1)
    ]
    assert lines[0].endswith(", log scale")
    assert len(lines[1].split()[2]) == pytest.approx(75 * np.log(2) / np.log(3), abs=1)


def test_bars_fit_the_terminal_and_its_encoding(folder: Path) -> None:
    for columns in (40, 133):
        lines = in_a_terminal(columns, "m.npz", "w", cwd=folder).splitlines()
        assert max(map(len, lines)) == columns
    text = in_a_terminal(60, "m.npz", "w", cwd=folder, PYTHONIOENCODING="ascii")
    assert text.isascii()
    assert max(line.count("#") for line in text.splitlines()) > 30


def test_rows_for_programs(folder: Path, paramctl: Run) -> None:
    """A row for each bin and for each kind of values in none; they add up to the size."""
    rows = json.loads(paramctl("histogram", "m.npz", "w", "--range", "1,3", "--bins", "2", "--format", "json").stdout)
    assert rows == [
        {"path": "w", "kind": "bin", "low": 1.0, "high": 2.0, "count": 4},
        {"path": "w", "kind": "bin", "low": 2.0, "high": 3.0, "count": 2},
        {"path": "w", "kind": "below", "low": None, "high": 1.0, "count": 1},
        {"path": "w", "kind": "above", "low": 3.0, "high": None, "count": 2},
        {"path": "w", "kind": "nan", "low": None, "high": None, "count": 1},
        {"path": "w", "kind": "inf", "low": None, "high": None, "count": 1},
    ]
    table = list(csv.DictReader(io.StringIO(paramctl("histogram", "m.npz", "--format", "csv").stdout)))
    assert sum(int(row["count"]) for row in table) == 15


def test_a_model_is_drawn_by_its_initializers(paramctl: Run) -> None:
    """The counts of a document with a seed are those of the file that init writes with it."""
    model = str(ROOT / "sample_models/mlp.yaml")
    paramctl("init", model, "--seed", "5", "-o", "m.h5", "-q")
    drawn = paramctl("histogram", model, "--seed", "5").stdout
    assert drawn == paramctl("histogram", "m.h5").stdout
    assert drawn.startswith("dense/kernel (4, 4) float32: 16 values\n")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--range", "1"], "two numbers with a comma"),
        (["--range", "2,1"], "range must be two finite numbers, the lower one first (got [2.0, 1.0])"),
        (["--range", "0,nan"], "range must be two finite numbers"),
        (["--bins", "0"], "--bins"),
        (["--force"], "--force requires --plot"),
        (["--plot", "p.gif"], "must end in .svg, .png or .pdf"),
        (["--plot", "p.png"], "pip install 'paramctl[plot]'"),
        (["x"], "m has no parameter with this name"),
    ],
)
def test_wrong_options_are_one_line(options: list[str], says: str, folder: Path, paramctl: Run) -> None:
    (folder / "matplotlib.py").write_text("raise ImportError\n")
    done = paramctl.process("histogram", "m.npz", *options, env={"PYTHONPATH": f"{folder}:{ROOT}"})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr
    assert not [*folder.glob("p.*")]


def test_texts_of_edges_differ() -> None:
    """With few digits where few are enough, without -0, and exact where float64 has no more digits."""
    assert edge_texts([-0.5, -1e-17, 0.5]) == ["-0.50", "0.00", "0.50"]
    assert edge_texts([1e-9, 2e-9]) == ["1.0e-09", "2.0e-09"]
    assert edge_texts([1.0, 1 + 2**-52]) == ["1.0000000000000000e+00", "1.0000000000000002e+00"]
    assert edge_texts([1000, 2000]) == ["1,000", "2,000"]
    most = float(np.finfo("f8").max)
    assert edge_texts([-most, 0.0, most]) == ["-1.8e+308", "0.0e+00", "1.8e+308"]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=9, unique=True))
def test_texts_of_any_edges_differ(edges: list[float]) -> None:
    edges = sorted({edge + 0.0 for edge in edges})
    texts = edge_texts(edges)
    assert len(set(texts)) == len(edges)
    assert sorted(texts, key=float) == texts


def test_a_column_of_stat(folder: Path, paramctl: Run) -> None:
    """The counts of at most 16 bins, of arrays and of groups, drawn as blocks; none for complex values."""
    rng = np.random.default_rng(3)
    arrays = {"a/w": rng.standard_normal(900, dtype="f4"), "a/v": rng.standard_normal(500, dtype="f4") * 2}
    np.savez(
        folder / "g.npz", **arrays, **{"b/c": np.ones(3, "c8"), "b/n": np.array([np.nan]), "i/t": np.array([1, 3, 3])}
    )
    rows = json.loads(paramctl("stat", "g.npz", "--histogram", "--format", "json").stdout)
    facts = {row["path"]: row["histogram"] for row in rows}
    for path, values in arrays.items():
        counts, edges = np.histogram(values.astype("f8"), 16)
        assert facts[path] == {"low": edges[0], "high": edges[-1], "counts": counts.tolist()}
    assert (facts["b/c"], facts["b/n"]) == (None, None)
    assert facts["i/t"] == {"low": 1, "high": 4, "counts": [1, 0, 2]}
    groups = paramctl("stat", "g.npz", "a", "--per", "block", "--total", "--histogram", "--format", "jsonl").stdout
    both = np.concatenate([*arrays.values()]).astype("f8")
    for line in groups.splitlines():
        assert json.loads(line)["histogram"]["counts"] == np.histogram(both, 16)[0].tolist()
    table = paramctl("stat", "g.npz", "i/t", "--columns", "histogram,path").stdout.splitlines()
    assert table[0].split() == ["Histogram", "Parameter"]
    assert table[2].startswith("▄ █ ")
    text = paramctl.process("stat", "g.npz", "i/t", "--histogram", env={"PYTHONIOENCODING": "ascii"}).stdout
    assert text.rstrip().endswith(" = @")
    ((cell,),) = list(
        csv.reader(io.StringIO(paramctl("stat", "g.npz", "i/t", "--columns", "histogram", "--format", "csv").stdout))
    )[1:]
    assert json.loads(cell) == facts["i/t"]
    assert pc.stat(folder / "g.npz", "i/t", histogram=True).rows[0].histogram == ((1.0, 2.0, 3.0, 4.0), (1, 0, 2))

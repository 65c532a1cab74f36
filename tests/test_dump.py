"""paramctl dump: values as text and bytes, of a model or a checkpoint, as much of them as is asked for."""

import csv
import io
import itertools
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from paramctl.library.text_blocks import value_texts
from paramctl.library.value_rows import index_tuples
from tests import forks
from tests.conftest import ROOT, Run
from tests.formats import ANY, SUFFIXES

FIXTURES = ROOT / "tests/fixtures"
MLP = str(ROOT / "sample_models/mlp.yaml")
TIED = (
    "input: [6]\nlayers:\n  - dense: {name: a, units: 5}\n  - dense: {name: b, units: 6}\n"
    "ties: [{keep: a/kernel, tie: b/kernel, transpose: true}]\n"
)
LARGE = "input: [700]\nlayers:\n  - dense: {units: 900, bias_initializer: random_normal}\n"


@pytest.fixture
def values(paramctl: Run, tmp_path: Path) -> dict[str, np.ndarray]:
    """Return the arrays that h5py reads in m.h5, which is in the folder of m.yaml."""
    (tmp_path / "m.yaml").write_text(LARGE)
    assert paramctl("init", "m.yaml", "-q").returncode == 0
    with h5py.File(tmp_path / "m.h5") as file:
        return {name: file[f"dense/{name}"][()] for name in ("kernel", "bias")}


def raw(*arguments: str, cwd: Path, **options: object) -> bytes:
    return Run(cwd)("dump", *arguments, check=True, text=False, **options).stdout


SLICES = [
    "",
    "[0]",
    "[-1]",
    "[3, 5]",
    "[:2]",
    "[0, :5]",
    "[..., -1]",
    "[::100]",
    "[5:1:-2, 897:]",
    "[690:, ::-300]",
    "[7:7]",
    "[:, 3:4]",
    "[ 1 , : ]",
]


@pytest.mark.parametrize("text", SLICES)
def test_a_slice_is_numpys(text: str, values: dict[str, np.ndarray], paramctl: Run, tmp_path: Path) -> None:
    """From the file, from the model and from a pipe; in each form that holds values exactly, and as NumPy prints them."""
    expected = eval(f"kernel{text}", {"kernel": values["kernel"]})  # noqa: S307
    address = f"dense/kernel{text}"
    for source in ("m.h5", "m.yaml"):
        assert np.array_equal(np.load(io.BytesIO(raw(source, address, "--format", "npy", cwd=tmp_path))), expected)
        assert raw(source, address, "--format", "raw", cwd=tmp_path) == expected.tobytes()
        assert paramctl("dump", source, address).stdout == f"{np.array2string(np.asarray(expected))}\n"
    made = json.loads(paramctl("dump", "m.h5", address, "--format", "json").stdout)
    assert list(made) == ["dense/kernel"]
    assert np.array_equal(np.array(made["dense/kernel"], "float32").reshape(np.shape(expected)), expected)
    lines = list(csv.reader(io.StringIO(paramctl("dump", "m.h5", address, "--format", "csv").stdout)))
    assert lines[0] == ["path", "i0", "i1", "value"]
    for path, *index, value in lines[1:]:
        assert path == "dense/kernel"
        assert values["kernel"][tuple(map(int, index))] == np.float32(value), "the place is that in the whole"
    assert len(lines) - 1 == expected.size


def test_several_in_the_sources_order_each_once(values: dict[str, np.ndarray], paramctl: Run) -> None:
    done = paramctl("dump", "m.h5", "dense/bias[:1]", "**[0]", "dense/bias[:1]", "--format", "jsonl")
    names = [(each["path"], each["shape"]) for each in map(json.loads, done.stdout.splitlines())]
    assert names == [("dense/kernel", [900]), ("dense/bias[:1]", [1]), ("dense/bias[0]", [])]


def test_without_an_address_every_array_once(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TIED)
    assert list(json.loads(paramctl("dump", "t.yaml", "--format", "json").stdout)) == ["a/kernel", "a/bias", "b/bias"]


@pytest.mark.parametrize("name", ["t.yaml", *ANY])
def test_either_name_of_a_transposed_tie(name: str, paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TIED)
    if name != "t.yaml":
        paramctl("save", "t.yaml", "-o", name)
    kept, other = (
        json.loads(paramctl("dump", name, "*/kernel", "--format", "json").stdout)[f"{x}/kernel"] for x in "ab"
    )
    assert np.array(kept).shape == (6, 5)
    assert np.array_equal(np.array(kept).T, other)
    part = json.loads(paramctl("dump", name, "b/kernel[1:4, ::2]", "--format", "json").stdout)["b/kernel"]
    assert np.array_equal(np.array(kept).T[1:4, ::2], part)


def test_a_blocks_name_means_all_below_it_and_headings_tell_them_apart(paramctl: Run) -> None:
    text = paramctl("dump", MLP, "dense_1").stdout
    assert text.startswith("dense_1/kernel (4, 1) float32\n[[")
    assert text.endswith("\n\ndense_1/bias (1,) float32\n[0.]\n")


def test_numpys_options(values: dict[str, np.ndarray], paramctl: Run) -> None:
    kernel = values["kernel"]
    short = paramctl("dump", "m.h5", "dense/kernel", "--precision", "2", "--threshold", "10").stdout
    assert short == f"{np.array2string(kernel, precision=2, threshold=10)}\n"
    full = paramctl("dump", "m.h5", "dense/kernel[:20]", "--full").stdout
    assert full == f"{np.array2string(kernel[:20], threshold=10**9)}\n"
    assert "..." not in full
    refused = paramctl("dump", "m.h5", "dense/kernel", "--format", "csv", "--full")
    assert (refused.returncode, "--full requires --format numpy" in refused.stderr) == (2, True)


def test_npz_holds_many_and_npy_one(values: dict[str, np.ndarray], tmp_path: Path, paramctl: Run) -> None:
    archive = np.load(io.BytesIO(raw("m.h5", "--format", "npz", cwd=tmp_path)))
    assert list(archive) == ["dense/kernel", "dense/bias"]
    assert all(np.array_equal(archive[f"dense/{name}"], each) for name, each in values.items())
    (tmp_path / "m.npz").write_bytes(raw("m.h5", "--format", "npz", cwd=tmp_path))
    assert raw("m.npz", "dense/bias", "--format", "raw", cwd=tmp_path) == values["bias"].tobytes(), "and is read again"
    refused = paramctl("dump", "m.h5", "--format", "npy")
    assert (refused.returncode, "npy holds one parameter (got 2)" in refused.stderr) == (2, True)


DTYPES = ["float16", "bfloat16", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_read_back_the_same(dtype: str, paramctl: Run, tmp_path: Path) -> None:
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    paramctl("init", MLP, "--dtype", dtype, "-o", "m.h5", "-q")
    exact = np.frombuffer(raw("m.h5", "dense/kernel", "--format", "raw", cwd=tmp_path), kind).reshape(4, 4)
    made = json.loads(paramctl("dump", "m.h5", "dense/kernel", "--format", "json").stdout)["dense/kernel"]
    assert np.array_equal(np.array(made, "float64").astype(kind), exact)
    loaded = np.load(io.BytesIO(raw("m.h5", "dense/kernel", "--format", "npy", cwd=tmp_path)))
    assert loaded.dtype == (np.float32 if dtype == "bfloat16" else kind)
    assert np.array_equal(loaded.astype(kind), exact)


def test_nan_and_infinity_are_text_in_json(paramctl: Run, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "n.h5", "w") as file:
        file["w"] = np.array([1, np.nan, np.inf, -np.inf], "float32")
        file["flags"] = np.array([True, False])
        file["whole"] = np.array([2**53 + 1, -3])
        file["empty"] = np.zeros((2, 0), "float32")
        file["scalar"] = np.float32(0.1)
    made = json.loads(paramctl("dump", "n.h5", "--format", "json").stdout)
    assert made["w"] == [1.0, "NaN", "Infinity", "-Infinity"]
    assert made["flags"] == [True, False]
    assert made["whole"] == [2**53 + 1, -3]
    assert made["empty"] == [[], []]
    assert made["scalar"] == 0.1, "the shortest text that is this float32"
    lines = paramctl("dump", "n.h5", "w", "scalar", "--format", "csv").stdout.splitlines()
    assert lines == ["path,i0,value", "scalar,,0.1", "w,0,1.0", "w,1,nan", "w,2,inf", "w,3,-inf"]


@pytest.mark.parametrize("suffix", [".yaml", *SUFFIXES])
def test_a_pipe_is_detected_by_its_first_bytes(
    suffix: str, values: dict[str, np.ndarray], paramctl: Run, tmp_path: Path
) -> None:
    if suffix not in (".yaml", ".h5"):
        assert paramctl("save", "m.yaml", "-o", f"m{suffix}").returncode == 0
    data = (tmp_path / f"m{suffix}").read_bytes()
    out = raw("-", "dense/kernel[5]", "--format", "raw", cwd=tmp_path, input=data)
    assert out == values["kernel"][5].tobytes()


def test_a_pipe_that_comes_in_drops_is_read_in_order_by_many_threads(
    values: dict[str, np.ndarray], paramctl: Run, tmp_path: Path
) -> None:
    """Several threads ask for different places of what is still to come."""
    paramctl("save", "m.yaml", "-o", "m.safetensors")
    drops = f"{sys.executable} -c \"import sys, os; d = open('m.safetensors', 'rb').read(); [os.write(1, d[k : k + 777]) for k in range(0, len(d), 777)]\""
    for _ in range(5):
        line = f"{drops} | {forks.shell_command()} save - -o again.safetensors --force -q"
        subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=tmp_path, check=True, capture_output=True)
        assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()


def test_pipelines_with_nothing_on_disk(tmp_path: Path) -> None:
    command = forks.shell_command()
    line = f"{command} init {MLP} --scheme constant:2 -o - | {command} dump - 'dense/kernel[0]' --format csv"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[1:] == [f"dense/kernel,0,{k},2.0" for k in range(4)]
    assert os.listdir(tmp_path) == []


def test_a_closed_pipe_is_quiet_and_a_full_disk_is_one_line(values: dict[str, np.ndarray], tmp_path: Path) -> None:
    command = f"{forks.shell_command()} dump m.h5 --format csv"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -2; exit ${{PIPESTATUS[0]}}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (141, "")
    assert done.stdout.startswith("path,i0,i1,value\ndense/kernel")
    for format_ in ("csv", "npy", "numpy"):
        full = subprocess.run(
            ["bash", "-c", f"{forks.shell_command()} dump m.h5 dense/kernel --format {format_} > /dev/full"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert (full.returncode, full.stderr) == (2, "standard output: No space left on device\n")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("dense/kernl", "m has no parameter with this name (got 'dense/kernl'). Did you mean 'dense/kernel'?"),
        ("dense/kernel[700]", "axis 0 of dense/kernel has the size 700 (got the index 700"),
        ("dense/kernel[0, -901]", "axis 1 of dense/kernel has the size 900 (got the index -901"),
        ("dense/kernel[1,2,3]", "dense/kernel has only 2 axes (got 3 indices"),
        (
            "dense/kernel[1.5]",
            "an index must be an integer, a:b, a:b:step, or ... (character 14) (got 'dense/kernel[1.5]'",
        ),
        ("dense/kernel[0, x]", "(character 17)"),
        ("dense/kernel[::0]", "the step of a slice may not be 0 (character 14)"),
        ("dense/kernel[..., ...]", "a slice may have at most one '...'"),
        ("dense/kernel[0", "a slice must end with ']' (character 14)"),
        ("dense/kernel[]", "a slice must contain an index, a:b, or ..."),
        ("dense//kernel", "a name in an address may not be empty (character 7)"),
    ],
)
def test_a_wrong_address_is_one_line(address: str, says: str, values: dict[str, np.ndarray], paramctl: Run) -> None:
    done = paramctl("dump", "m.h5", address)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr


def test_a_slice_of_ten_gigabytes_is_drawn_alone(paramctl: Run, tmp_path: Path) -> None:
    """It takes the memory of a start, not of the parameter."""
    (tmp_path / "m.yaml").write_text("input: [50000]\nlayers: [{dense: {units: 50000, use_bias: false}}]\n")
    limited = f"ulimit -v 1500000; {sys.executable} -m paramctl dump m.yaml 'dense/kernel[49999, -2:]' --format csv"
    done = subprocess.run(
        ["bash", "-c", limited],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.stdout.splitlines()[1].startswith("dense/kernel,49999,49998,"), done.stderr
    shortened = paramctl("dump", "m.yaml")
    assert shortened.stdout.count("...") == 7, "NumPy's short form reads edges alone"


def test_a_document_with_an_unknown_input_has_no_values(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("layers: [{dense: 3}]\n")
    done = paramctl("dump", "m.yaml")
    assert (done.returncode, "1 layer needs the shape of an input. Use --input-shape." in done.stderr) == (
        2,
        True,
    )
    assert paramctl("dump", "m.yaml", "--input-shape", "2", "dense/bias").stdout == "[0. 0. 0.]\n"


CSV_NAMES = ["a,b", 'say "x"', "new\nline", "return\rhere", "both\r\n", " spaces ", "=1+1", "plain", '"', "é"]


@pytest.mark.parametrize(
    "command", ["dump", "summary", "summary --parameters", "stat", "set", "diff", "ties --find", "save"]
)
def test_csv_is_that_of_rfc_4180(command: str, paramctl: Run, tmp_path: Path) -> None:
    """A name with a comma, a quote or an end of a line is in quotes, in every command that prints CSV."""
    save_file({name: np.ones(2, "f4") for name in CSV_NAMES}, tmp_path / "m.safetensors")
    save_file({name: np.zeros(2, "f4") for name in CSV_NAMES}, tmp_path / "n.safetensors")
    name, *options = command.split()
    options += {
        "set": ["* = 2", "--dry-run"],
        "diff": ["n.safetensors"],
        "save": ["--rename", "*=*", "-o", "o.npz"],
    }.get(name, [])
    done = paramctl(name, "m.safetensors", *options, "--format", "csv", text=False)
    text = done.stdout.decode()
    assert text, done.stderr
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert {len(row) for row in rows} == {len(rows[0])}
    cells = {cell for row in rows for cell in row}
    assert cells >= {*CSV_NAMES} or name == "ties"
    if name == "ties":  # one cell has the names of a group
        assert any(all(name in cell for name in CSV_NAMES[1:]) for cell in cells) or cells >= {*CSV_NAMES[1:]}


def test_both_names_of_a_tied_array_are_printed(paramctl: Run, tmp_path: Path) -> None:
    """As two addresses and as one pattern; without an address, the array is printed once."""
    (tmp_path / "m.yaml").write_text(TIED)
    headings = [line for line in paramctl("dump", "m.yaml", "a/kernel", "b/kernel").stdout.splitlines() if "/" in line]
    assert headings == ["a/kernel (6, 5) float32", "b/kernel (5, 6) float32"]
    assert [line for line in paramctl("dump", "m.yaml", "*/kernel").stdout.splitlines() if "/" in line] == headings
    assert "b/kernel" not in paramctl("dump", "m.yaml").stdout


@pytest.mark.parametrize("name", ["adapter.safetensors", "odd.safetensors"])
def test_a_whole_name_in_quotes_is_that_array(name: str, paramctl: Run) -> None:
    """In a file of torch's names, which dots separate, and in one of names with every special character."""
    path = FIXTURES / name
    with safe_open(path, "np") as file:
        for array in file.keys():  # noqa: SIM118  not a mapping
            quote = "'" if "'" not in array else '"'
            printed = paramctl("dump", str(path), f"{quote}{array}{quote}", "--format", "json").stdout
            ((shown, values),) = json.loads(printed).items()
            assert shown == array
            assert np.array_equal(np.array(values, "f4"), file.get_tensor(array))


def csv_rows(paramctl: Run, *arguments: str) -> list[list[str]]:
    done = paramctl("dump", *arguments, "--format", "csv")
    assert (done.returncode, done.stderr) == (0, "")
    return list(csv.reader(io.StringIO(done.stdout, newline=""), strict=True))


@pytest.fixture
def ranks(tmp_path: Path) -> dict[str, np.ndarray]:
    """Return arrays of several ranks, one of each, which are in r.npz; their values are distinct."""
    shapes = {"s": (), "v": (5,), "m": (3, 4), "t": (2, 3, 4), "e": (0, 3), "a,b{0}%s": (1, 2)}
    arrays = {name: np.arange(np.prod(shape, dtype=int)).reshape(shape) / 8 for name, shape in shapes.items()}
    np.savez(tmp_path / "r.npz", **arrays)
    return arrays


def test_a_csv_has_an_index_column_for_each_axis(ranks: dict[str, np.ndarray], paramctl: Run) -> None:
    """As many as the highest rank; the last ones are empty for lower ranks. All values are in order."""
    header, *lines = csv_rows(paramctl, "r.npz")
    assert header == ["path", "i0", "i1", "i2", "value"]
    assert [line[0] for line in lines] == [name for name, array in ranks.items() for _ in range(array.size)]
    for path, *index, value in lines:
        rank = ranks[path].ndim
        assert index[rank:] == [""] * (3 - rank)
        assert ranks[path][tuple(map(int, index[:rank]))] == float(value)


def test_any_columns_in_any_order(ranks: dict[str, np.ndarray], paramctl: Run) -> None:
    """Before, between and after the value; of names with the characters of templates; some axes of many."""
    lines = csv_rows(paramctl, "r.npz", "t", "a,b{0}%s", "--columns", "i2, value,index,i0,path,real,imag")
    assert lines[0] == ["i2", "value", "index", "i0", "path", "real", "imag"]
    for i2, value, index, i0, path, real, imag in lines[1:]:
        place = tuple(map(int, index.split(",")))
        assert (i0, i2) == (str(place[0]), str(place[2]) if len(place) > 2 else "")
        assert ranks[path][place] == float(value) == float(real)
        assert imag == "0"
    assert len(lines) == 1 + 24 + 2
    assert csv_rows(paramctl, "r.npz", "m[1, ::-2]", "--columns", "value,i1") == [
        ["value", "i1"],
        ["0.875", "3"],
        ["0.625", "1"],
    ]
    assert paramctl("dump", "r.npz", "s", "v[0]", "--format", "csv", "--columns", "i0").stdout == 'i0\n""\n0\n'


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--format", "csv", "--columns", "path,i3"], "columns must be some of path, i0, i1, i2, index, value, real"),
        (["--format", "csv", "--columns", "valu"], "Did you mean 'value'?"),
        (["--format", "csv", "--columns", "path,path"], "each named once"),
        (["--format", "csv", "--columns", ""], "columns must be some of"),
        (["--format", "json", "--columns", "path"], "columns are for the formats csv, arrow, parquet (got json)"),
    ],
)
def test_wrong_columns_are_one_line(options: list[str], says: str, ranks: object, paramctl: Run) -> None:
    done = paramctl("dump", "r.npz", *options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr


def test_the_texts_of_a_csv_by_dtype(paramctl: Run, tmp_path: Path) -> None:
    """Bools are words, but numbers beside numbers. Complex values have two columns, and NaN and infinities names."""
    np.savez(
        tmp_path / "d.npz",
        b=np.array([True, False]),
        c=np.array([1.5 - 0.1j, complex(np.nan, np.inf)], "c8"),
        f=np.array([0.1, -np.inf, -0.0], "f4"),
        u=np.array([2**64 - 1], "u8"),
    )
    assert csv_rows(paramctl, "d.npz", "b")[1:] == [["b", "0", "true"], ["b", "1", "false"]]
    assert [line[-1] for line in csv_rows(paramctl, "d.npz", "b", "u")[1:]] == ["1", "0", str(2**64 - 1)]
    header, *lines = csv_rows(paramctl, "d.npz", "c", "f")
    assert header == ["path", "i0", "real", "imag"]
    assert [line[2:] for line in lines] == [["1.5", "-0.1"], ["nan", "inf"], ["0.1", "0"], ["-inf", "0"], ["-0.0", "0"]]
    texts = [line[0] for line in csv_rows(paramctl, "d.npz", "c", "--columns", "value")[1:]]
    assert np.complex64(complex(texts[0])) == np.complex64(1.5 - 0.1j)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50))
def test_the_text_of_a_float64_is_numpys(bits: list[int]) -> None:
    """Of any bits: Python's own text, which is faster, is the same."""
    values = np.array(bits, "u8").view("f8")
    assert value_texts(values) == list(map(str, values))


@pytest.mark.parametrize("ranges", [(range(0),), (), (range(3), range(0)), (range(5, -1, -2), range(2))])
def test_indices_are_those_of_their_product(ranges: tuple[range, ...]) -> None:
    assert list(index_tuples(ranges)) == [tuple(map(str, index)) for index in itertools.product(*ranges)]


@pytest.mark.parametrize("shape", [(300_000,), (1, 200_000, 1), (2, 70_001), (70_001, 2), (3, 1, 40_000)])
def test_indices_of_long_axes_are_computed_in_parts(shape: tuple[int, ...]) -> None:
    """In order, none left out, and few in memory, whichever axis is long."""
    ranges = tuple(map(range, shape))
    tracemalloc.start()
    last = sum(1 for _ in index_tuples(ranges))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert last == np.prod(shape)
    assert peak < 12_000_000
    for at, index in enumerate(index_tuples(ranges)):
        if at % 9973 == 0:
            assert index == tuple(map(str, np.unravel_index(at, shape)))


@pytest.mark.parametrize("format_", ["arrow", "parquet"])
def test_tables_require_pyarrow(format_: str, paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError\n")
    done = paramctl.process("dump", MLP, "--format", format_, env={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"the format {format_} requires pyarrow: pip install 'paramctl[arrow]'\n"

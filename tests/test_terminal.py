"""Output on a terminal: tables that fit it, colors, and the pager. A pipe always gets everything."""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from unicodedata import east_asian_width

import numpy as np
import pytest

from paramctl.cli import all_commands, display
from paramctl.cli.command import Command
from paramctl.cli.fitting import TextColumn, display_width, fit, shorten, shorten_all
from tests.conftest import ROOT, Call

PATHS = [f"encoder/layer-{layer}/attention/{name}/kernel" for layer in range(3) for name in ("query", "key", "value")]


def column(heading: str, texts: Sequence[str], **options: object) -> TextColumn:
    return TextColumn(heading, texts, **options)  # type: ignore[arg-type]


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output counts as a terminal of 80 columns."""
    monkeypatch.setattr(display, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")


def test_a_path_lacks_its_middle() -> None:
    assert shorten("encoder/layer-0/attention/kernel", 26) == "encoder/…/attention/kernel"
    assert shorten("encoder.layer-0.attention.kernel", 26) == "encoder.….attention.kernel"
    assert shorten("a" * 20 + "b" * 20, 11) == "aaa…bbbbbbb"
    assert shorten("short", 5) == "short"


@pytest.mark.parametrize("width", range(12, 45))
def test_a_set_of_numbers_is_whole_or_left_out(width: int) -> None:
    """A shortened name such as block-[0…kernel would look like an address."""
    for path in ("block-[0..11]/attention/multi_head_attention", "model.layers.[0..2,4..31].w[1..2]_projection"):
        for kept in range(1, 4):
            short = shorten(path, width, kept)
            assert len(short) <= max(width, 12)
            assert short.count("[") == short.count("]")
            assert all(text in path for text in short.split("…"))


def test_a_path_keeps_the_numbers_that_tell_it_apart() -> None:
    """The names at the beginning, and the last ones that fit, are the same in all layers."""
    paths = [f"model.language_model.encoder.layers.{n}.self_attention.query_key_value.weight" for n in range(12)]
    assert shorten_all(paths, 38) == [f"model.….{n}.….query_key_value.weight" for n in range(12)]


@pytest.mark.parametrize("width", range(31, 45))
def test_shortened_names_tell_the_paths_apart(width: int) -> None:
    """Whichever of their names differ, and they fit."""
    short = shorten_all(PATHS, width)
    assert len(set(short)) == len(PATHS)
    assert max(map(len, short)) <= width


@pytest.mark.parametrize("width", [20, 30, 40, 50, 60, 80, 200])
def test_a_table_fits_and_names_what_it_lacks(width: int) -> None:
    """The first column stays, and the columns left out have the lowest priority."""
    columns = [
        column("Parameter", PATHS, shrinks=True),
        column("Shape", ["(512, 512)"] * 9, priority=0),
        column("Note", ["a sentence of several words that may be long"] * 9, shrinks=True, priority=3),
        column("Size", ["262,144"] * 9, right=True, priority=2),
    ]
    columns, left_out, shortened = fit(columns, width)
    headings = [each.heading for each in columns]
    assert headings[0] == "Parameter"
    assert left_out == [name for name in ("Shape", "Note", "Size") if name not in headings]
    assert left_out in ([], ["Note"], ["Note", "Size"], ["Shape", "Note", "Size"])
    total = sum(each.width for each in columns) + 2 * (len(columns) - 1)
    assert total <= width or headings == ["Parameter"]
    assert len(set(columns[0].texts)) == len(PATHS), "names that differ stay different"
    assert (left_out == shortened == []) is (width == 200)


def test_numbers_and_shapes_are_never_shortened() -> None:
    columns, *_ = fit(
        [column("Parameter", ["w"]), column("Shape", ["(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)"], priority=-1)], 20
    )
    assert columns[1].texts == ["(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)"]


def test_a_column_without_values_is_left_out_first() -> None:
    columns = [column("Parameter", ["w" * 20]), column("First", [""], priority=0), column("Size", ["1"], priority=9)]
    assert fit(columns, 28).left_out == ["First"]


def test_notes_are_shortened_and_their_numbers_are_not() -> None:
    columns = [column("P", ["w"]), column("Size", ["40"], notes=["(= encoder/layer-0/attention/kernel)"], right=True)]
    (_, size), left_out, shortened = fit(columns, 40)
    assert (left_out, shortened, size.cells()) == ([], ["Size"], ["  40 (= encoder/…/attention/kernel)"])


def test_wide_characters_are_measured_as_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By wcwidth, or by a stand-in if it is not installed."""
    if find_spec("wcwidth") is None:
        stand_in = SimpleNamespace(wcswidth=lambda text: sum(1 + (east_asian_width(each) in "WF") for each in text))
        monkeypatch.setitem(sys.modules, "wcwidth", stand_in)
    assert display_width("層") == 2
    (names,), _, _ = fit([column("N", ["層" * 30], shrinks=True)], 24)
    assert display_width(names.texts[0]) in (23, 24)


@pytest.mark.parametrize("columns", ["1", "20", "0", "80", "x"])
@pytest.mark.usefixtures("on_terminal")
def test_every_width_of_a_terminal_works(columns: str, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    np.savez("m.npz", **{f"encoder/layer-{n}/attention/\x1b[2J/kernel": np.zeros((3, 4)) for n in range(3)})
    code, out, err = call("stat", "m.npz")
    assert (code, err, "\x1b" in out) == (0, "", False)
    assert len({line.split()[0] for line in out.splitlines()[2:5]}) == 3
    if columns in ("0", "80", "x"):
        assert max(map(len, out.splitlines())) <= 80
    assert "Not shown:" in out
    assert "--wide" in out


@pytest.mark.usefixtures("on_terminal")
def test_the_numbers_of_equal_blocks_are_left_out_before_their_parameters(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "52")
    heading = call("summary", str(ROOT / "sample_models" / "gpt2.yaml"), "--group")[1].splitlines()[2]
    assert heading.split() == ["Layer", "Parameters"]


@pytest.mark.usefixtures("on_terminal")
def test_a_model_from_standard_input_is_read_once(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its summary is longer than the screen, so that equal blocks are found afterwards."""
    monkeypatch.setenv("LINES", "24")
    file = str(ROOT / "sample_models" / "gpt2.yaml")
    from_file = call("summary", file, "--no-pager")
    with open(file) as stream:
        monkeypatch.setattr("sys.stdin", stream)
        from_input = call("summary", "-", "--no-pager")
    assert "--no-group shows all" in from_input[1]
    assert from_input == from_file


@pytest.mark.usefixtures("on_terminal")
def test_wide_and_every_format_but_a_table_show_everything(call: Call) -> None:
    np.savez("m.npz", **{"encoder/" * 20 + "w": np.zeros((3, 4))})
    whole = "encoder/" * 20 + "w"
    assert whole not in call("stat", "m.npz")[1]
    for format_ in ("json", "jsonl", "csv", "markdown"):
        assert whole in call("stat", "m.npz", "--format", format_)[1]
    wide = call("stat", "m.npz", "--wide")[1]
    assert whole in wide
    assert "First non-finite" in wide
    assert "--wide" not in wide


@pytest.mark.usefixtures("on_terminal")
def test_columns_that_an_option_names_are_always_shown(call: Call) -> None:
    np.savez("m.npz", **{"encoder/" * 9 + "w": np.zeros((3, 4))})
    keys = "path,bytes,parameters,size,shape,dtype,tied_to,trainable,scheme,axes,fan_in,kind"
    heading = call("summary", "m.npz", "--parameters", "--columns", keys)[1].splitlines()[2]
    assert heading.split()[:3] == ["Parameter", "Bytes", "Parameters"]
    assert heading.endswith("Kind")


def test_every_command_that_prints_tables_has_wide() -> None:
    """And every command has the options of all."""
    commands = [each for each in all_commands() if isinstance(each, Command)]
    assert len(commands) == len(all_commands()) > 20
    tables = []
    for command in commands:
        context = command.make_context(str(command.name), ["--help"], resilient_parsing=True)
        options = {name for each in command.get_params(context) for name in each.opts}
        assert {"--color", "--pager", "--verbose"} <= options
        assert ("--wide" in options) is command.prints_tables
        tables += [command.name] if command.prints_tables else []
    assert {"summary", "stat", "diff", "ties", "schemes", "layers", "init", "save", "merge", "train"} <= set(tables)


def test_the_environment_sets_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "33")
    assert display.screen().columns == 33
    assert os.environ["COLUMNS"] == "33"


@pytest.mark.usefixtures("on_terminal")
def test_the_lines_of_a_training_fit(call: Call) -> None:
    pytest.importorskip("autograd")
    Path("m.yaml").write_text(
        "input: [4]\nlayers: [{dense: {units: 1, name: a_layer_with_a_very_long_name_of_its_own}}]\n"
    )
    np.savez("d.npz", input=np.ones((4, 4), "float32"), y=np.ones((4, 1), "float32"))
    arguments = ("train", "m.yaml", "--data", "d.npz", "--steps", "1", "--watch", "**", "-o", "t.h5", "--force")
    code, out, err = call(*arguments)
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= 80
    assert len({line.split()[-1] for line in out.splitlines()}) == 3
    assert "a_layer_with_a_very_long_name_of_its_own/kernel" in call(*arguments, "--wide")[1]


ARRAYS = {f"encoder/layer-{n}/attention/query/kernel": np.arange(1, 13.0).reshape(3, 4) * (n + 1) for n in range(3)}
ASKED = [
    (("stat", "a.npz", "--quantiles"), ["q0.01", "q0.25", "q0.5", "q0.75", "q0.99"]),
    (("stat", "a.npz", "--histogram"), ["Histogram"]),
    (("stat", "a.npz", "--norms"), ["L1 norm", "Linf norm", "RMS"]),
    (("stat", "a.npz", "--moments"), ["Sparsity", "Skewness", "Excess kurtosis"]),
    (("stat", "a.npz", "--spectral"), ["Spectral norm", "Stable rank", "Condition", "Rank"]),
    (("stat", "a.npz", "--per", "block", "--norms"), ["L1 norm", "Linf norm", "RMS"]),
    (("stat", "a.npz", "b.npz", "--norms"), ["Parameter", "L1 norm", "Linf norm", "RMS"]),
    (("summary", "a.npz", "--sort", "bytes"), ["Bytes", "Percent", "Cumulative"]),
    (("summary", "a.npz", "--parameters", "--sort", "bytes"), ["Bytes", "Percent", "Cumulative"]),
    (("summary", "a.npz", "--parameters", "--top", "2"), ["Size", "Percent", "Cumulative"]),
    (("summary", "m.yaml", "--sort", "macs"), ["MACs", "Percent", "Cumulative"]),
    (("summary", "m.yaml", "m.yaml", "--sort", "macs"), ["Layer", "MACs", "Percent", "Cumulative"]),
    (("diff", "a.npz", "b.npz", "--top", "2"), ["Max abs diff"]),
    *(
        (("diff", "a.npz", "b.npz", "--by", measure), [heading])
        for measure, heading in {
            "max_rel": "Max rel diff",
            "norm": "L2 norm of diff",
            "relative_norm": "Relative norm",
            "cosine": "Cosine similarity",
            "different": "Differing values",
        }.items()
    ),
]


@pytest.mark.parametrize(("arguments", "headings"), ASKED, ids=lambda each: " ".join(each))
@pytest.mark.usefixtures("on_terminal")
def test_a_narrow_terminal_shows_what_options_ask_for(
    arguments: tuple[str, ...], headings: list[str], call: Call
) -> None:
    """Other columns are left out instead, and the table fits unless those that were asked for are too wide."""
    np.savez("a.npz", **ARRAYS)
    np.savez("b.npz", **{path: values**1.5 for path, values in ARRAYS.items()})
    blocks = "".join(f"  - dense: {{units: 100, name: a_layer_with_a_long_name_{n}}}\n" for n in range(3))
    Path("m.yaml").write_text(f"input: [4]\nlayers:\n{blocks}")
    lines = call(*arguments)[1].splitlines()
    shown = next(line for line in lines if headings[0] in line)
    assert all(heading in shown for heading in headings), shown
    assert max(map(len, lines)) <= 80 or len(headings) > 4
    plain = next((line for line in lines if line.startswith("Not shown:")), "")
    assert not any(f" {heading}," in plain for heading in headings)


@pytest.mark.usefixtures("on_terminal")
def test_without_an_option_the_priorities_decide(call: Call) -> None:
    """The columns of --by give way to others where another measure, or none, ranks."""
    np.savez("a.npz", **ARRAYS)
    np.savez("b.npz", **{path: values**1.5 for path, values in ARRAYS.items()})
    heading = call("diff", "a.npz", "b.npz", "--by", "relative_norm")[1].splitlines()[0]
    assert "Relative norm" in heading
    assert "Cosine" not in heading
    assert "Relative norm" not in call("diff", "a.npz", "b.npz")[1].splitlines()[0]

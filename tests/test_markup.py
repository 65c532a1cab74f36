"""Tables in HTML and LaTeX: the cells are those of the table, and no name is taken for markup."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from paramctl.cli import all_commands
from paramctl.cli.render import MARKUP, ROW_FORMATS, Column, rows
from tests.conftest import ROOT, Call

GPT2 = str(ROOT / "sample_models/gpt2.yaml")
HOSTILE = "<b>&_50%$#{x}~^\\"
"""A name with each character that one of the languages takes for markup."""


class Cells(HTMLParser):
    """The texts of the cells of a table, row by row, and the names of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.rows = [[cell.strip() for cell in row] for row in self.rows]

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def cells_of_markdown(text: str) -> list[list[str]]:
    heading, _, *others = [re.split(r"(?<!\\) \| ", line[2:-2]) for line in text.splitlines()]
    return [[cell.strip() for cell in row] for row in (heading, *others)]


@pytest.mark.parametrize(
    "arguments", [("summary", GPT2), ("ties", GPT2), ("layers", "dense"), ("schemes",)], ids=" ".join
)
def test_the_cells_of_html_are_those_of_markdown(arguments: tuple[str, ...], call: Call) -> None:
    html = Cells(call(*arguments, "--format", "html")[1])
    assert html.tags == {"table", "thead", "tbody", "tr", "th", "td"}
    assert html.rows == cells_of_markdown(call(*arguments, "--format", "markdown")[1])
    assert len(html.rows) > 1


def test_latex_has_a_row_for_each_and_escapes(call: Call, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **{"a_b&c/50%": np.zeros((3, 2)), "d": np.zeros(1)})
    begin, *lines, end = call("summary", str(tmp_path / "w.npz"), "--parameters", "--format", "latex")[1].splitlines()
    assert re.fullmatch(r"\\begin\{tabular\}\{[lr]+\}", begin)
    assert end == r"\end{tabular}"
    shown = [re.split(r"(?<!\\)&", line) for line in lines if line != r"\hline"]
    columns = begin.count("l", len(r"\begin{tabular}")) + begin.count("r", len(r"\begin{tabular}"))
    assert {len(row) for row in shown} == {columns}
    assert [row[0].strip() for row in shown] == ["Parameter", r"a\_b\&c/50\%", "d"]


@pytest.mark.parametrize("format_", MARKUP)
def test_a_hostile_name_is_text(format_: str) -> None:
    text = "\n".join(rows(format_, [HOSTILE], [Column("name", "Name", lambda row: row)]))
    if format_ == "html":
        assert Cells(text).rows == [["Name"], [HOSTILE]]
    else:
        cell = text.splitlines()[4]
        assert not re.search(r"(?<!\\)[&_%$#]", cell.removesuffix(r"\\"))
        assert "<" not in cell.replace(r"\ensuremath{<}", "")


@pytest.mark.parametrize("format_", MARKUP)
def test_a_table_without_rows(format_: str) -> None:
    """LaTeX gets its columns declared, and each heading stands in one."""
    columns = [Column("name", "Name", lambda row: row), Column("size", "Size", lambda row: row, right=True)]
    text = "\n".join(rows(format_, [], columns))
    if format_ == "latex":
        assert text.startswith(r"\begin{tabular}{lr}")
    else:
        assert Cells(text).rows == [["Name", "Size"], ["", ""]]


def test_every_command_with_rows_has_each_format() -> None:
    with_rows = [
        (str(command.name), set(each.type.choices))  # type: ignore[attr-defined]
        for command in all_commands()
        for each in command.params
        if each.name == "format" and "markdown" in each.type.choices  # type: ignore[attr-defined]
    ]
    assert len(with_rows) > 10
    assert [name for name, formats in with_rows if not set(ROW_FORMATS) <= formats] == []

"""The words of the project: plain sentences in docstrings, comments, messages, and pages, and names that say what they hold.

The rules are short on purpose. They find what reads like a translation; they cannot prove that a sentence is good.
"""

import ast
import re
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

PACKAGE = sorted((ROOT / "paramctl").rglob("*.py"))
OTHER_CODE = sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), ROOT / "man/generate.py"])
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "man").rglob("*.[15]"), ROOT / "man/model.mdoc"]
)

PHRASES = [
    *(r"\bis told\b", r"\bis said\b", r"\bis asked for\b", r"\bstands (for|in|beside|there)\b", r"\blies (in|at|on)\b"),
    *(r"\bgoes? along\b", r"\bof one's own\b", r"\b(some|no)body\b", r"\bwhoever\b", r"\bthere (is|are)\b"),
    *(
        r"\bas it is\b",
        r"\bas they were\b",
        r"\bwhat is\b",
        r"\bit is no\b",
        r"\bwhat nothing names\b",
        r"\blaid flat\b",
    ),
    *(r"\bheld against\b", r"\bexists already\b", r"\btakes its place\b", r"\bbeside them\b", r"\bshall\b"),
    *(r"\bdoes not tell\b", r"\bas a framework does\b", r"\bis meant\b", r"\bmade of\b", r"\ball the same\b"),
    *(r"\bwhat it holds\b", r"\bnot so\b", r"\bbut for\b"),
]
"""Phrases of a translation. The subject of a sentence is a noun: "the file", not "what", "it", "there"."""
BANNED = re.compile("|".join(PHRASES), re.IGNORECASE)

QUESTIONS = {"What", "Whatever", "Whether", "Which", "Who", "Whoever", "Whose", "How", "However", "Where", "Wherever"}
QUESTIONS |= {"When", "Whenever", "Why", "There"}
"""Words that open no docstring: it says what it is about, and does not ask."""
NOT_VERBS = {"A", "All", "An", "Each", "Every", "Its", "One", "The", "These", "This", "Those"}
"""Words that open no docstring of a function: a verb does."""

NEVER_NAMES = {"made", "told"}
SHORT_NAMES = {"each", "found", "there", "given", "said", "some", "of", "own", "here"}
"""Names for variables of at most SHORT lines."""
SHORT = 3
COMMENT_SHARE = 0.02

Scope = dict[str, tuple[int, int]]
"""The first and the last line of each variable and argument of a function."""


class Words(NamedTuple):
    """A text that people read, and the line on which it begins."""

    line: int
    text: str


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def comments(path: Path) -> list[Words]:
    """Return a file's comments, without those for tools."""
    with path.open("rb") as file:
        tokens = [token for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT]
    for_tools = re.compile(r"#\s*(noqa|type:|fmt:)")
    return [Words(token.start[0], token.string) for token in tokens if not for_tools.match(token.string)]


def strings(path: Path) -> Iterator[Words]:
    """Yield docstrings and messages: every literal text that contains a space."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield Words(node.lineno, node.value)


def docstrings(path: Path, kinds: tuple[type[ast.AST], ...]) -> Iterator[tuple[ast.AST, Words]]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield node, Words(node.body[0].lineno, text)


def attribute_docstrings(path: Path) -> Iterator[Words]:
    """Yield the texts after assignments, which document constants and fields."""
    for node in ast.walk(parsed(path)):
        body = getattr(node, "body", None)
        for before, after in pairwise(body) if isinstance(body, list) else ():
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
            if isinstance(before, (ast.Assign, ast.AnnAssign)) and isinstance(text, str):
                yield Words(after.lineno, text)


def scopes(path: Path) -> Iterator[Scope]:
    """Yield the scope of each function. A variable of a comprehension belongs to the comprehension alone."""
    for function in ast.walk(parsed(path)):
        if isinstance(function, ast.FunctionDef):
            scope: Scope = {}
            _add_names(function, frozenset(), scope)
            yield scope


def _add_names(node: ast.AST, bound: frozenset[str], scope: Scope) -> None:
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        targets = (name for generator in node.generators for name in ast.walk(generator.target))
        bound |= {name.id for name in targets if isinstance(name, ast.Name)}
    name = node.id if isinstance(node, ast.Name) else node.arg if isinstance(node, ast.arg) else None
    if name is not None and name not in bound:
        first, last = scope.get(name, (node.lineno, node.lineno))  # type: ignore[attr-defined]
        scope[name] = min(first, node.lineno), max(last, node.lineno)  # type: ignore[attr-defined]
    for child in ast.iter_child_nodes(node):
        _add_names(child, bound, scope)


def names(path: Path) -> Iterator[Words]:
    """Yield every name in a file: of variables, attributes, arguments, functions, and classes."""
    for node in ast.walk(parsed(path)):
        for field in ("id", "attr", "arg", "name"):
            if isinstance(name := getattr(node, field, None), str):
                yield Words(getattr(node, "lineno", 0), name)


def place(path: Path, words: Words) -> str:
    return f"{path.relative_to(ROOT)}:{words.line}: {words.text[:100]!r}"


def phrases_in(path: Path, texts: Iterable[Words]) -> Iterator[str]:
    for words in texts:
        for match in BANNED.finditer(words.text):
            yield place(path, Words(words.line + words.text.count("\n", 0, match.start()), match[0]))


def offending_phrases() -> Iterator[str]:
    for path in PACKAGE:
        yield from phrases_in(path, [*strings(path), *comments(path)])


def offending_pages() -> Iterator[str]:
    for path in PAGES:
        yield from phrases_in(path, [Words(1, path.read_text())])


def offending_openings() -> Iterator[str]:
    for path in [*PACKAGE, *OTHER_CODE]:
        texts = [words for _, words in docstrings(path, (ast.Module, ast.ClassDef, ast.FunctionDef))]
        for words in [*texts, *attribute_docstrings(path)]:
            if words.text.split()[0].strip(",") in QUESTIONS:
                yield place(path, words)


def offending_functions() -> Iterator[str]:
    for path in PACKAGE:
        for node, words in docstrings(path, (ast.FunctionDef,)):
            assert isinstance(node, ast.FunctionDef)
            is_property = any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
            if not is_property and words.text.split()[0] in NOT_VERBS:
                yield place(path, words)


def offending_names() -> Iterator[str]:
    for path in PACKAGE:
        yield from (place(path, words) for words in names(path) if words.text in NEVER_NAMES)
        for scope in scopes(path):
            for name, (first, last) in scope.items():
                if name in SHORT_NAMES and last - first > SHORT:
                    yield place(path, Words(first, name))


def test_everything_is_read() -> None:
    assert len(PACKAGE) > 200
    assert len(OTHER_CODE) > 60
    assert len(PAGES) > 20
    assert sum(len(list(docstrings(path, (ast.FunctionDef,)))) for path in PACKAGE) > 500
    assert sum(len(list(attribute_docstrings(path))) for path in PACKAGE) > 100
    assert sum(len(comments(path)) for path in PACKAGE) > 300


def test_the_rules_find_offences(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(
        'def f(own):\n    """What is told."""\n    a = [own for own in ()]\n    b = [c for c in own]\n\n    return own\n'
    )
    assert next(docstrings(path, (ast.FunctionDef,)))[1] == Words(2, "What is told.")
    assert [match[0] for match in BANNED.finditer("What is told, and stands in it.")] == ["What is", "stands in"]
    assert list(scopes(path)) == [{"own": (1, 6), "a": (3, 3), "b": (4, 4)}]


@pytest.mark.parametrize(
    "offences", [offending_phrases, offending_pages, offending_openings, offending_functions, offending_names]
)
def test_plain_words(offences: object) -> None:
    assert sorted(set(offences())) == []  # type: ignore[operator]


def test_comments_say_why() -> None:
    lines = sum(len(path.read_text().splitlines()) for path in PACKAGE)
    share = sum(len(comments(path)) for path in PACKAGE) / lines
    assert share >= COMMENT_SHARE, f"{share:.2%} of the lines have a comment"

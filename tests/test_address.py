"""Patterns match whole names: ``*`` and ``?`` within one, ``**`` any number of them."""

import re
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramctl.address import expressions
from paramctl.address.patterns import compile_pattern, nearest_hint
from paramctl.address.rename import _compile, _parts, renamer
from paramctl.address.resolve import resolve
from paramctl.errors import AddressError
from paramctl.store.checkpoint import build_model, stored_parameter

PATHS = ["dense/kernel", "block-0/dense/kernel", "block-10/mlp/dense/kernel", "dense", "den/se/kernel", "a.b/c+d"]

MATCHES = {
    "dense/kernel": ["dense/kernel"],
    "*/kernel": ["dense/kernel"],
    "**/kernel": ["dense/kernel", "block-0/dense/kernel", "block-10/mlp/dense/kernel", "den/se/kernel"],
    "block-?/**": ["block-0/dense/kernel"],
    "block-*/**/kernel": ["block-0/dense/kernel", "block-10/mlp/dense/kernel"],
    "block-*/**/dense/kernel": ["block-0/dense/kernel", "block-10/mlp/dense/kernel"],
    "**": PATHS,
    "*": ["dense"],
    "d*e": ["dense"],
    "a.b/c+d": ["a.b/c+d"],
    "a?b/*": ["a.b/c+d"],
    "**/**/kernel": ["dense/kernel", "block-0/dense/kernel", "block-10/mlp/dense/kernel", "den/se/kernel"],
    "axb/c+d": [],
}


@pytest.mark.parametrize(("text", "paths"), MATCHES.items())
def test_an_address_matches(text: str, paths: list[str]) -> None:
    assert [path for path in PATHS if compile_pattern(text)(path)] == paths


@pytest.mark.parametrize(("text", "column"), [("", 1), ("/a", 1), ("a//b", 2), ("a/", 2)])
def test_an_empty_name_is_refused_at_its_place(text: str, column: int) -> None:
    with pytest.raises(AddressError, match=rf"\(character {column}\)"):
        compile_pattern(text)


names = st.text(st.characters(exclude_characters="/*?", exclude_categories=["Cs"]), min_size=1, max_size=6)


@given(st.lists(names, min_size=1, max_size=4))
def test_a_path_matches_itself_and_its_globs(parts: list[str]) -> None:
    path = "/".join(parts)
    assert compile_pattern(path)(path)
    assert compile_pattern("**")(path)
    assert compile_pattern("/".join("*" for _ in parts))(path)
    assert not compile_pattern("/".join(["*"] * (len(parts) + 1)))(path)
    assert compile_pattern(f"**/{parts[-1]}")(path)


def test_the_nearest_name_is_suggested() -> None:
    assert nearest_hint("dense/kernle", PATHS) == "Did you mean 'dense/kernel'?"
    assert (
        nearest_hint("zzz", PATHS)
        == "Known names: dense/kernel, block-0/dense/kernel, block-10/mlp/dense/kernel, and others."
    )
    assert nearest_hint("zzz", []) == ""


WILDCARDS = {"**": "(.*)", "*": "([^/]*)", "?": "([^/])"}


def test_wildcards_of_a_renaming_match_as_much_as_they_can() -> None:
    """From the first on, as a regular expression's do."""
    random, matched = Random(0), 0  # noqa: S311
    for _ in range(3_000):
        pattern = "".join(random.choices(["a", "b", "/", "ab", "*", "**", "?"], k=random.randint(1, 8)))
        if "***" in pattern:
            continue
        split = re.split(r"(\*\*|\*|\?)", pattern)
        expected = re.compile("".join(WILDCARDS.get(part) or re.escape(part) for part in split))
        backward = _compile(_parts(pattern), "/")
        for path in ("".join(random.choices("aab/", k=random.randint(0, 9))) for _ in range(10)):
            match, found = expected.fullmatch(path), backward.fullmatch(path[::-1])
            groups = tuple(text[::-1] for text in reversed(found.groups())) if found else None
            assert groups == (match.groups() if match else None), (pattern, path)
            matched += match is not None
    assert matched > 1_000


@pytest.mark.parametrize("star", ["*", "**"])
def test_a_renaming_of_many_wildcards_is_quick(star: str) -> None:
    """A regular expression with as many groups would take longer than anyone waits."""
    path = "a" * 3_000 + "b"
    tree, _ = build_model("m", {name: stored_parameter(name, (1,), "float32") for name in (path, "aaaac")}, ())
    pattern = star.join("a" * 40)
    with pytest.raises(AddressError, match="no parameter with this name"):
        renamer([f"{pattern}c={pattern}d"], tree)


def test_a_renaming_needs_text_between_its_wildcards() -> None:
    with pytest.raises(AddressError, match="two wildcards without a text between them"):
        renamer(["a***=b***"], build_model("m", {"a": stored_parameter("a", (1,), "float32")}, ())[0])


QUOTED = {
    "an equals sign": ("'a=b'=c", "a=b", "c"),
    "a wildcard": ("'x*'=y", "x*", "y"),
    "one name of several": ("e/'w*'=e/w", "e/w*", "e/w"),
    "beside a wildcard": ("*/'k=v'=*/k", "e/k=v", "e/k"),
    "several names": ("'e/a?'=e/a", "e/a?", "e/a"),
    "a space at an end": ("' s '=s", " s ", "s"),
    "in the new name": ("plain='new*'", "plain", "new*"),
    "a quote within": ('"it\'s"=its', "it's", "its"),
    "a quote not at the beginning": ("don't=dont", "don't", "dont"),
    "a bracket without the other": ("b[=b", "b[", "b"),
}


@pytest.mark.parametrize(("rule", "path", "name"), QUOTED.values(), ids=list(QUOTED))
def test_names_in_quotes_are_renamed_literally(rule: str, path: str, name: str) -> None:
    """As everywhere in addresses; all other arrays keep their names, those that a wildcard would match too."""
    paths = ["xyz", "e/wx", "e/ab", *(path for _, path, _ in QUOTED.values())]
    tree, _ = build_model("m", {path: stored_parameter(path, (1,), "float32") for path in paths}, ())
    rename = renamer([rule], tree)
    assert {old: rename(old) for old in paths if rename(old) != old} == {path: name}


def test_a_renaming_of_a_block_or_of_a_misspelled_name_has_a_hint() -> None:
    paths = ["h/0/w", "h/1/w", "it's", "plain"]
    tree, _ = build_model("m", {path: stored_parameter(path, (1,), "float32") for path in paths}, ())
    with pytest.raises(AddressError, match=re.escape("It is a block: 'h/**=body/**' renames all parameters in it.")):
        renamer(["h=body"], tree)
    assert [renamer(["h/**=body/**"], tree)(path) for path in paths] == ["body/0/w", "body/1/w", "it's", "plain"]
    with pytest.raises(AddressError, match="Did you mean 'plain'"):
        renamer(["plian=x"], tree)


def test_the_first_renaming_that_matches_applies() -> None:
    tree, _ = build_model("m", {name: stored_parameter(name, (1,), "float32") for name in ("a", "b", "c", "ab")}, ())
    rename = renamer(["b=plain", "?=one.?", "a=never", "c=never", "*=any.*"], tree)
    assert [rename(path) for path in tree.parameters] == ["one.a", "plain", "one.c", "any.ab"]


EXPLOSIVE = ["re:(a+)+c", "re:(a|a)*c", "re:" + "(a?)" * 40 + "a" * 40 + "c", "re:" + "(a|aa)" * 40 + "c"]


@pytest.mark.parametrize("text", EXPLOSIVE)
@pytest.mark.parametrize("threaded", [False, True])
def test_an_explosive_expression_is_stopped(text: str, threaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every thread, because a program may use the library in one."""
    monkeypatch.setattr(expressions, "MATCH_SECONDS", 0.3)
    tree, _ = build_model("m", {"a" * 60 + "b": stored_parameter("a" * 60 + "b", (1,), "float32")}, ())
    with ThreadPoolExecutor(1) as pool, pytest.raises(AddressError, match=r"takes longer than 0.3 seconds \(got 're:"):
        pool.submit(resolve, tree, text).result() if threaded else resolve(tree, text)


@pytest.mark.parametrize("text", ["re:.*(k|q)/w", r"re:[a-z/]+\d?", "re:.*", "re:a/k/w", "re:(?i).*/W"])
def test_an_expression_matches_the_same_in_another_process(text: str) -> None:
    names = ["a/k/w", "a/q/w", "a/v/w", "b\n", "c\udc80", "é"]
    tree, _ = build_model("m", {name: stored_parameter(name, (1,), "float32") for name in names}, ())
    assert resolve(tree, text).paths == [name for name in names if re.fullmatch(text[3:], name)]

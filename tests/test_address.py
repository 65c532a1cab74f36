"""Patterns match whole names: ``*`` and ``?`` within one, ``**`` any number of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramctl.address.patterns import compile_pattern, nearest_hint
from paramctl.errors import AddressError

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

"""Errors about unknown commands and options: the suggestion, and the command that the error is about."""

import pytest

from paramctl.cli import NAMES, all_commands
from paramctl.cli.similar import SYNONYMS, count_slips, similar
from tests.conftest import Call


def test_synonyms_are_no_names_of_commands_and_mean_one() -> None:
    words = [word for synonyms in SYNONYMS.values() for word in synonyms]
    assert len(set(words)) == len(words)
    assert set(SYNONYMS) <= set(NAMES)
    assert not set(words) & set(NAMES)


@pytest.mark.parametrize(("name", "word"), [(name, word) for name, words in SYNONYMS.items() for word in words])
def test_a_name_that_other_tools_use_suggests_the_command(name: str, word: str, call: Call) -> None:
    code, out, err = call(word, "m.yaml")
    assert (code, out) == (2, "")
    assert err == f"paramctl: No such command {word!r}. Did you mean {name!r}? See paramctl --help.\n"


@pytest.mark.parametrize(
    "word",
    [
        "frobnicate",
        "test",
        "eat",
        "rename",
        "delete",
        "x",
        "in",
        "m.yaml",
        "eval",
        "sed",
        "trace",
        "sort",
        "load",
        "size",
        "net",
    ],
)
def test_a_far_word_suggests_nothing(word: str, call: Call) -> None:
    assert call(word)[2] == f"paramctl: No such command {word!r}. See paramctl --help.\n"


@pytest.mark.parametrize("name", NAMES)
def test_every_misspelled_command_suggests_itself(name: str) -> None:
    """A letter twice, two letters the other way round, and one missing, unless that is too far from a short name."""
    assert similar(name[0] + name, NAMES) == name
    if len(name) > 3:
        assert similar(name[:2] + name[3] + name[2] + name[4:], NAMES) == name
        assert similar(name[:-2] + name[-1], NAMES) == name


def test_slips_are_counted() -> None:
    pairs = {("seed", "seed"): 0, ("sead", "seed"): 1, ("sede", "seed"): 1, ("sed", "seed"): 1, ("lint", "init"): 2}
    pairs |= {("", "ab"): 2, ("inspect", "set"): 4}
    assert {pair: count_slips(*pair) for pair in pairs} == pairs


@pytest.mark.parametrize(
    ("arguments", "suggested"),
    [
        (("diff", "a", "b", "--fail-on", "nan"), None),
        (("summary", "--gpu"), None),
        (("summary", "--verbatim"), None),
        (("stat", "--sead", "1"), "--seed"),
        (("stat", "--quant"), "--quantiles"),
        (("summary", "--nogroup"), "--no-group"),
        (("summary", "--Depth", "2"), "--depth"),
        (("--colour", "never", "summary"), "--color"),
        (("summary", "-x"), None),
    ],
)
def test_only_a_similar_option_is_suggested(arguments: tuple[str, ...], suggested: str | None, call: Call) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert "No such option" in err
    assert (f"Did you mean {suggested!r}?" if suggested else "Did you mean") in err or suggested is None
    assert suggested is not None or "Did you mean" not in err


def test_an_option_without_its_value_names_its_command(call: Call) -> None:
    """Every option of every command that takes a value, and every flag that gets one."""
    for command in all_commands():
        name = str(command.name)
        for option in command.params:
            if option.param_type_name != "option" or option.to_info_dict().get("flag_value"):
                continue
            flag = next(each for each in option.opts if each.startswith("--"))
            is_flag = option.to_info_dict()["is_flag"] or option.to_info_dict()["count"]
            err = call(name, f"{flag}=1" if is_flag else flag)[2]
            assert err.startswith(f"paramctl {name}: Option '{flag}'"), (name, flag, err)
            assert err.endswith(f" See paramctl {name} --help.\n")

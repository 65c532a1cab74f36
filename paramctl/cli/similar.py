"""Suggestions for unknown commands and options: the command that others call so, or a name that is spelled alike."""

from __future__ import annotations

from collections.abc import Iterable

import click

SYNONYMS = {
    "summary": ("info", "show", "ls", "list", "inspect", "count", "view", "tree", "summarize", "summarise"),
    "check": ("lint", "validate", "doctor"),
    "diff": ("compare", "cmp"),
    "sum": ("hash", "checksum", "sha256"),
    "save": ("convert", "export", "cast"),
    "ties": ("tied",),
    "histogram": ("plot", "hist"),
    "stat": ("stats", "statistics", "describe"),
    "dump": ("cat", "print", "get", "values"),
    "init": ("initialize", "initialise"),
    "set": ("edit", "assign"),
    "report": ("html",),
    "run": ("predict", "forward"),
}
"""Other tools' names for what each command does."""

LENGTHS = (4, 7)
"""From each of these lengths on, a name may differ by one more slip: sead is seed, but sed is not set."""

SHORTEST_BEGINNING = 3


def explain(error: click.UsageError) -> str:
    """Return the message of an error, with a suggestion if the name of a command or an option is unknown."""
    if isinstance(error, click.exceptions.NoSuchCommand) and error.ctx is not None:
        group = error.ctx.command
        assert isinstance(group, click.Group)
        return error.message + _question(similar_command(error.command_name, group.list_commands(error.ctx)))
    if isinstance(error, click.NoSuchOption):
        return error.message + _question(_similar_option(error))
    return error.format_message()


def _question(name: str | None) -> str:
    return f" Did you mean {name!r}?" if name is not None else ""


def similar_command(word: str, names: Iterable[str]) -> str | None:
    """Return the name of the command that a word means or misspells, or None."""
    word = word.lower()
    meant = next((name for name, synonyms in SYNONYMS.items() if word in synonyms), None)
    return meant or similar(word, names)


def _similar_option(error: click.NoSuchOption) -> str | None:
    """Return the option that an unknown one misspells. The dashes, which all options have, do not count."""
    if error.ctx is None or not error.option_name.startswith("--"):
        return None
    options = [each for each in error.ctx.command.get_params(error.ctx) if isinstance(each, click.Option)]
    names = [name[2:] for each in options for name in (*each.opts, *each.secondary_opts) if name.startswith("--")]
    name = similar(error.option_name[2:].lower(), names)
    return None if name is None else f"--{name}"


def similar(word: str, names: Iterable[str]) -> str | None:
    """Return the name that differs from a word by a slip or two, or the only one that begins with it, or None."""
    names = list(names)
    beginning = [name for name in names if name.startswith(word) and len(word) >= SHORTEST_BEGINNING]
    if len(beginning) == 1:
        return beginning[0]
    slips = {name: count_slips(word, name) for name in names}
    near = [name for name in names if slips[name] <= _allowed(max(len(word), len(name)))]
    return min(near, key=lambda name: slips[name], default=None)


def _allowed(length: int) -> int:
    return sum(length >= least for least in LENGTHS)


def count_slips(word: str, name: str) -> int:
    """Return the number of letters to insert, drop, replace or swap with the next that turn a word into a name."""
    before: list[int] = []
    row: list[int] = [*range(len(name) + 1)]
    for i, letter in enumerate(word, 1):
        older, before, row = before, row, [i]
        for j, other in enumerate(name, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and (letter, word[i - 2]) == (name[j - 2], other):
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]

"""TAB completion from a table: names of commands and options, choices, and files.

The table has a line for each command, and below it a line for each of its parameters, in click's order:

    NAME<tab>SHORT HELP
    <tab>argument<tab>KIND<tab>one or many<tab>
    <tab>option<tab>KIND<tab>one or many<tab>NAMES<tab>HELP

KIND is ``flag`` for an option without a value, ``file``, ``choice A B ...``, or ``ask`` for a value that only click
completes.
"""

from __future__ import annotations

from paramctl.quick.texts import HELP_NAMES, read_text

TYPE_CHECKING = False  # as in paramctl/__init__.py
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GROUP = "paramctl"
SPECIAL = frozenset("'\"\\=")
"""The characters that quote or join words. click splits lines that have any."""
WRITERS = {
    "bash": "{type},{value}",
    "zsh": "{type}\n{value}\n{help}",
    "fish": "{type},{value}\t{help}",
}

Item = tuple[str, str, str]
"""The type, the value and the help of a completion."""


class Parameter:
    """A line of the table."""

    def __init__(self, line: str) -> None:
        _, role, self.kind, many, names, self.help = line.split("\t")
        self.is_option, self.many, self.names = role == "option", many == "many", names.split(" ")

    def values(self, incomplete: str) -> list[Item] | None:
        """Return the values that begin with a text, or None if click knows them."""
        if self.kind == "file":
            return [("file", incomplete, "")]
        kind, *choices = self.kind.split(" ")
        return [("plain", each, "") for each in choices if each.startswith(incomplete)] if kind == "choice" else None


def answer(environment: Mapping[str, str]) -> str | None:
    """Return what a shell gets that asks by these variables, or None if click must answer."""
    shell, _, instruction = environment["_PARAMCTL_COMPLETE"].partition("_")
    words = _words(shell, environment) if shell in WRITERS and instruction == "complete" else None
    items = complete(words[1:-1], words[-1]) if words else None
    return None if items is None else "\n".join(_format(shell, item) for item in items) + "\n"


def complete(words: Sequence[str], incomplete: str) -> list[Item] | None:
    """Return the items that complete a word after others, or None if click must answer."""
    table = read_text("words.txt")
    if not table:
        return None
    if not words:
        names = [line.split("\t") for line in table.split("\n") if line[:1].strip()]
        commands = sorted([name, text] for name, text in names if name != GROUP and name.startswith(incomplete))
        return [("plain", name, text) for name, text in commands] + _options(_section(table, GROUP), incomplete, [])
    name, *others = words
    parameters = _section(table, name)
    return _of_command(parameters, others, incomplete) if parameters and name != GROUP else None


def _of_command(parameters: Sequence[Parameter], words: Sequence[str], incomplete: str) -> list[Item] | None:
    by_name = {name: each for each in parameters if each.is_option for name in each.names}
    used: list[Parameter] = []
    places, awaiting = 0, None
    for word in words:
        if awaiting is not None:
            if word.startswith("-"):  # a value that looks like an option
                return None
            awaiting = None
        elif word.startswith("-"):
            if word not in by_name or word in HELP_NAMES:
                return None
            used.append(by_name[word])
            awaiting = None if used[-1].kind == "flag" else used[-1]
        else:
            places += 1
    if incomplete.startswith("-"):
        return None if awaiting else _options(parameters, incomplete, used)
    return awaiting.values(incomplete) if awaiting else _argument(parameters, places, incomplete)


def _argument(parameters: Sequence[Parameter], places: int, incomplete: str) -> list[Item] | None:
    """Return the completions of an argument after others: the first that takes many, or that has no word."""
    arguments = [each for each in parameters if not each.is_option]
    first = next((place for place, each in enumerate(arguments) if each.many or place == places), None)
    return [] if first is None else arguments[first].values(incomplete)


def _options(parameters: Sequence[Parameter], incomplete: str, used: Sequence[Parameter]) -> list[Item]:
    """Return the options that begin with a text, without those that are used and may not be repeated."""
    if not incomplete.startswith("-"):
        return []
    shown = [each for each in parameters if each.is_option and (each.many or each not in used)]
    return [("plain", name, each.help) for each in shown for name in each.names if name.startswith(incomplete)]


def _section(table: str, command: str) -> list[Parameter]:
    """Return the parameters of a command, empty for an unknown one."""
    _, found, after = table.partition(f"\n{command}\t")
    lines = after.split("\n")[1:] if found else []
    end = next((place for place, line in enumerate(lines) if not line.startswith("\t")), 0)
    return [*map(Parameter, lines[:end])]


def _words(shell: str, environment: Mapping[str, str]) -> list[str] | None:
    """Return the words of the line, of which the last is incomplete, or None if click must split it."""
    line = environment.get("COMP_LINE", "") if shell == "bash" else ""
    if line:
        line = line[: int(environment["COMP_POINT"])]
        words = [*line.split(), *([""] if line[-1].isspace() else [])]
        if environment.get("COMP_WORD", words[-1]) != words[-1]:  # the shell splits the word at : too
            return None
    else:
        line, incomplete = environment["COMP_WORDS"], environment["COMP_CWORD"]
        words = line.split()
        if shell == "fish":  # it has the incomplete word in both
            words = [*(words[:-1] if incomplete and words[-1] == incomplete else words), incomplete]
        else:
            words = [*words[: int(incomplete)], *(words[int(incomplete) :] or [""])[:1]]
    is_plain = line.isascii() and line.replace("\n", " ").isprintable() and not SPECIAL & {*line, *words[-1]}
    return words if is_plain and len(words) > 1 else None


def _format(shell: str, item: Item) -> str:
    type_, value, text = item
    if shell == "zsh":
        value, text = value.replace(":", "\\:") if text else value, text or "_"
    return WRITERS[shell].format(type=type_, value=value, help=text).rstrip("\t")

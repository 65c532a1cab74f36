"""TAB completion in each shell: click's scripts, with whole words where the shell splits them.

bash splits words at = and :, so ``--rule dense/kernel=gl`` reaches click as several words. The script here passes the
whole line, and gets back only the end of each word, which bash inserts.
"""

from __future__ import annotations

import os
from typing import Any

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from paramctl.cli.completions import SHELLS, list_files

BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" COMP_LINE="${COMP_LINE-}" \\
COMP_POINT="${COMP_POINT-}" COMP_WORD="${COMP_WORDS[COMP_CWORD]-}" %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        if [[ $type == 'dir' ]]; then
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=("$value")
            [[ $value == *[=:/] ]] && compopt -o nospace
        fi
    done
    return 0
}

%(complete_func)s_setup() {
    complete -o nosort -F %(complete_func)s %(prog_name)s
}

%(complete_func)s_setup;
"""


class _WholeWords(ShellComplete):
    """Completions of ``--option=value``, which click returns without the option."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[Any]]:
        items = super().get_completions(args, incomplete)
        option, equals, value = incomplete.partition("=")
        if not equals or not option.startswith("-"):
            return items
        plain = [item.value for item in items if item.type == "plain"]
        plain += list_files(value) if any(item.type == "file" for item in items) else []
        return [CompletionItem(f"{option}={each}") for each in plain]


class Bash(_WholeWords, BashComplete):
    """Completion in bash, of the whole line."""

    source_template = BASH
    start = ""
    """The beginning of the incomplete word, which bash takes for other words."""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get("COMP_LINE")
        if not line:
            return super().get_completion_args()
        line = line.encode()[: int(os.environ["COMP_POINT"])].decode(errors="ignore")
        # after a space, the incomplete word is empty
        *words, incomplete = [*split_arg_string(line), *([""] if line[-1:].isspace() else [])]
        word = os.environ.get("COMP_WORD", "")
        # readline replaces only the text after = or :, which bash counts as a word
        split = "" if word in ("=", ":") else "".join(split_arg_string(word)[-1:])
        self.start = incomplete.removesuffix(split) if incomplete.endswith(split) else ""
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return f"{item.type},{str(item.value).removeprefix(self.start)}"


class Zsh(_WholeWords, ZshComplete):
    """Completion in zsh, without a space after words that continue."""

    source_template = (
        ZshComplete.source_template.replace(
            """                completions+=("$key")
""",
            """                if [[ "$key" == *[=:/] ]]; then unfinished+=("$key"); else completions+=("$key"); fi
""",
        )
        .replace(
            """    if [ -n "$completions" ]; then
""",
            """    if [ -n "$unfinished" ]; then
        compadd -S '' -U -V unsorted -a unfinished
    fi

    if [ -n "$completions" ]; then
""",
        )
        .replace("    local -a completions\n", "    local -a completions unfinished\n")
    )


class Fish(_WholeWords, FishComplete):
    """Completion in fish, of values with commas too."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split -m 1 ","')


def register() -> None:
    """Make click use these classes."""
    for name, cls in zip(SHELLS, (Bash, Zsh, Fish), strict=True):
        add_completion_class(cls, name)

"""Pages that show commands with their output: run the commands again, and write the output that they print now."""

import os
import re
import subprocess
from pathlib import Path

CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


# A terminal shows the output of a command before the message that ends it; pipes keep no order between the two streams.
SCRIPT = """#!/bin/sh
errors=$(mktemp)
{command} "$@" 2>"$errors"
code=$?
cat "$errors" >&2
rm "$errors"
exit $code
"""


def install(tools: Path, command: str) -> Path:
    """Write a script ``paramctl`` that runs a command of the shell, and return its folder."""
    tools.mkdir()
    script = tools / "paramctl"
    script.write_text(SCRIPT.format(command=command))
    script.chmod(0o755)
    return tools


def shell(command: str, folder: Path, tools: Path) -> str:
    """Run a command line in a folder and return its output and its errors. tools: the folder of ``paramctl``."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PARAMCTL_")}
    completed = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return completed.stdout


def rerun(page: str, folder: Path, tools: Path) -> str:
    """Return a page with the present output of its commands.

    They run in order in one folder, so that a command can use the files of those before it. tools: see ``install``.
    """

    def block(match: re.Match[str]) -> str:
        commands = [line for line in match[1].splitlines() if line.startswith("$ ")]
        return (
            "```console\n" + "".join(f"{command}\n{shell(command[2:], folder, tools)}" for command in commands) + "```"
        )

    return CONSOLE.sub(block, page)


def code_blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page that are marked with a language."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def links(page: str) -> list[str]:
    """Return the files that a page links to, relative to its folder."""
    return [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page) if "://" not in link]

"""Pages that show commands with their output: run the commands again, and write the output that they print now."""

import os
import re
import subprocess
import sys
from pathlib import Path

CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


def shell(command: str, folder: Path, tools: Path = Path(sys.executable).parent) -> str:
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


def rerun(page: str, folder: Path, tools: Path = Path(sys.executable).parent) -> str:
    """Return a page with the present output of its commands. They run in order, in one folder: one may use the files of
    those before it."""

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

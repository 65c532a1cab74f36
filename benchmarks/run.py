"""Run the benchmarks, print each row beside its peers, and write docs/benchmarks.md.

    python benchmarks/run.py [GROUP]... [--peers PYTHON]

Groups that are not run keep their results. A command whose proof fails ends the run with an error.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from pathlib import Path

import proofs
from bench import ROOT, Bench, Missing
from measure import ProofError, Result, measure
from page import Group, Record, line, machine, now, revision, versions

GROUPS = (
    *("startup", "headers", "documents", "frameworks", "scan", "library", "text", "edit", "init", "conversion"),
    *("torch_files", "bundles", "quantized", "addresses", "forward", "exact"),
)


def run(name: str, bench: Bench, runs: int | None) -> Group:
    """Return the results of a group, printing each when it is known."""
    module = importlib.import_module(name)
    title = (module.__doc__ or "").partition(":")[0]
    about = " ".join((module.__doc__ or "").partition(": ")[2].split())
    print(f"\n{title}: {about}\n", flush=True)
    results: list[Result] = []
    skipped: list[str] = []
    try:
        for row in module.rows(bench):
            missing = [peer.missing for peer in row.peers if peer.missing]
            skipped += (words for words in missing if words not in skipped)
            done = measure(row, runs)
            results += done
            for result in done or [f"{row.name}: no peer"]:
                print(line(result) if isinstance(result, Result) else result, flush=True)
    except Missing as error:
        skipped.append(str(error))
    for words in skipped:
        print(f"skipped: {words}: not installed")
    return Group(name, title, about, now(), revision(), [*results], skipped)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"all, or some of: {', '.join(GROUPS)}")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="interpreter that has the peers")
    parser.add_argument("--small", action="store_true", help="toy sizes; docs/benchmarks.md is not written")
    parser.add_argument("--runs", type=int, metavar="N", help="runs of each command; 0 proves the work alone")
    parser.add_argument(
        "--folder", metavar="FOLDER", help="folder for files, on a disk [default: the temporary folder]"
    )
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.groups) - set(GROUPS))
    if unknown:
        parser.error(f"unknown group {', '.join(unknown)}. Choose from {', '.join(GROUPS)}.")
    os.environ["PYTHONPATH"] = str(ROOT)  # measures this checkout
    proofs.PROVER[:] = [arguments.peers]
    for name in arguments.groups or GROUPS:
        with tempfile.TemporaryDirectory(prefix="paramctl-bench-", dir=arguments.folder) as folder:
            try:
                group = run(name, Bench(Path(folder), arguments.peers, arguments.small), arguments.runs)
            except ProofError as error:
                sys.exit(f"{name}: {error}")
        if not arguments.small and arguments.runs != 0:
            write(group, arguments.folder, arguments.peers)


def write(group: Group, folder: str | None, peers: str) -> None:
    """Write the results of a group, and the page of all."""
    results = ROOT / "benchmarks/results.json"
    record = Record(machine(folder), versions(peers), {}).kept(results)
    record.groups[group.name] = group
    record.in_order(GROUPS).write(results, ROOT / "docs/benchmarks.md")


if __name__ == "__main__":
    main()

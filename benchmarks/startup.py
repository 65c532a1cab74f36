"""Start-up: a question about a small model, beside the start of Python and the imports of frameworks."""

from __future__ import annotations

from collections.abc import Iterator

from bench import SAMPLES, Bench
from measure import Goal, Row, Side
from proofs import contains, nothing, text, written

SUMMARY = Goal(
    9.0,
    limit="Python's own imports and those of click and yaml take 6.5; most of the rest declares layers and options.",
)
COMPLETION: dict[str, str | None] = {
    "_PARAMCTL_COMPLETE": "bash_complete",
    "COMP_WORDS": "paramctl su",
    "COMP_CWORD": "1",
}


def rows(bench: Bench) -> Iterator[Row]:
    mlp, gpt2, weights = str(SAMPLES / "mlp.yaml"), str(SAMPLES / "gpt2.yaml"), bench.path("mlp.h5")
    yield Row(
        "init mlp.yaml", bench.ours("init", mlp, "-o", weights, "--force"), bases(bench), written(weights, "drawn")
    )
    for name, arguments, words, goal in (
        ("--version", ["--version"], ["paramctl"], 2.0),
        ("--help", ["--help"], ["summary", "init", "Options"], 5.0),
        ("summary mlp.yaml", ["summary", mlp], ["Total parameters:  25"], SUMMARY),
        ("summary gpt2.yaml", ["summary", gpt2], ["124,439,808"], None),
        ("dump mlp.yaml dense_1/bias", ["dump", mlp, "dense_1/bias"], ["[0.]"], None),
        ("stat mlp.h5", ["stat", weights], ["dense/kernel", "dense_1/bias"], None),
    ):
        peers = bases(bench, frameworks=name == "summary mlp.yaml")
        goals = {peers[0].name: goal} if goal else {}
        yield Row(name, bench.ours(*arguments, expected=words), peers, contains(*words), goals)
    ours = bench.ours(environment=COMPLETION, expected=["summary"])
    peers = bases(bench)
    yield Row("TAB completion", ours, peers, contains("summary"), {peers[0].name: 2.0})


def bases(bench: Bench, frameworks: bool = False) -> list[Side]:
    peers = [bench.script("python -c pass", "pass", proof=nothing, expected="nothing printed", at_least=True)]
    for module in ("torch", "keras") if frameworks else ():
        code = f"import {module}, sys; print('{module}' in sys.modules)"
        options = {"proof": text, "expected": "True", "at_least": True}
        peers.append(bench.script(f"import {module}", code, module, **options))
    return peers

"""A language model whose output layer is its table of words counts that table once, as torch does."""

import json

import torch
import torchinfo

from paramctl.model import build, totals
from paramctl.model.document import parse

WORDS, WIDTH, LENGTH = 50, 8, 6

DOCUMENT = {
    "input": {"shape": [LENGTH], "dtype": "int32"},
    "layers": [
        {"embedding": {"name": "words", "input_dim": WORDS, "output_dim": WIDTH}},
        {"dense": {"name": "hidden", "units": WIDTH}},
        {"dense": {"name": "head", "units": WORDS, "use_bias": False}},
    ],
    "ties": [{"keep": "words/embeddings", "tie": "head/kernel", "transpose": True}],
}


class LanguageModel(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(WORDS, WIDTH)
        self.hidden = torch.nn.Linear(WIDTH, WIDTH)
        self.head = torch.nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(self.words(x)))


def test_a_tied_table_counts_once() -> None:
    network = LanguageModel()
    model = build(parse(json.dumps(DOCUMENT), "tied"))
    unique = sum(parameter.numel() for parameter in network.parameters())
    assert totals(model.owners()).parameters == unique == WORDS * WIDTH + WIDTH * WIDTH + WIDTH
    assert sum(each.size for each in model.parameters.values()) == unique + WORDS * WIDTH

    information = torchinfo.summary(network, (1, LENGTH), dtypes=[torch.int64], verbose=0)
    print(f"torch: {unique}, torchinfo: {information.total_params}")  # noqa: T201

"""The display of models and weights in a notebook."""

import os
from pathlib import Path

import nbclient
import nbformat

from tests.conftest import ROOT

MLP = ROOT / "sample_models/mlp.yaml"


def test_a_notebook_shows_the_summary(tmp_path: Path) -> None:
    """In a real Jupyter kernel."""
    book = nbformat.v4.new_notebook()
    book.cells = [
        nbformat.v4.new_code_cell(f"import paramctl as pc\npc.load_model({str(MLP)!r})"),
        nbformat.v4.new_code_cell(f"pc.initialize({str(MLP)!r})"),
    ]
    os.environ["PYTHONPATH"] = str(ROOT)
    nbclient.NotebookClient(book, timeout=None, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in book.cells:
        (output,) = cell["outputs"]
        assert "<table>" in output["data"]["text/html"]
        assert "Total parameters: 25" in output["data"]["text/html"]
        assert "Total parameters: 25" in output["data"]["text/plain"]

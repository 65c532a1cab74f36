"""The list of mutants fits the code: a change that moves a mutant's code shows it here, not only after all have run."""

import re

import pytest

from tests.conftest import ROOT
from tests.mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.defect)
def test_the_code_that_a_mutant_breaks_is_there_once(mutant: Mutant) -> None:
    code = (ROOT / "paramctl" / mutant.file).read_text()
    broken, count = re.subn(mutant.pattern, mutant.replacement, code)
    assert count == 1
    assert broken != code

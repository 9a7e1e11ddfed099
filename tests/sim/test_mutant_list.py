"""The list of broken rules stays applicable; the long suite shows that each of them is noticed.

`make mutants` prints the table: name -> killed by what.
"""

import pytest
from mutants import MUTANTS, SOURCE, Mutant, killer


def test_every_mutant_changes_exactly_one_place_and_still_compiles() -> None:
    assert len(MUTANTS) >= 20
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        text = (SOURCE / mutant.file).read_text()
        assert text.count(mutant.old) == 1, f"{mutant.name}: {mutant.old!r} in {mutant.file}"
        compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")


@pytest.mark.long
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_killed(mutant: Mutant) -> None:
    assert killer(mutant) != ""

"""The planted bugs of scripts/mutants.py still fit the sources; that each is caught is `make mutants`."""

import importlib.util

import pytest

from busbar.tools import project_root

ROOT = project_root()
SPEC = importlib.util.spec_from_file_location("mutants", ROOT / "scripts" / "mutants.py")
mutants = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(mutants)


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant__its_text__stands_once_and_its_closest_tests_exist(mutant):
    assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1
    assert mutant.new != mutant.old
    assert (ROOT / mutant.closest).is_file()


def test_mutants__in_the_committed_table__are_those_of_the_script():
    table = (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8")
    assert [line.split("|")[1].strip() for line in table.splitlines() if "`" in line and line.startswith("|")] == [
        mutant.name for mutant in mutants.MUTANTS
    ]
    assert "**none**" not in table

"""The notebook runs from connection to audit, and shows what it says."""

import nbformat
import pytest

from tests.notebook import NOTEBOOK, executed


@pytest.fixture(scope="module")
def notebook(street_day):
    return executed(street_day)


def printed(notebook):
    """Everything its cells wrote as text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text", "") for output in outputs)


def kinds(notebook):
    """What its cells show, by MIME type."""
    return [kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.get("data", {})]


def test_notebook__over_a_replayed_street__ends_with_an_audit_without_difference(notebook):
    assert "checks hold, the audit found no difference" in printed(notebook)


def test_notebook__run__shows_frames_and_two_plots(notebook):
    assert kinds(notebook).count("image/png") == 2
    assert kinds(notebook).count("text/html") >= 5


def test_notebook__as_committed__was_run_to_its_end():
    committed = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(committed)
    assert all(cell.execution_count for cell in committed.cells if cell.cell_type == "code")
    assert "the audit found no difference" in printed(committed)

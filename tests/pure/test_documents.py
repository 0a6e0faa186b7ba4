"""Documents name what exists: tests, files, audit checks."""

import re

import pytest

from busbar.tools import project_root

ROOT = project_root()
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("data/**/*.md"), *ROOT.glob("bench/*.md")]
)
INVARIANTS = (ROOT / "docs" / "invariants.md").read_text(encoding="utf-8")
DEFINED = {
    path.relative_to(ROOT / "tests").as_posix(): set(re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE))
    for path in ROOT.glob("tests/**/test_*.py")
}
"""Tests by file."""


def named(text):
    return re.findall(r"`(test_\w+__\w+)`", text)


def shown(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_document__every_test_it_names__exists(document):
    known = set().union(*DEFINED.values())
    assert [name for name in named(document.read_text(encoding="utf-8")) if name not in known] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_document__every_file_it_links_to__exists(document):
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_invariants__a_test_listed_under_a_file__stands_in_that_file():
    listed = re.findall(r"^\* \[[^]]+\]\(\.\./tests/([^)]+\.py)\)\s((?:.|\n(?!\*|\n|#))*)", INVARIANTS, re.MULTILINE)
    assert len(listed) > 20
    assert [(file, name) for file, text in listed for name in named(text) if name not in DEFINED[file]] == []


def test_invariants__every_numbered_one__names_a_test():
    parts = re.split(r"^## (?=\d)", INVARIANTS, flags=re.MULTILINE)[1:]
    assert [part.split(".")[0] for part in parts] == [str(number) for number in range(1, len(parts) + 1)]
    assert [part.splitlines()[0] for part in parts if not named(part)] == []


def test_invariants__every_audit_check_it_names__is_made():
    made = (ROOT / "busbar" / "ledger.py").read_text(encoding="utf-8")
    checks = [
        check for line in re.findall(r"^\* Audit (.+)$", INVARIANTS, re.MULTILINE) for check in line.split('"')[1::2]
    ]
    assert len(checks) > 8
    assert [check for check in checks if f'"{check}' not in made] == []

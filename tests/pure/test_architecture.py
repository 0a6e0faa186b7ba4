"""One arrow of dependency: reads the imports of every module and fails when the arrow turns round.

contracts <- chain (with units, orders, readings, errors, tools) <- keeper, meters, relay, agents, history,
replay, report <- api, cli
"""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "busbar"

# Each module may import what stands in a line above its own, and nothing beside or below it. A module that
# does not exist yet has its place reserved; one that exists and has no place fails the test.
LAYERS = (
    {"__init__"},
    {"errors"},
    {"tools", "units", "wide", "recovery", "rates", "words"},
    {"orders", "readings", "community", "tariff", "settings", "logs", "metrics", "tables"},
    {"clearing", "results", "heads", "signing"},
    {"permits"},
    {"chain"},
    {"devnet", "outbox", "service"},
    {"deployment", "keys", "ledger", "watch", "errands", "panel"},
    {"meter_keys"},
    {"keeper", "meters", "intake", "relay", "agents", "history"},  # services: none knows another
    {"enrolment", "polling", "statements", "archive", "people", "reckoning"},
    {"sheets"},
    {"bill", "audit"},
    {"replay"},  # conducts the services
    {"report", "display", "doctor", "roles", "supervisor", "wallet", "options"},
    {"api"},
    {"door"},
    {"client", "relay_api", "meters_api", "headend"},
    {"relayed"},
    {"live"},  # conducts the services behind the API
    {"office"},
    {"cli"},
)
# Closer bounds than the layer's.
ONLY = {
    "reckoning": {"errors"},
    "clearing": {"errors", "units", "orders"},
    "report": {"errors", "tools", "units", "results"},
    "results": {"errors", "units"},
}
STANDARD_LIBRARY_ONLY = {"units", "clearing", "words"}
NOT_THE_WRITERS = {"make", "grid_lines", "market_lines", "to_csv", "uncovered"}
"""What statements are written with: the audit of them works it out apart."""
APE = ("ape", "ape_foundry", "ape_solidity")
MAY_IMPORT_APE = {"scripts", "tests"}
NOT_OURS = {"node_modules", "build", "venv"}


def imports_of(source, package=("busbar",)):
    """The dotted names that a module imports, anywhere in it, however it is written.

    Args:
        source: Text of the module.
        package: Package that the module is in, for relative imports.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*parents, *filter(None, [node.module])))
            if base == "busbar":  # each name is a module, or the package's own
                yield from (f"busbar.{alias.name}" for alias in node.names)
            else:
                yield base
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0] if node.args else None
            if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield str(first.value)


def rank(module):
    """Line of a module in LAYERS; None if nobody has placed it."""
    return next((line for line, layer in enumerate(LAYERS) if module in layer), None)


def faults(module, source, package=("busbar",)):
    """What is wrong with a module's imports, one sentence each."""
    if rank(module) is None:
        return [f"busbar.{module} has no place in LAYERS: decide what it may know"]
    found = []
    for name in sorted(set(imports_of(source, package))):
        top, _, rest = name.partition(".")
        if top in APE:
            found.append(f"{module} imports ape")
        if top != "busbar":
            if module in STANDARD_LIBRARY_ONLY and top not in sys.stdlib_module_names:
                found.append(f"{module} imports {top}, but is pure")
            continue
        target = rest.partition(".")[0]
        if target == module or target == "__version__":
            continue
        if rank(target) is None:
            found.append(f"{module} imports busbar.{target or '*'}, which has no place in LAYERS")
        elif rank(target) >= rank(module):
            found.append(f"{module} imports {target}, which is not below it")
        elif target not in ONLY.get(module, {target}):
            found.append(f"{module} imports {target}, but may know only {sorted(ONLY[module])}")
    return found


def modules():
    """Each of busbar's files with its module and package; the files of a package such as api count as one."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield pytest.param(path, parts[0], ("busbar", *parts[:-1]), id="/".join(parts))


@pytest.mark.parametrize(("path", "module", "package"), modules())
def test_module__its_imports__follow_the_arrow(path, module, package):
    assert faults(module, path.read_text(encoding="utf-8"), package) == []


def test_ape__outside_scripts_and_tests__is_imported_nowhere():
    guilty = []
    for folder in ROOT.iterdir():
        if folder.name.startswith(".") or folder.name in MAY_IMPORT_APE | NOT_OURS:
            continue
        files = [folder] if folder.suffix == ".py" else folder.rglob("*.py") if folder.is_dir() else []
        for path in files:
            names = imports_of(path.read_text(encoding="utf-8"))
            guilty += [str(path.relative_to(ROOT)) for name in names if name.partition(".")[0] in APE]
    assert guilty == []


def test_layers__every_module__has_one_place():
    placed = [module for layer in LAYERS for module in layer]
    assert len(placed) == len(set(placed))
    assert set(ONLY) | STANDARD_LIBRARY_ONLY <= set(placed)


# --------------------------------------------------------------------------- the checker itself

BAD = {
    "core knows chain": ("orders", "from busbar.chain import Chain", "orders imports chain, which is not below it"),
    "chain knows keeper": ("chain", "import busbar.keeper", "chain imports keeper, which is not below it"),
    "chain knows api": ("chain", "from . import api", "chain imports api, which is not below it"),
    "service knows service": ("keeper", "from .meters import Gateway", "keeper imports meters, which is not below it"),
    "service knows replay": (
        "agents",
        "from busbar import errors, replay",
        "agents imports replay, which is not below it",
    ),
    "api knows cli": ("api", "from ..cli import main", "api imports cli, which is not below it"),
    "clearing knows readings": (
        "clearing",
        "from busbar import readings",
        "clearing imports readings, but may know only ['errors', 'orders', 'units']",
    ),
    "clearing knows the world": ("clearing", "import web3", "clearing imports web3, but is pure"),
    "report knows chain": (
        "report",
        "from busbar import chain",
        "report imports chain, but may know only ['errors', 'results', 'tools', 'units']",
    ),
    "late": ("units", "def f():\n    from busbar import chain", "units imports chain, which is not below it"),
    "for types only": (
        "units",
        "if TYPE_CHECKING:\n    from busbar.chain import Chain",
        "units imports chain, which is not below it",
    ),
    "by name": ("units", "importlib.import_module('busbar.chain')", "units imports chain, which is not below it"),
    "star": ("cli", "from busbar import *", "cli imports busbar.*, which has no place in LAYERS"),
    "whole package": ("cli", "import busbar", "cli imports busbar.*, which has no place in LAYERS"),
    "unplaced import": ("cli", "from busbar import misc", "cli imports busbar.misc, which has no place in LAYERS"),
    "unplaced module": ("misc", "", "busbar.misc has no place in LAYERS: decide what it may know"),
    "ape": ("cli", "from ape.api import ReceiptAPI", "cli imports ape"),
    "ape plug-in": ("chain", "import ape_foundry as foundry", "chain imports ape"),
}


@pytest.mark.parametrize(("module", "source", "fault"), BAD.values(), ids=BAD)
def test_faults__arrow_turned_round__says_so(module, source, fault):
    assert faults(module, source, ("busbar", "api") if module == "api" else ("busbar",)) == [fault]


GOOD = {
    "core": ("clearing", "from busbar import errors\nfrom busbar.orders import Order\nimport dataclasses"),
    "chain": ("chain", "from web3 import Web3\nfrom busbar import clearing, errors, orders, readings, tools, units"),
    "service": ("keeper", "from busbar.chain import Chain\nfrom . import clearing"),
    "conductor": ("replay", "from busbar import agents, keeper, meters"),
    "inside a package": ("api", "from .deps import chain_of\nfrom busbar.api import shapes\nfrom ..chain import Chain"),
    "top": ("cli", "from busbar import __version__, api, replay, report"),
    "names that look alike": ("keeper", "import apex\nfrom busbar.chain import agents"),
}


@pytest.mark.parametrize(("module", "source"), GOOD.values(), ids=GOOD)
def test_faults__arrow_kept__finds_none(module, source):
    assert faults(module, source, ("busbar", "api") if module == "api" else ("busbar",)) == []


@pytest.mark.parametrize("module", ["audit", "reckoning", "sheets"])
def test_audit__of_a_bill__uses_nothing_that_wrote_it(module):
    tree = ast.parse((ROOT / "busbar" / f"{module}.py").read_text("utf-8"))
    used = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert used & NOT_THE_WRITERS == set()
    assert "busbar.statements" not in {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }

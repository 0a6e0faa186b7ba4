"""Plants plausible bugs in the contracts and in the reference, one at a time, and runs the tests on each.

Every one must be caught. The table goes to docs/mutants.md, with the test that caught it first.

Usage: .venv/bin/python scripts/mutants.py [NAME...]     (`make mutants`)

Each mutant is built in a copy of the checkout in a temporary folder; the checkout itself is never touched. The tests
run are those of `make test`, those closest to the change first, and stop at the first failure. Before all, the closest
tests run on a copy without a bug and must pass: what fails on a mutant then fails because of it.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from busbar import tools


class Mutant(NamedTuple):
    """A planted bug: one piece of text in one file replaced by another."""

    name: str
    file: str
    old: str
    new: str
    means: str
    closest: str


MUTANTS = (
    Mutant(
        "floor for ceil",
        "contracts/libraries/Clearing.sol",
        "return (x + y - 1) / y;",
        "return x / y;",
        "a rationed bid pays the floor: the contract gives away money",
        "tests/contracts/test_edge_epochs.py",
    ),
    Mutant(
        "stale words live",
        "contracts/libraries/Book.sol",
        "return word >> _TAG_SHIFT == epoch ? word & _LANES_MASK : 0;",
        "return word & _LANES_MASK;",
        "volumes of an earlier epoch count again",
        "tests/contracts/test_against_reference_revm.py",
    ),
    Mutant(
        "tag off by one",
        "contracts/libraries/Book.sol",
        "return word >> _TAG_SHIFT == epoch ?",
        "return (word >> _TAG_SHIFT) + 1 >= epoch ?",
        "volumes of the epoch before count again",
        "tests/contracts/test_against_reference_revm.py",
    ),
    Mutant(
        "cancelled but not in the sums",
        "contracts/libraries/Book.sol",
        "_page(book, side, page / _PAGE_LANES).value -= quantityWh << ((page % _PAGE_LANES) * _PAGE_BITS);",
        "",
        "a cancelled order stays in the sum of its page",
        "tests/contracts/test_against_reference_revm.py",
    ),
    Mutant(
        "interval of maximal volume",
        "contracts/libraries/Book.sol",
        "r.upper = _nextOccupied(book, epoch, w, index) + 1;",
        "r.upper = _nextOccupied(book, epoch, w, index);",
        "the upper end of the price interval is a tick too low",
        "tests/contracts/test_edge_epochs.py",
    ),
    Mutant(
        "wrong side rationed",
        "contracts/libraries/Book.sol",
        "r.longSide = Clearing.BIDS;",
        "r.longSide = Clearing.ASKS;",
        "the shorter side is rationed",
        "tests/contracts/test_edge_epochs.py",
    ),
    Mutant(
        "suspended may trade",
        "contracts/Trading.sol",
        "if (status != Accounts.ACTIVE) revert AccountSuspended(account);",
        "",
        "the status check is missing",
        "tests/contracts/test_create_orders.py",
    ),
    Mutant(
        "cancel twice",
        "contracts/Trading.sol",
        "if (quantityWh == 0) revert OrderNotOpen(orderId);",
        "",
        "a cancelled order can be cancelled again",
        "tests/contracts/test_cancel_order.py",
    ),
    Mutant(
        "settle twice",
        "contracts/Trading.sol",
        "        a.count = 0;\n        return (a, true);",
        "        return (a, true);",
        "settling does not mark the orders as settled",
        "tests/contracts/test_settle.py",
    ),
    Mutant(
        "one order more",
        "contracts/Trading.sol",
        "if (total > MAX_ORDERS)",
        "if (total > MAX_ORDERS + 1)",
        "101 orders fit an epoch",
        "tests/contracts/test_create_orders.py",
    ),
    Mutant(
        "expires an epoch early",
        "contracts/libraries/Standing.sol",
        "if (OrderCodec.life(order) >= epochs) {",
        "if (OrderCodec.life(order) > epochs) {",
        "a standing order misses the last epoch of its life",
        "tests/contracts/test_standing_orders.py",
    ),
    Mutant(
        "rolled though suspended",
        "contracts/Trading.sol",
        "if (Accounts.statusOf(word) != Accounts.ACTIVE) {",
        "if (Accounts.statusOf(word) == Accounts.UNKNOWN) {",
        "somebody suspended enters orders by having them rolled",
        "tests/contracts/test_standing_orders.py",
    ),
    Mutant(
        "rest of a bid by its energy",
        "contracts/libraries/Clearing.sol",
        "return money / (ENERGY_UNITS_PER_WH * 2 * tick);",
        "return quantityWh - energy / ENERGY_UNITS_PER_WH;",
        "what rests of a rationed bid locks more than came back",
        "tests/contracts/test_standing_against_reference_revm.py",
    ),
    Mutant(
        "last epoch not signed",
        "contracts/libraries/Messages.sol",
        "mstore(add(struct_, 0x80), add(firstEpoch, shr(35, order)))",
        "mstore(add(struct_, 0x80), firstEpoch)",
        "a relay chooses how long an order stands",
        "tests/contracts/test_standing_orders.py",
    ),
    Mutant(
        "duplicate reading counts",
        "contracts/Metering.sol",
        "if (end <= lastEnd) return (SkipReason.NotNewer",
        "if (end < lastEnd) return (SkipReason.NotNewer",
        "a reading may be delivered twice",
        "tests/contracts/test_submit_readings.py",
    ),
    Mutant(
        "anybody's signature",
        "contracts/Metering.sol",
        "if (!_isKey(_signer(digest, reading, keys, k), meter.state)) return (SkipReason.BadSignature, owner, 0);",
        "",
        "the signature is not looked at",
        "tests/contracts/test_submit_readings.py",
    ),
    Mutant(
        "P-256 not verified",
        "contracts/Metering.sol",
        "if (!P256.verify(digest, reading.r, reading.vs, key.x, key.y)) return address(0);",
        "",
        "whoever knows a meter's public key signs for it",
        "tests/contracts/test_p256_readings.py",
    ),
    Mutant(
        "late reading recorded twice",
        "contracts/Metering.sol",
        "if (end <= lastEnd) return SkipReason.NotNewer;",
        "",
        "a late reading may be delivered twice",
        "tests/contracts/test_late_readings.py",
    ),
    Mutant(
        "late reading above the final registers",
        "contracts/Metering.sol",
        "if (importWh > finalImportWh || exportWh > finalExportWh) return SkipReason.AboveFinalRegister;",
        "",
        "a replaced device may show more than it did when it was replaced",
        "tests/contracts/test_late_readings.py",
    ),
    Mutant(
        "lowest answer instead of the median",
        "contracts/OracleClient.sol",
        "Arrays.sort(values)[quorum / 2]",
        "Arrays.sort(values)[0]",
        "one low answer decides a datum",
        "tests/contracts/test_oracle_panel.py",
    ),
    Mutant(
        "operator answers twice",
        "contracts/OracleClient.sol",
        "if (answers[i].operator == msg.sender) revert AnsweredAlready(requestId, msg.sender);",
        "",
        "an operator makes a quorum alone",
        "tests/contracts/test_oracle_panel.py",
    ),
    Mutant(
        "parked is minted",
        "contracts/Metering.sol",
        "return exportWh - parkedExport;",
        "return exportWh;",
        "implausible growth is minted although it is parked",
        "tests/contracts/test_submit_readings.py",
    ),
    Mutant(
        "grace too long",
        "contracts/Metering.sol",
        "epoch % PERIOD_EPOCHS < GRACE_EPOCHS",
        "epoch % PERIOD_EPOCHS <= GRACE_EPOCHS",
        "last period's import can be retired an epoch too long",
        "tests/contracts/test_retire.py",
    ),
    Mutant(
        "previous import forgotten",
        "contracts/libraries/Imports.sol",
        "                if (period > ledger.period + 1) {\n                    ledger.gridImport += ledger.previous;",
        "                if (period > ledger.period + 1) {",
        "import of a skipped period is never billed",
        "tests/contracts/test_retire.py",
    ),
    Mutant(
        "short way unsigned",
        "contracts/Trading.sol",
        "if (!Messages.isSingleSigned(batch.form, head, side, tick, quantityWh, start)) return start;",
        "",
        "whoever relays a single order need not have its signature",
        "tests/contracts/test_enter_bundles.py",
    ),
    Mutant(
        "reference: asks floored",
        "busbar/clearing.py",
        "-(-x // y)",
        "x // y",
        "the Python reference rounds down where it must round up",
        "tests/pure/test_clearing.py",
    ),
)
"""Bugs that somebody could write."""

HEAD = """# Mutants

Bugs planted one at a time, and the first test that caught each. Printed by `make mutants`.

| bug | file | what it does | caught first by |
|---|---|---|---|
"""


def build(root: Path, mutant: Mutant | None) -> Path:
    """A copy of the checkout with the bug in it, compiled; without a mutant, an honest copy."""
    folder = Path(tempfile.mkdtemp(prefix="busbar-mutant-"))
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in run(root, listed, check=True).stdout.split("\0"):
        if name and (root / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    (folder / "node_modules").symlink_to(root / "node_modules")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "solcx").symlink_to(root / ".cache" / "solcx")
    if mutant is not None:
        path = folder / mutant.file
        text = path.read_text(encoding="utf-8")
        if text.count(mutant.old) != 1:
            sys.exit(f"mutant {mutant.name!r}: its text stands {text.count(mutant.old)} times, not once")
        path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    if mutant is not None and mutant.file.endswith(".sol"):
        run(folder, [sys.executable, "scripts/export_abi.py"], check=True)
    else:
        for compiled in ("busbar/abi", ".cache/test-abi"):
            shutil.copytree(root / compiled, folder / compiled, dirs_exist_ok=True)
    return folder


def run(folder: Path, command: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
    """Runs a command on a copy's own package."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=check)


def tried(folder: Path, places: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs tests on a copy until the first that fails."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:ape_test", "-p", "no:cacheprovider", *places]
    return run(folder, pytest, check=False)


def caught_by(folder: Path, mutant: Mutant) -> str | None:
    """The first test that fails on a mutant, or None if all pass."""
    for places in ([mutant.closest], ["tests"]):
        done = tried(folder, places)
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
        if failed is not None:
            return failed.group(1)
        if done.returncode != 0:
            sys.exit(f"mutant {mutant.name!r}: the tests did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return None


def rows(table: Path) -> dict[str, str]:
    """The rows of the committed table by mutant."""
    lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    return {line.split("|")[1].strip(): line for line in lines if line.startswith("|")}


def row(mutant: Mutant, test: str | None) -> str:
    """A mutant's line in the table."""
    shown = f"`{test.split('::')[0].removeprefix('tests/')}` {test.split('::')[-1]}" if test else "**none**"
    return f"| {mutant.name} | `{mutant.file}` | {mutant.means} | {shown} |"


def main() -> int:
    """Tries every mutant, or those named, and enters each in the table."""
    root = tools.project_root()
    parser = argparse.ArgumentParser(prog="mutants", description="Plants bugs and runs the tests on each.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these; every one if none is named")
    names = parser.parse_args().names
    if strangers := set(names) - {mutant.name for mutant in MUTANTS}:
        parser.error(f"no mutant is called {', '.join(sorted(strangers))}; docs/mutants.md lists them")
    wanted = [mutant for mutant in MUTANTS if mutant.name in names or not names]
    honest = build(root, None)
    try:
        done = tried(honest, list(dict.fromkeys(mutant.closest for mutant in wanted)))
    finally:
        shutil.rmtree(honest, ignore_errors=True)
    if done.returncode != 0:
        sys.exit(f"the tests fail without any bug:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    table = root / "docs" / "mutants.md"
    known, survivors = rows(table), 0
    for mutant in wanted:
        folder = build(root, mutant)
        try:
            test = caught_by(folder, mutant)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        survivors += test is None
        sys.stdout.write(f"{'caught' if test else 'SURVIVED':<9} {mutant.name:<30} {test or ''}\n")
        sys.stdout.flush()
        known[mutant.name] = row(mutant, test)
        text = HEAD + "".join(f"{known[mutant.name]}\n" for mutant in MUTANTS if mutant.name in known)
        table.write_text(text, encoding="utf-8")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())

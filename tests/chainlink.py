"""Chainlink's own contracts, unmodified: fetched from npm by checksum, compiled with the compilers they name.

`npm install` cannot have the package (a dependency of it is on GitHub), so its tarball is unpacked. Nothing of it is
kept in the project: tarballs and what is built of them stay in .cache/chainlink.
"""

import hashlib
import json
import posixpath
import re
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from busbar import tools
from busbar.chain import load_artifact
from tests.requires import cannot_run

CONTRACTS_PACKAGE = "@chainlink/contracts@1.2.0"
"""The newest that still ships KeeperRegistry 1.2; Operator 1.0.0 and LinkToken are in it too. MIT, all of them."""
OPENZEPPELIN_PACKAGE = "@openzeppelin/contracts@4.7.3"

SHA512 = {
    CONTRACTS_PACKAGE: "adc1f1cd829c544ac034f88b4df2fe28e9259871aef1e081dd7b4f6689494902"
    "db1f764dc3d224686ca74352233549409d3c05c3973bd8508aacd374db7c43ee",
    OPENZEPPELIN_PACKAGE: "746452d1a809ceef326e8e38a4221fdf105a3d037feb90085cd80af3ee20cca7"
    "7991bbe5ab2c6bc946152c9bfb7caf7c49ec9dda10d9cd5107496021d01b7563",
    "solc@0.8.6": "9a288369675a5270fb03a0a4b5bff6ba0f5ff9a8dc3820d846beef81b3c4b0ca"
    "2eb52941b69e6b71ae7ba0c83c8874ae33b8e297077178fba3588ffeadb35fb5",
    "solc@0.8.19": "caabab4b7c330b82dd12f98ca1b3835eaa6b57831825c56d8a7bb182ba7ad5a7"
    "3c2b6cf3e34bd703479202c9121cf82ff1d428ecdbb1dfd8b7401b07c78a6ac8",
}

SOURCES = {
    "KeeperRegistry1_2": ("solc@0.8.6", "automation/v1_2/KeeperRegistry1_2.sol"),
    "Operator": ("solc@0.8.19", "operatorforwarder/Operator.sol"),
    "LinkToken": ("solc@0.8.19", "shared/token/ERC677/LinkToken.sol"),
    "MockV3Aggregator": ("solc@0.8.19", "tests/MockV3Aggregator.sol"),
}
"""Contracts by name: compiler and source. The mock is Chainlink's own price feed for tests."""

_FETCH_SECONDS, _COMPILE_SECONDS = 180, 120
_IMPORT = re.compile(r"""import\s+(?:[^"';]*from\s+)?["']([^"']+)["']""")
_COMPILE = """
const [compiler, input, output] = process.argv.slice(1), fs = require("fs");
const solc = require("solc/wrapper")(require(compiler));
fs.writeFileSync(output, solc.compile(fs.readFileSync(input, "utf8")));
"""


def artifact(name: str) -> dict[str, Any]:
    """ABI and bytecode of one of `SOURCES`. Skips the test if the registry cannot be reached."""
    compiler, source = SOURCES[name]
    built = _cache() / f"{name}.json"
    if not built.exists():
        compiled = _compile(compiler, source)[f"src/v0.8/{source}"][name]
        found = {"abi": compiled["abi"], "bytecode": "0x" + compiled["evm"]["bytecode"]["object"]}
        part = built.with_suffix(".part")
        part.write_text(json.dumps(found), encoding="utf-8")
        part.replace(built)
    return dict(json.loads(built.read_text(encoding="utf-8")))


@contextmanager
def known_to_the_client():
    """Lets `Chain` deploy, call and decode Chainlink's contracts as if they were ours."""
    artifacts = {name: artifact(name) for name in SOURCES}
    with patch("busbar.chain.load_artifact", lambda name: artifacts.get(name) or load_artifact(name)):
        yield


def _cache() -> Path:
    # A change of versions or checksums starts afresh.
    digest = hashlib.sha256(json.dumps([SHA512, SOURCES]).encode()).hexdigest()[:12]
    folder = tools.project_root() / ".cache" / "chainlink" / digest
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _package(name: str) -> Path:
    """The unpacked package."""
    folder = _cache() / re.sub("[^0-9a-z.]+", "-", name)
    if folder.exists():
        return folder / "package"
    with tempfile.TemporaryDirectory(dir=_cache()) as scratch:
        command = ["npm", "pack", name, "--loglevel=error", "--pack-destination", scratch]
        try:
            done = subprocess.run(
                command, check=False, cwd=scratch, capture_output=True, text=True, timeout=_FETCH_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as problem:
            cannot_run(f"{name} cannot be had from npm: {type(problem).__name__}")
        if done.returncode != 0:
            cannot_run(f"{name} cannot be had from npm: {done.stderr.partition(chr(10))[0]}")
        (tarball,) = Path(scratch).glob("*.tgz")
        assert hashlib.sha512(tarball.read_bytes()).hexdigest() == SHA512[name], f"{name} is not what was pinned"
        unpacked = Path(scratch) / "unpacked"
        with tarfile.open(tarball) as archive:
            archive.extractall(unpacked, filter="data")
        unpacked.rename(folder)
    return folder / "package"


def _compile(compiler: str, source: str) -> Any:
    sources: dict[str, dict[str, str]] = {}
    _collect(f"src/v0.8/{source}", sources)
    settings = {
        "optimizer": {"enabled": True, "runs": 200},
        "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object"]}},
    }
    with tempfile.TemporaryDirectory() as scratch:
        given, found = Path(scratch) / "in.json", Path(scratch) / "out.json"
        given.write_text(json.dumps({"language": "Solidity", "sources": sources, "settings": settings}))
        command = ["node", "-e", _COMPILE, str(_package(compiler) / "soljson.js"), str(given), str(found)]
        subprocess.run(command, cwd=tools.project_root(), check=True, timeout=_COMPILE_SECONDS, capture_output=True)
        output = json.loads(found.read_text(encoding="utf-8"))
    problems = [e["formattedMessage"] for e in output.get("errors", []) if e["severity"] == "error"]
    assert not problems, problems
    return output["contracts"]


def _collect(name: str, sources: dict[str, dict[str, str]]) -> None:
    """A source and all it imports, under the names by which they import each other."""
    if name in sources:
        return
    external = "@openzeppelin/contracts/"
    if name.startswith(external):
        path = _package(OPENZEPPELIN_PACKAGE) / name.removeprefix(external)
    else:
        path = _package(CONTRACTS_PACKAGE) / name
    text = path.read_text(encoding="utf-8")
    sources[name] = {"content": text}
    for target in _IMPORT.findall(text):
        relative = target.startswith(".")
        _collect(posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) if relative else target, sources)

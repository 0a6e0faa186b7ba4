"""Compiles the contracts and writes what the package and the tests load: ABI and bytecode as JSON.

Shipped contracts go to busbar/abi/<Contract>.json: every deployable contract directly in contracts/, and those of
OpenZeppelin that are deployed as they are. Helpers of the tests, tests/solidity/*.sol, go to .cache/test-abi/ in the
same form and are never shipped. Settings come from ape-config.yaml, so ape builds the same code.

Usage: .venv/bin/python scripts/export_abi.py   (part of `make compile`, which runs it when a source has changed)
"""

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from busbar import tools

OPENZEPPELIN = "@openzeppelin/contracts"
DEPLOYED_AS_THEY_ARE: tuple[str, ...] = ()
"""Contracts of OpenZeppelin that Busbar deploys unchanged, by their path in the package."""

CODE_LIMIT = 24_576
"""Bytes of code a chain accepts in one contract (EIP-170)."""

JsonObject = dict[str, Any]


class CompilationFailed(Exception):
    """The compiler refused the sources; the message is what it said."""


def compiler_settings(root: Path) -> JsonObject:
    """The settings of ape-config.yaml in the compiler's own words."""
    config = yaml.safe_load((root / "ape-config.yaml").read_text(encoding="utf-8"))["solidity"]
    if str(config["version"]) != tools.SOLC_VERSION:
        raise CompilationFailed(
            f"ape-config.yaml wants solc {config['version']}, busbar.tools has {tools.SOLC_VERSION}"
        )
    return {
        "evmVersion": config["evm_version"],
        "optimizer": {"enabled": config["optimize"], "runs": config["optimization_runs"]},
        "remappings": [f"{OPENZEPPELIN}/=node_modules/{OPENZEPPELIN}/"],
        "viaIR": config["via_ir"],
    }


def build(root: Path, settings: JsonObject, sources: list[str]) -> dict[str, JsonObject]:
    """Compiles the named sources, with what they import, and returns the artifact of each contract they define."""
    wanted = [
        "abi",
        "userdoc",
        "evm.bytecode.object",
        "evm.bytecode.linkReferences",
        "evm.deployedBytecode.object",
        "metadata",
    ]
    request = {
        "language": "Solidity",
        "settings": {**settings, "outputSelection": {source: {"*": wanted} for source in sources}},
        "sources": {source: {"content": (root / source).read_text(encoding="utf-8")} for source in sources},
    }
    done = subprocess.run(
        [tools.solc_wrapper(), "--standard-json", "--base-path", root],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CompilationFailed(done.stderr.strip())
    answer = json.loads(done.stdout)
    problems = answer.get("errors", [])
    for problem in problems:
        # OpenZeppelin's warnings are not ours to mend.
        file = problem.get("sourceLocation", {}).get("file", "")
        if problem["severity"] == "error" or not file.startswith("node_modules/"):
            sys.stderr.write(problem["formattedMessage"])
    if any(problem["severity"] == "error" for problem in problems):
        raise CompilationFailed("the contracts do not compile; the compiler's messages are above")
    return {
        name: artifact(name, contract)
        for source in sources
        for name, contract in answer["contracts"].get(source, {}).items()
    }


def artifact(name: str, contract: JsonObject) -> JsonObject:
    """One contract as the package loads it."""
    abi = contract["abi"]
    metadata = json.loads(contract["metadata"]) if contract["metadata"] else {"sources": {}, "compiler": {}}
    hashes = {source: entry["keccak256"] for source, entry in metadata["sources"].items()}
    found: JsonObject = {
        "contractName": name,
        "compiler": metadata["compiler"].get("version"),
        "abiHash": sha256(abi),
        # Over every file the contract is made of, so it changes exactly when its code may have.
        "sourceHash": sha256(hashes),
        "userdoc": contract["userdoc"],
        "abi": abi,
        "bytecode": "0x" + contract["evm"]["bytecode"]["object"],
        "deployedBytecode": "0x" + contract["evm"]["deployedBytecode"]["object"],
    }
    if contract["evm"]["bytecode"]["linkReferences"]:
        found["linkReferences"] = contract["evm"]["bytecode"]["linkReferences"]
    return found


def sha256(value: object) -> str:
    """The hash of a value's canonical JSON: keys sorted, no spaces."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write(folder: Path, artifacts: dict[str, JsonObject]) -> None:
    """Makes the folder hold these artifacts and no others; files that would not change keep their time."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in set(folder.glob("*.json")) - {folder / f"{name}.json" for name in artifacts}:
        stale.unlink()
    for name, content in artifacts.items():
        path = folder / f"{name}.json"
        text = json.dumps(content, indent=1) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def code_size(content: JsonObject) -> int:
    """Bytes the contract takes on the chain."""
    return (len(content["deployedBytecode"]) - 2) // 2


def report_sizes(shipped: dict[str, JsonObject]) -> None:
    """Prints each contract's size and refuses what no chain would accept."""
    for name, content in sorted(shipped.items()):
        print(f"      {name:<16}{code_size(content):>7,} of {CODE_LIMIT:,} bytes")
    too_large = [name for name, content in shipped.items() if code_size(content) > CODE_LIMIT]
    if too_large:
        raise CompilationFailed(f"{', '.join(too_large)}: larger than the {CODE_LIMIT} bytes of EIP-170")


def main() -> int:
    """Compiles shipped contracts and test helpers, at the same time, and writes both."""
    root = tools.project_root()
    contracts = sorted(path.relative_to(root).as_posix() for path in (root / "contracts").glob("*.sol"))
    vendored = [f"node_modules/{OPENZEPPELIN}/{path}" for path in DEPLOYED_AS_THEY_ARE]
    helpers = sorted(path.relative_to(root).as_posix() for path in (root / "tests" / "solidity").glob("**/*.sol"))
    try:
        settings = compiler_settings(root)
        with ThreadPoolExecutor(max_workers=2) as pool:
            shipped_job = pool.submit(build, root, settings, contracts + vendored)
            helpers_job = pool.submit(build, root, settings, helpers) if helpers else None
            shipped = {name: made for name, made in shipped_job.result().items() if made["bytecode"] != "0x"}
            write(root / "busbar" / "abi", shipped)
            report_sizes(shipped)
            write(root / ".cache" / "test-abi", helpers_job.result() if helpers_job else {})
    except (CompilationFailed, tools.ToolMissing) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

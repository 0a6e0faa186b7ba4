"""The programs Busbar starts beside itself: where they lie once `make setup` has run.

Nothing here is looked up on PATH except Node: anvil, forge and solc come from npm at the versions of
package-lock.json, so that what runs is what was tested.
"""

import os
import platform
import shutil
import sys
from pathlib import Path

from busbar import errors

SOLC_VERSION = "0.8.35"
"""The version of the `solc` package in package.json; a test compares the two."""

_OS = {"linux": "linux", "darwin": "darwin"}
_CPU = {"x86_64": "amd64", "amd64": "amd64", "arm64": "arm64", "aarch64": "arm64"}


class PortUnusableError(errors.BusbarError):
    """Nobody can listen at a port."""

    remedy = errors.Remedy.STOP

    def __init__(self, host: str, port: int, what: str, problem: OSError) -> None:
        told = os.strerror(problem.errno) if problem.errno else problem
        super().__init__(
            f"{what} cannot be taken at {host}, port {port} ({told}): stop who listens there, or name another"
        )


class ToolMissing(errors.BusbarError):
    """A program or folder that set-up provides is not there. The message names the command that brings it."""


def project_root() -> Path:
    """The checkout this package runs from: the folder of ape-config.yaml and package.json.

    Raises:
        ToolMissing: The package was installed away from its checkout.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / "ape-config.yaml").is_file():
        raise ToolMissing(f"{root} is no checkout of Busbar: clone the repository and run `make setup` there")
    return root


def anvil_binary() -> Path:
    """The development chain. The program itself: npm's shim in `.bin` leaves the chain running when killed."""
    return _foundry("anvil")


def forge_binary() -> Path:
    """Foundry's builder, used by `make check`."""
    return _foundry("forge")


def cast_binary() -> Path:
    """Foundry's command line client."""
    return _foundry("cast")


def dapp_folder() -> Path:
    """Where `make dapp-build` puts the built dapp."""
    return project_root() / "dapp" / "dist"


def node_binary() -> Path:
    """Node, which runs the Solidity compiler.

    Raises:
        ToolMissing: There is no `node` on PATH.
    """
    found = shutil.which("node")
    if found is None:
        raise ToolMissing("Node is missing: install Node 20.19 or later (`apt-get install nodejs npm`)")
    return Path(found)


def solc_wrapper() -> Path:
    """The Solidity compiler, under the name by which py-solc-x, ape and forge find it."""
    return _present(project_root() / ".cache" / "solcx" / f"solc-v{SOLC_VERSION}")


def _foundry(program: str) -> Path:
    system = _OS.get(sys.platform)
    cpu = _CPU.get(platform.machine().lower())
    if system is None or cpu is None:
        raise ToolMissing(f"{program} is not published for {sys.platform} on {platform.machine()}: use Linux or macOS")
    package = project_root() / "node_modules" / "@foundry-rs" / f"{program}-{system}-{cpu}"
    return _present(package / "bin" / program)


def _present(path: Path) -> Path:
    if not path.exists():
        raise ToolMissing(f"{path.name} is missing at {path}: run `make setup`")
    return path

"""Last step of set-up: links the compiler and tells the virtual environment where everything is.

Usage: .venv/bin/python scripts/setup_env.py   (part of `make setup`; safe to repeat)
       .venv/bin/python scripts/setup_env.py compiler   (only links the compiler, before `make compile`)
"""

import os
import sys
import sysconfig
from pathlib import Path

from busbar import tools


def link_compiler(root: Path) -> None:
    """Puts the compiler where py-solc-x and forge look for it, under the name they look for."""
    link = root / ".cache" / "solcx" / f"solc-v{tools.SOLC_VERSION}"
    link.parent.mkdir(parents=True, exist_ok=True)
    # Made aside and renamed: the steps of set-up run side by side, and a compiler may be running.
    aside = link.with_name(f"{link.name}.{os.getpid()}")
    aside.symlink_to(Path("../../scripts/solc/solc.mjs"))
    aside.replace(link)


def write_environment(root: Path) -> None:
    """Writes the module that sets the variables, and the .pth line by which Python imports it at every start."""
    packages = Path(sysconfig.get_path("purelib"))
    folders = [str(binary.parent) for binary in (tools.anvil_binary(), tools.forge_binary())]
    text = (root / "scripts" / "environment.py").read_text(encoding="utf-8")
    text = text.replace('"@ROOT@"', repr(str(root)))
    text = text.replace('"@BIN_FOLDERS@"', repr(os.pathsep.join(folders)))
    (packages / "busbar_environment.py").write_text(text, encoding="utf-8")
    (packages / "busbar_environment.pth").write_text("import busbar_environment\n", encoding="utf-8")


def main() -> None:
    """Runs both steps, or the first alone."""
    root = tools.project_root()
    link_compiler(root)
    if sys.argv[1:] != ["compiler"]:
        write_environment(root)


if __name__ == "__main__":
    main()

"""Starts a chain on this machine and stays until Ctrl-C: `make devnet`.

Usage: .venv/bin/python scripts/devnet.py [--port 8545] [--block-time SECONDS]

Nothing survives it: each start is a new chain, id 31337, with anvil's ten funded accounts. Old states are pruned, so
reads far below the head fail; anvil otherwise writes hundreds of megabytes into the home folder.
"""

import argparse
import os
import sys
from typing import NoReturn

from busbar import tools


def main() -> NoReturn:
    """Replaces this process by anvil, so that Ctrl-C and kill reach the chain itself."""
    parser = argparse.ArgumentParser(description="Start a development chain on this machine.")
    parser.add_argument("--port", type=int, default=8545)
    parser.add_argument("--block-time", type=float, help="seconds between blocks; without it, a block a transaction")
    arguments = parser.parse_args()
    try:
        anvil = tools.anvil_binary()
        cache = tools.project_root() / ".cache" / "anvil"
    except tools.ToolMissing as problem:
        sys.exit(str(problem))
    cache.mkdir(parents=True, exist_ok=True)
    command = [str(anvil), "--host", "127.0.0.1", "--port", str(arguments.port), "--chain-id", "31337"]
    # Real chains cap a transaction at 16,777,216 gas (EIP-7825).
    command += ["--enable-tx-gas-limit", "--prune-history", "64", "--cache-path", str(cache)]
    if arguments.block_time:
        command += ["--block-time", str(arguments.block_time)]
    os.execv(command[0], command)  # noqa: S606  (the point: no process in between)


if __name__ == "__main__":
    main()

"""Starts a chain on this machine and stays until Ctrl-C: `make devnet`.

Usage: .venv/bin/python scripts/devnet.py [--port 8545] [--block-time 2] [--timestamp UNIX_SECONDS]

Nothing survives it: each start is a new chain, id 31337, under the rules of busbar.devnet. Old states are pruned, so
reads far below the head fail; anvil otherwise writes hundreds of megabytes into the home folder.
"""

import argparse
import os
import sys

from busbar import errors, tools
from busbar.devnet import DEFAULT_PORT, anvil_command


def main() -> int:  # noqa: RET503  (it becomes anvil and does not return)
    """Replaces this process by anvil, so that Ctrl-C and kill reach the chain itself."""
    parser = argparse.ArgumentParser(description="Start a development chain on this machine.")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument(
        "--block-time", type=float, default=2, help="seconds between blocks, besides one a transaction; 0: only those"
    )
    parser.add_argument("--timestamp", type=int, help="Unix time of the first block; now if not given")
    arguments = parser.parse_args()
    try:
        cache = tools.project_root() / ".cache" / "anvil"
        command = anvil_command(
            arguments.port, timestamp=arguments.timestamp, block_time_s=arguments.block_time or None, automine=True
        )
        if arguments.block_time:
            # A block a transaction as well: deploying need not wait, and time passes when nobody does anything.
            command += ["--mixed-mining"]
    except errors.BusbarError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    cache.mkdir(parents=True, exist_ok=True)
    command += ["--cache-path", str(cache), "--prune-history", "64"]
    os.execv(command[0], command)  # noqa: S606  (the point: no process in between)


if __name__ == "__main__":
    sys.exit(main())

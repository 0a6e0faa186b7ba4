"""Where this environment finds Busbar's compiler, chain and caches, so that nobody exports anything.

A template: `scripts/setup_env.py` copies it into the virtual environment, with ROOT filled in, beside a line of
.pth that imports it at every start of Python. What the caller has set already stays.
"""

# ruff: noqa: PTH118  (runs at every start of Python, so it imports as little as it can)

import os

ROOT = "@ROOT@"
BIN_FOLDERS = "@BIN_FOLDERS@"

# py-solc-x, and through it ape, takes the compiler from here instead of downloading one.
os.environ.setdefault("SOLCX_BINARY_PATH", os.path.join(ROOT, ".cache", "solcx"))
# ape's compiled dependencies; kept out of the home folder so that two checkouts never share them.
os.environ.setdefault("APE_DATA_FOLDER", os.path.join(ROOT, ".cache", "ape"))
# ape-foundry looks for `anvil` on PATH. First, so that the pinned one wins.
if BIN_FOLDERS not in os.environ.get("PATH", ""):
    os.environ["PATH"] = os.pathsep.join([BIN_FOLDERS, os.environ.get("PATH", os.defpath)])

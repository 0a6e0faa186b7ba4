"""Busbar: a peer-to-peer energy market for a community, settled on an EVM chain."""

import os

__version__ = "0.1.0"

# eth-hash takes the slower of two libraries by itself: verifying an order takes five hashes.
os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")

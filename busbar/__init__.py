"""Busbar: a peer-to-peer energy market for a community, settled on an EVM chain."""

__version__ = "0.1.0"

"""Measurements of Busbar that are committed beside it."""

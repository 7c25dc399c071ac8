"""Moves live databases to another server and keeps them in step until the operator switches over."""

__version__ = "0.1.0"

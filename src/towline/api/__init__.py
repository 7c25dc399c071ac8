"""The HTTP API, version 3."""

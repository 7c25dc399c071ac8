"""The structure between real servers."""

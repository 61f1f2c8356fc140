"""Fixtures of the sandbox tests."""

from house import cluster, house  # noqa: F401

"""A place of its own to train and compare in: production's sources can be read there, and nothing of production written.

What keeps a sandbox apart is not this code but PostgreSQL: its login owns two databases and may connect to no other.
"""

from pipelines.sandbox.steps import create, drop, listed, refresh

__all__ = ["create", "drop", "listed", "refresh"]

"""Watching models after they are live. `psi` is arithmetic only and may be used by every step."""

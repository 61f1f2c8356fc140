"""The command line: every step of the night by hand, and the embedded stack."""

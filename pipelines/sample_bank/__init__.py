"""A synthetic bank with known truth, for the demo, tests and benchmarks. docs/sample_bank.md says what is planted where."""

from pipelines.sample_bank.bank import NAME, Planted, generate, read_planted

__all__ = ["NAME", "Planted", "generate", "read_planted"]

"""The small bank of tests/helpers, for every test of scoring."""

from bank_fixtures import bank, bank_template

__all__ = ["bank", "bank_template"]

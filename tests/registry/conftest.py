"""The small bank of tests/helpers, beside the registry tests' own."""

from bank_fixtures import bank_template

__all__ = ["bank_template"]

"""A bank with one published night and a budget of three alerts."""

from __future__ import annotations

import pytest
from aml_night import NIGHT, book, divide, pay, publish_scores, watched

from pipelines.settings import Settings


@pytest.fixture
def bare(settings: Settings) -> Settings:
    """Policy, segments and a few payments; nothing is published."""
    made = watched(settings)
    divide(made, {row.name: "mass" if row.name != "bob" else "private" for row in NIGHT})
    book(
        made,
        [
            pay("a1", "ann", "x-1", 9_500, channel="branch", direction="credit"),
            pay("a2", "ann", "y-1", 100, country="SY"),
            pay("a3", "ann", "y-1", 50.25),
            pay("b1", "bob", "ann-1", 700),
            pay("a4", "ann", "bob-1", 700, direction="credit"),
            pay("d1", "dan", None, 20),
        ],
    )
    return made


@pytest.fixture
def bank(bare: Settings) -> Settings:
    """The same with a published night."""
    publish_scores(bare, NIGHT)
    return bare

"""Random numbers by address: seed, stream, block of customers and moment name a place in a counter-based generator.

Nothing depends on what was drawn before, so blocks may be made in any order, on any number of cores, and a new stream
leaves every other one as it was.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np


class Stream(IntEnum):
    """One independent source of randomness per part of the bank. Numbers are never reused."""

    CUSTOMERS = 1
    BUREAU = 2
    ACCOUNTS = 3
    BEHAVIOUR = 4
    APPLICATIONS = 5
    PEOPLE = 6
    SCHEMES = 7
    INVESTIGATIONS = 8
    DIRT_ACCOUNT_SNAPSHOTS = 10
    DIRT_CUSTOMER_SNAPSHOTS = 11
    DIRT_APPLICATIONS = 12
    DIRT_TRANSACTIONS = 13
    DIRT_OUTCOMES = 14
    DIRT_PROTECTED_ATTRIBUTES = 15
    DIRT_INVESTIGATIONS = 16
    PAYROLL = 20
    RENT = 21
    SHOPPING = 22
    CARD_PURCHASES = 23
    REMITTANCES = 24
    TRANSFERS = 25
    CASH = 26
    SAVINGS = 27
    COUNTER = 28
    BIG_PURCHASES = 29
    TAKINGS = 30
    BUSINESS_INCOME = 31
    TENANTS = 32
    SALES = 33
    HIGH_RISK_REMITTANCES = 34
    WAKING = 35
    FREELANCING = 36
    INVESTING = 37
    STRUCTURING = 50
    FAN_IN = 51
    FAN_OUT = 52
    GATHER_SCATTER = 53
    CYCLE = 54
    PASS_THROUGH = 55
    DORMANT_WAKING = 56
    ROUND_AMOUNTS = 57
    HIGH_RISK_CORRIDOR = 58


def generator(seed: int, stream: int, block: int, moment: int = 0) -> np.random.Generator:
    """The generator at one address. `moment` is a month or day number, or 0; all parts are non-negative."""
    key = np.array([seed, stream], dtype=np.uint64)
    counter = np.array([0, 0, moment, block], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def some(draw: np.random.Generator, among: int, rate: float) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Row numbers below `among`, each picked at a small rate; one may come twice."""
    return draw.integers(0, max(among, 1), draw.binomial(among, rate))

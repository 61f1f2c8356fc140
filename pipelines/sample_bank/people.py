"""Who in a block does what besides leading an ordinary life: launderers, and people who look like them and are not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.sample_bank import columns
from pipelines.sample_bank.columns import Numbers
from pipelines.sample_bank.customers import Customers
from pipelines.sample_bank.dates import NEVER, Calendar, day_number
from pipelines.sample_bank.draws import Stream, generator
from pipelines.sample_bank.truth import LOOK_ALIKES, Laundering

_DAYS_KNOWN = 200
"""Launderers and look-alikes have been customers for this long when files begin to hold every day."""


@dataclass(frozen=True)
class People:
    """Row numbers of customers by what they do, and per customer of the block (shape (customers,)) whom they depend on.

    Attributes:
        look_alikes: rows by kind, see truth.LOOK_ALIKES.
        launderers: rows, in an order of no meaning. Those of `sleepers` are the ones whose account sleeps until its scheme.
        active_from: day number from which a customer uses current account and cards; NEVER for an account that sleeps.
        employer: row of the employer who banks here too, or -1.
        landlord: row of the landlord who banks here too, or -1.
        no_customer: true where the bank does not know whose the account is.
    """

    look_alikes: dict[str, Numbers]
    launderers: Numbers
    sleepers: Numbers
    active_from: Numbers
    employer: Numbers
    landlord: Numbers
    no_customer: Numbers


def draw_people(seed: int, block: int, customers: Customers, calendar: Calendar, laundering: Laundering) -> People:
    """Every customer has one of these parts at most."""
    draw = generator(seed, Stream.PEOPLE, block)
    count, full_from = len(customers), day_number(calendar.full_from)
    known = np.flatnonzero(customers.joined_on <= full_from - _DAYS_KNOWN)
    known = draw.permutation(known)
    shares = {"launderers": laundering.launderers, "sleeping": laundering.sleeping, **LOOK_ALIKES}
    sizes = np.floor(np.array(list(shares.values())) * count + draw.random(len(shares))).astype(np.int64)
    parts = dict(zip(shares, np.split(known, np.cumsum(sizes)), strict=False))
    launderers, sleeping = parts.pop("launderers"), parts.pop("sleeping")
    sleepers = launderers[: round(laundering.sleepers * len(launderers))]
    ordinary = np.ones(count, dtype=bool)
    for rows in (launderers, sleeping, *parts.values()):
        ordinary[rows] = False
    active_from = customers.joined_on.copy()
    active_from[sleepers] = active_from[sleeping] = NEVER
    wakers = parts["people_who_wake_an_account"]
    active_from[wakers] = full_from + draw.integers(0, day_number(calendar.end) - full_from + 1, len(wakers))
    return People(
        look_alikes=parts,
        launderers=launderers,
        sleepers=sleepers,
        active_from=active_from,
        employer=_one_of(draw, parts["small_employers"], ordinary, laundering.paid_by_small_employers),
        landlord=_one_of(draw, parts["landlords"], ordinary, laundering.tenants_of_landlords),
        no_customer=ordinary & (draw.random(count) < laundering.accounts_without_customer),
    )


def look_alikes(people: People, customer_ids: Numbers) -> pa.Table:
    """One row per customer who looks like a launderer and is none, with what the customer does."""
    rows = np.concatenate(list(people.look_alikes.values()))
    kinds = np.repeat(np.arange(len(people.look_alikes)), [len(of_kind) for of_kind in people.look_alikes.values()])
    return pa.table(
        {"customer_id": columns.text(customer_ids[rows]), "kind": columns.choice(kinds, tuple(people.look_alikes))}
    )


def _one_of(draw: np.random.Generator, among: Numbers, ordinary: Numbers, share: float) -> Numbers:
    """For a share of the ordinary customers one of `among`, -1 for the others."""
    chosen = ordinary & (draw.random(len(ordinary)) < share)
    if not len(among):
        return np.full(len(ordinary), -1)
    return np.where(chosen, among[draw.integers(0, len(among), len(ordinary))], -1)

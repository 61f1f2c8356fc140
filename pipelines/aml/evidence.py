"""What an alert carries for good: the transactions and the subgraph that caused it, and the typologies met. Tokens only.

Lists are cut at the policy's lengths; totals never are. The step that raises alerts asks for evidence through `Evidence`,
so another bank's tables, or a test, can answer it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol

from pipelines.aml.linking import SchemeLink
from pipelines.contracts import Value
from pipelines.settings import Settings
from pipelines.spec.alerting import EvidenceLimits


class Transaction(Value):
    """One booking on an account of the customer; `why` names the typologies and schemes it belongs to."""

    transaction_token: str
    booked_at: datetime
    direction: str | None
    amount: Decimal
    currency: str | None
    channel: str | None
    country: str | None
    account_token: str
    counterparty_token: str | None
    why: tuple[str, ...] = ()


class Total(Value):
    """All bookings of one direction and currency in the window, whether listed or not."""

    direction: str | None
    currency: str | None
    transactions: int
    amount: Decimal


class Met(Value):
    """A typology the customer met, with what of the window it rests on. `note` says when that could not be singled out."""

    name: str
    title: str
    transactions: int
    amount: Decimal
    first_at: datetime | None
    last_at: datetime | None
    note: str = ""


class Member(Value):
    """An account of the subgraph: the customer's own or not, and its part in a scheme."""

    account_token: str
    own: bool
    part: str | None = None


class Edge(Value):
    """Payments from one account to another; a payment booked at both sides is one payment.

    Attributes:
        of_scheme: one of the payments belongs to a scheme; such edges come first when the list is cut.
    """

    payer: str
    payee: str
    currency: str | None
    payments: int
    amount: Decimal
    first_at: datetime
    last_at: datetime
    of_scheme: bool = False


class Scheme(Value):
    """A scheme that an account of the customer takes part in."""

    scheme_id: str
    kind: str
    accounts: tuple[str, ...]
    payments: int
    amount: Decimal
    first_at: datetime
    last_at: datetime

    @property
    def link(self) -> SchemeLink:
        return SchemeLink(
            self.scheme_id, self.kind, frozenset(self.accounts), self.first_at.date(), self.last_at.date()
        )


class Found(Value):
    """The evidence of one customer on one business date.

    Attributes:
        after, up_to: bookings with `after < booked date <= up_to` were looked at.
        transactions: in order of time; those that a typology or scheme names come before others when the list is cut.
        transactions_total, edges_total: how many there are, listed or not.
        notes: what the reader must know, for instance that a hub was bounded.
    """

    token: str
    after: date
    up_to: date
    transactions: tuple[Transaction, ...] = ()
    transactions_total: int = 0
    totals: tuple[Total, ...] = ()
    typologies: tuple[Met, ...] = ()
    schemes: tuple[Scheme, ...] = ()
    members: tuple[Member, ...] = ()
    edges: tuple[Edge, ...] = ()
    edges_total: int = 0
    notes: tuple[str, ...] = ()


class Evidence(Protocol):
    """Finds the evidence of customers on a business date, knowing nothing that came later."""

    def find(
        self, settings: Settings, limits: EvidenceLimits, business_date: date, asked: Mapping[str, tuple[str, ...]]
    ) -> Mapping[str, Found]:
        """Evidence by token, for every token of `asked`, which gives the typologies each one met.

        Raises:
            Blocked: the transactions are not in the lake; an alert without its reason is not raised.
        """
        ...

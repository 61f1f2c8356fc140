"""Limits of the transfer network's features and schemes: policies/aml_network.yaml. docs/aml_network.md explains each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipelines.spec.base import Country, DatedPack, Strict

Days = Annotated[int, Field(ge=1, le=3660)]
Count = Annotated[int, Field(ge=1)]
Parties = Annotated[int, Field(ge=2)]
Money = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class FanLimits(Strict):
    """Many small payments from (or to) many accounts in a short time, and then little else.

    Attributes:
        days: length of the sliding window, in whole days (UTC).
        small_amount: payments above it are not part of a fan.
        least_parties: distinct accounts on the other side that make a scheme.
        least_share: of the amount of the account's small payments in that direction over the lookback that falls into the
            window. Of the amount, not the number: a collector shops like everybody else.
        scatter_days: a fan-out ends at most this many days after the fan-in it spends.
        scatter_least_share: of the gathered amount that a gather-scatter sends on.
    """

    days: Days
    small_amount: Money
    least_parties: Parties
    least_share: Share
    scatter_days: Days
    scatter_least_share: Share


class ChainLimits(Strict):
    """Money handed on from account to account: the links of cycles and of scatter-gather.

    Attributes:
        hop_days: a payment is handed on within this many days.
        max_shrink: share of the amount that may be kept back at each hop; the amount never grows.
        longest_cycle: payments in the longest cycle that is looked for.
        least_middles: intermediaries that make a scatter-gather.
        scatter_gather_days: from the first payment of the source to the last one into the sink.
        max_links: pairs of payments in and out of one account, of one period of `hop_days` and one class of amount (and the
            neighbouring ones), that are looked through; an account with more of them is a bounded hub there.
        max_chains: chains, or cycles, of one length; more stop the run, for the limits above are then too wide.
    """

    hop_days: Days
    max_shrink: Annotated[float, Field(ge=0, lt=1)]
    longest_cycle: Annotated[int, Field(ge=2, le=6)]
    least_middles: Parties
    scatter_gather_days: Days
    max_links: Count
    max_chains: Count


class PassThroughLimits(Strict):
    """Money that leaves soon after it came.

    Attributes:
        hours: money that leaves within this many hours has passed through.
        least_amount: matched amount that makes a scheme.
        least_share: of the incoming payments of a scheme that must have passed through.
    """

    hours: Annotated[int, Field(ge=1, le=24 * 31)]
    least_amount: Money
    least_share: Share


class ExposureLimits(Strict):
    """Payments with accounts whose customers were found suspicious.

    Attributes:
        max_counterparties: an account with more of them over the lookback links nobody at the second hop: two people
            who shop at one supermarket have nothing in common.
    """

    max_counterparties: Count


class NetworkLimits(DatedPack):
    """Everything that decides what a feature or scheme of the network is.

    Attributes:
        currencies: value of one unit in the currency of all limits here, for comparing amounts.
        home_country: a payment with another country is cross-border.
        cash_channels: channels that are cash.
        lookback_days: bursts, cycles, schemes and exposure are looked for in this many days up to the business date; at
            least the 90 of the longest feature.
        known_days: a counterparty is new when it was not paid with in this many days before.
        least_known_days: days of history needed before a window to tell a new counterparty from an old one.
    """

    currencies: dict[str, Money]
    home_country: Country
    cash_channels: tuple[str, ...]
    lookback_days: Annotated[int, Field(ge=90, le=3660)]
    known_days: Days
    least_known_days: Days
    fans: FanLimits
    chains: ChainLimits
    pass_through: PassThroughLimits
    exposure: ExposureLimits

    @model_validator(mode="after")
    def _windows_fit(self) -> NetworkLimits:
        if not self.currencies:
            raise ValueError("currencies is empty; name at least the bank's own, with the value 1")
        if self.known_days < self.lookback_days:
            raise ValueError("known_days must be at least lookback_days: it is how far back payments are read")
        return self


__all__ = ["ChainLimits", "ExposureLimits", "FanLimits", "NetworkLimits", "PassThroughLimits"]

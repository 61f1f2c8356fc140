"""Print how both models rank the accounts of the judged nights, and whether the difference is more than chance.

    python examples/amlsim/compare.py

Reads what the nights published. Both models are measured on the same rows; the intervals are the middle 95% of 1,000
bootstrap samples of accounts (each with all its dates), the same samples for both models and for their difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from pipelines.lake import Lake, connect
from pipelines.settings import get_settings

MODELS = ("amlsim_plain", "amlsim_graph")
JUDGED = (date(2025, 4, 27), date(2025, 5, 4))  # of later dates the four weeks do not end within the data
HORIZON_DAYS = 28
SAMPLES = 1000
SEED = 20250427
MEASURES = (
    "ROC AUC",
    "average precision",
    "precision in the top 1%",
    "recall in the top 1%",
    "precision in the top 5%",
    "recall in the top 5%",
)

Numbers = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ROWS = f"""
SELECT account_token, plain.probability AS amlsim_plain, graph.probability AS amlsim_graph,
    turned.account_token IS NOT NULL AS fraud,
    coalesce(turned_on > business_date AND turned_on <= business_date + {HORIZON_DAYS}, false) AS label
FROM amlsim_plain AS plain
    JOIN amlsim_graph AS graph USING (account_token, business_date)
    LEFT JOIN turned USING (account_token)
ORDER BY business_date, account_token
"""


@dataclass(frozen=True)
class Judged:
    """One row per account and date: the account's place among all accounts, what happened, and what each model said.

    `fraud` accounts are those the file calls fraud at all; some of them never turn in it.
    """

    account: Places
    label: Mask
    fraud: Mask
    probability: dict[str, Numbers]

    def where(self, wanted: Mask) -> Judged:
        """The wanted rows."""
        said = {model: values[wanted] for model, values in self.probability.items()}
        return Judged(self.account[wanted], self.label[wanted], self.fraud[wanted], said)


class Ranking:
    """Rows from the highest score down; equal scores share a rank, so that the order of the rows says nothing."""

    def __init__(self, label: Mask, score: Numbers) -> None:
        self._order = np.argsort(-score, kind="stable")
        self._label = label[self._order]
        self._ranks = np.flatnonzero(np.diff(score[self._order], prepend=np.inf))

    def measures(self, weight: Numbers) -> Numbers:
        """MEASURES, each row counted as often as its weight says.

        Formulas: as in pipelines/evaluation/metrics.py. Of the rank that a share cuts through, its average is taken.
        """
        ordered = weight[self._order]
        rows = np.add.reduceat(ordered, self._ranks)
        events = np.add.reduceat(ordered * self._label, self._ranks)
        all_rows, all_events = rows.cumsum(), events.cumsum()
        total, found = all_rows[-1], all_events[-1]
        above = all_events - events / 2
        auc = ((rows - events) * above).sum() / (found * (total - found))
        average_precision = (events * all_events / np.maximum(all_rows, 1e-9)).sum() / found
        hits = [(share, np.interp(share * total, all_rows, all_events)) for share in (0.01, 0.05)]
        tops = [value for share, hit in hits for value in (hit / (share * total), hit / found)]
        return np.array([auc, average_precision, *tops])


def main() -> None:
    """The two tables, and who is in the top 1%."""
    rows = judged_rows()
    print(f"All {len(rows.label):,} rows, {rows.label.sum()} of them turn:\n")
    print(table(rows))
    dated = rows.where(rows.label | ~rows.fraud)
    print(f"\nWithout the accounts that are called fraud and do not turn in those weeks, {len(dated.label):,} rows:\n")
    print(table(dated))
    for model in MODELS:
        top = np.argsort(-rows.probability[model], kind="stable")[: len(rows.label) // 100]
        print(
            f"\nTop 1% of {model}: {rows.label[top].mean():.1%} turn in time, {rows.fraud[top].mean():.1%} are called fraud."
        )


def judged_rows() -> Judged:
    """The published rows of the judged dates, with what became of them."""
    settings = get_settings()
    lake = Lake(settings)
    with connect(settings) as connection:
        for model in MODELS:
            lake.scan(connection, model, f"scores/{model}", dates=JUDGED)
        lake.scan(connection, "turned", "source/turned")
        found = connection.execute(ROWS).fetchnumpy()
    _, account = np.unique(found["account_token"].astype(str), return_inverse=True)
    return Judged(account, found["label"], found["fraud"], {model: found[model] for model in MODELS})


def table(rows: Judged) -> str:
    """Markdown: a measure per line, with its interval, for each model and for their difference."""
    first, second = (Ranking(rows.label, rows.probability[model]) for model in MODELS)
    ones = np.ones(len(rows.label))
    a, b = first.measures(ones), second.measures(ones)
    samples = [(first.measures(weight), second.measures(weight)) for weight in _samples(rows.account)]
    found_a, found_b = (np.array(one) for one in zip(*samples, strict=True))
    columns = [(a, found_a), (b, found_b), (b - a, found_b - found_a)]
    lines = [f"| | {' | '.join(MODELS)} | difference |", "| --- | --- | --- | --- |"]
    for place, name in enumerate(MEASURES):
        cells = [_cell(value[place], sampled[:, place]) for value, sampled in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _samples(account: Places) -> list[Numbers]:
    """How often each row is drawn, when as many accounts are drawn with replacement as there are."""
    random, accounts = np.random.default_rng(SEED), int(account.max()) + 1
    drawn = (np.bincount(random.integers(0, accounts, accounts), minlength=accounts) for _ in range(SAMPLES))
    return [times[account].astype(float) for times in drawn]


def _cell(value: float, sampled: Numbers) -> str:
    low, high = np.quantile(sampled, (0.025, 0.975))
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()

"""From contributions to reasons: the contributions of the features of one reason are one, and what is untold is left out."""

from __future__ import annotations

import re

import numpy as np

from pipelines.spec import Fairness, Reasons
from pipelines.training.contributions import Contributions


def by_reason(found: Contributions, reasons: Reasons) -> Contributions:
    """Contributions of the catalogue's reasons, named by their codes, in its order.

    They add up to the score without what is untold. A component that the version does not have adds nothing.
    """
    place = {name: column for column, name in enumerate(found.features)}
    values = np.zeros((len(found), len(reasons.catalogue)))
    for number, reason in enumerate(reasons.catalogue.values()):
        for component in reason.components:
            if component in place:
                values[:, number] += found.values[:, place[component]]
    return Contributions(found.baseline, values, tuple(reasons.catalogue), found.calibrated)


def prohibited_reasons(reasons: Reasons, fairness: Fairness | None) -> dict[str, str]:
    """Codes of reasons that name a prohibited basis, each with the word that does."""
    if fairness is None:
        return {}
    words = sorted({*fairness.attributes, *fairness.prohibited_inputs})
    pattern = re.compile(rf"\b({'|'.join(re.escape(word).replace('_', '[_ ]') for word in words)})\b", re.I)
    said = {code: " ".join((reason.text, *reason.components)) for code, reason in reasons.catalogue.items()}
    return {code: match.group() for code, text in said.items() if (match := pattern.search(text))}

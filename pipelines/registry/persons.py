"""Persons, as the registry records them."""

from __future__ import annotations

import re

from pipelines.contracts import DataFault

_PERSON = re.compile(r"[^@\s]+@[^@\s]+")


def person(by: str) -> str:
    """A person's e-mail address in lower case, so that nobody is two people. Raises DataFault when it is none."""
    name = by.strip().lower()
    if not _PERSON.fullmatch(name):
        raise DataFault(
            f"{by!r} is no person: give an e-mail address, as in --by anna@bank.example. Nothing was changed."
        )
    return name


def is_person(by: str) -> bool:
    """Whether a recorded name is a person's, not `system:…` or a login without an e-mail address."""
    return _PERSON.fullmatch(by) is not None


def reasoned(reason: str) -> str:
    """A reason without spaces around it. Raises DataFault when nothing is left."""
    if not reason.strip():
        raise DataFault("a reason is needed: say in a sentence why. Nothing was changed.")
    return reason.strip()

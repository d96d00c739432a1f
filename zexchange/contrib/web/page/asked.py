"""The questions of browsers, read from the texts that it sends. The code is pure."""

import json
from dataclasses import dataclass
from typing import Literal

View = Literal["map", "exchanges", "exchange", "doctor"]
ASKED_MOST = 4096
"""Characters of what a browser sends at a time."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first words of a browser."""

    token: str


@dataclass(frozen=True, slots=True)
class Asked:
    """The view that a browser shows from now on.

    Attributes:
        number: given by the browser, and sent back with every answer.
        view: one of the four views.
        sort: the number of the column by which the exchanges are sorted.
        turned: whether they are sorted the other way round.
        filter: a pattern, or a part of names; empty for all exchanges.
        first: the number of the first row.
        name: the exchange that is shown.
    """

    number: int
    view: View
    sort: int = 1
    turned: bool = False
    filter: str = ""
    first: int = 0
    name: str = ""


def read_hello(text: object) -> Hello | None:
    """Return the first words of a browser; None if they are none of this protocol."""
    match _read(text):
        case {"zexchange": 1, "token": str(token)}:
            return Hello(token)
        case _:
            return None


def read_asked(text: object) -> Asked | None:
    """Return what a browser asks for; None if it is nothing that can be asked."""
    match _read(text):
        case {"number": int(number), "view": "map"}:
            return Asked(number, "map")
        case {"number": int(number), "view": "doctor"}:
            return Asked(number, "doctor")
        case {"number": int(number), "view": "exchange", "name": str(name)}:
            return Asked(number, "exchange", name=name)
        case {
            "number": int(number),
            "view": "exchanges",
            "sort": int(sort),
            "turned": bool(turned),
            "filter": str(filter_),
            "first": int(first),
        } if sort >= 0 and first >= 0:
            return Asked(number, "exchanges", sort, turned, filter_, first)
        case _:
            return None


def _read(text: object) -> object:
    if not isinstance(text, str) or len(text) > ASKED_MOST:
        return None
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found

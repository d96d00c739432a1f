"""Log records as maps of fields: what is sent of one, and what is taken for one."""

import enum
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange.contrib.records import ARRIVED, PROCESS, fields_of, record_of
from zexchange.protocol.codec.values import decode, encode


def made(msg: object = "text", *args: object, **extra: object) -> logging.LogRecord:
    logger = logging.Logger("shop")
    return logger.makeRecord("shop", logging.INFO, "till.py", 7, msg, args, None, extra=extra)


def fields(**changed: object) -> dict[str, Any]:
    return {**fields_of(made(), "here"), **changed}


def test_a_record_comes_back() -> None:
    """Its text is formatted, plain values in its extra are themselves, and others their text."""
    record = record_of(fields_of(made("%d of %s", 3, "them", who=("Ada", 7), what=logging), "p"))
    assert (record.name, record.levelname, record.lineno) == ("shop", "INFO", 7)
    assert (record.msg, record.args, record.getMessage()) == ("3 of them", None, "3 of them")
    assert (record.who, record.what) == (("Ada", 7), str(logging))  # type: ignore[attr-defined]
    assert getattr(record, ARRIVED) is True
    assert getattr(record, PROCESS) == "p"


class Safe(str):
    """As Django's: its text is of its own class again."""

    def __str__(self) -> str:
        return self


class Level(enum.IntEnum):
    LOUD = 35


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_what_cannot_travel_of_a_record_arrives_as_its_text() -> None:
    """Whatever it is, and also in the attributes that are logging's own: the record arrives."""
    safe = made(Safe("safe"), template=Safe("t.html"), broken=Broken(), status=Level.LOUD)
    safe.levelno, safe.pathname, safe.lineno = Level.LOUD, Path("till.py"), None  # type: ignore[assignment]
    sent = fields_of(safe, "p")
    assert decode(encode(sent)) == sent
    record = record_of(sent)
    assert [type(part) for part in (record.msg, record.levelno, record.pathname)] == [str, int, str]
    assert (record.msg, record.levelno, record.pathname) == ("safe", 35, "till.py")
    assert record.template == "t.html"  # type: ignore[attr-defined]
    assert record.broken == "<Broken, whose text raises RuntimeError>"  # type: ignore[attr-defined]
    assert record.status == "35"  # type: ignore[attr-defined]
    assert not record.lineno


def test_a_percent_sign_in_a_text_is_no_format() -> None:
    """What was formatted once is not formatted again."""
    assert record_of(fields(msg="100 %d")).getMessage() == "100 %d"


@pytest.mark.parametrize(
    "wrong",
    [
        {"msg": "%500000000d", "args": (1,)},
        {"msg": 7},
        {"levelno": "INFO"},
        {"levelno": 1 << 70},
        {"created": float("nan")},
        {"created": -1.0},
        {"created": 1e300},
        {"exc_info": True},
        {"getMessage": 1},
        {"__class__": 1},
        {"name": None},
        {"threadName": b"x"},
        {7: 1},
    ],
    ids=str,
)
def test_a_field_of_another_kind_is_refused(wrong: dict[Any, object]) -> None:
    """A record that a formatter, a filter or a handler could stumble over is none."""
    with pytest.raises(ValueError, match="record"):
        record_of({**fields(), **wrong})


@pytest.mark.parametrize("fields", [None, [], "text", {}, {"msg": "text"}])
def test_what_is_no_record_is_refused(fields: object) -> None:
    """Anybody may send anything on an exchange."""
    with pytest.raises(ValueError, match="record"):
        record_of(fields)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(fields())) | st.text(), values))
def test_whatever_is_taken_can_be_formatted(changed: dict[str, object]) -> None:
    """No record that is taken raises in a formatter that shows everything of it."""
    shown = "%(asctime)s %(levelname)s %(name)s %(process)s %(lineno)s %(message)s"
    try:
        record = record_of({**fields(), **changed})
    except ValueError:
        return
    logging.Formatter(shown).format(record)

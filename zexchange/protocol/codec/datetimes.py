"""Dates, times, spans and their zones as lists of plain fields, and back.

The rule of this module: every field is an int, a str or None, laid out as `extensions` says. It
must not know of MessagePack. A value whose zone is missing here, so that it cannot be rebuilt, is
NotImplemented.
"""

from datetime import date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from zexchange.errors import EncodeError
from zexchange.sendable import full_name

_MICROSECOND = timedelta(microseconds=1)
_LONGEST_KEY = 255


def date_fields(value: date) -> list[object]:
    """Return year, month, day."""
    return [value.year, value.month, value.day]


def time_fields(value: time) -> list[object]:
    """Return hour to microsecond, fold, zone."""
    clock = [value.hour, value.minute, value.second, value.microsecond, value.fold]
    return clock + _zone_fields(value)


def datetime_fields(value: datetime) -> list[object]:
    """Return year to microsecond, fold, zone."""
    clock = [value.hour, value.minute, value.second, value.microsecond, value.fold]
    return [value.year, value.month, value.day, *clock, *_zone_fields(value)]


def timedelta_fields(value: timedelta) -> list[object]:
    """Return days, seconds, microseconds."""
    return [value.days, value.seconds, value.microseconds]


def to_date(fields: list[Any]) -> date:
    """Rebuild a date; raise if the fields make none."""
    year, month, day = fields
    return date(year, month, day)


def to_time(fields: list[Any]) -> object:
    """Rebuild a time; NotImplemented if its zone is unknown here and has no fixed offset."""
    hour, minute, second, microsecond, fold, *zone = fields
    tz = _to_zone(*zone)
    if tz is NotImplemented:
        return NotImplemented
    return time(hour, minute, second, microsecond, tz, fold=fold)


def to_datetime(fields: list[Any]) -> object:
    """Rebuild a datetime; raise if the fields make none.

    NotImplemented if its zone is unknown here and has no fixed offset.
    """
    year, month, day, hour, minute, second, microsecond, fold, *zone = fields
    tz = _to_zone(*zone)
    if tz is NotImplemented:
        return NotImplemented
    return datetime(year, month, day, hour, minute, second, microsecond, tz, fold=fold)


def to_timedelta(fields: list[Any]) -> timedelta:
    """Rebuild a span; raise if the fields make none."""
    days, seconds, microseconds = fields
    return timedelta(days, seconds, microseconds)


def _key_of(zone: ZoneInfo) -> str | None:
    """Return the key of a zone; None (which stubs do not know of) if it was read from a file."""
    return zone.key


def _zone_fields(value: time | datetime) -> list[object]:
    tz = value.tzinfo
    if tz is None:
        return []
    offset = value.utcoffset()
    microseconds = None if offset is None else offset // _MICROSECOND
    if type(tz) is timezone:
        # Only the pickling protocol tells a name that the user gave from a generated one.
        given: tuple[Any, ...] = tz.__getinitargs__()  # type: ignore[attr-defined]
        return [microseconds, *given[1:]]
    if type(tz) is ZoneInfo and (key := _key_of(tz)) is not None:
        return [microseconds, value.tzname(), key]
    raise EncodeError(
        f"cannot encode {full_name(type(value))} with the zone {full_name(type(tz))};"
        " only datetime.timezone and zoneinfo.ZoneInfo with a key can be sent"
    )


def _to_zone(offset: Any = None, name: Any = None, key: Any = None) -> Any:
    if key is not None:
        zone = _zone_by_key(key)
        if zone is not None:
            return zone
        if offset is None:
            return NotImplemented
    if offset is None:
        return None
    span = timedelta(microseconds=offset)
    return timezone(span) if name is None else timezone(span, name)


@lru_cache(maxsize=1)
def _known_keys() -> frozenset[str]:
    """Return the keys of all zones that this machine has."""
    return frozenset(available_timezones())


def _zone_by_key(key: str) -> tzinfo | None:
    # Compared with the known keys first: a search that fails reads many directories, and a message
    # of a megabyte can name 30,000 zones that do not exist.
    if len(key) > _LONGEST_KEY:
        return None
    plain = key.removeprefix("posix/").removeprefix("right/")
    return _zone(key) if plain in _known_keys() else None


@lru_cache(maxsize=4096)
def _zone(key: str) -> tzinfo | None:
    """Return a zone by its key; the cache has room for all zones that exist, in all their forms."""
    try:
        return ZoneInfo(key)
    except (KeyError, ValueError, OSError):
        return None

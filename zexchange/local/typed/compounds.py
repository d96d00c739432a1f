"""Converters of types that are made of others: unions, and collections.

Each part is converted on its own. A `TypeMismatch` in a part gets the step that leads to the part.
"""

from collections import abc
from collections.abc import Iterable, Mapping
from typing import Any

from ...collisions import set_of
from ...errors import DecodeError
from .schema import Convert, Converter, TypeMismatch, brief, compound, refuse


def _check_hashable(shape: Converter, where: str) -> None:
    """Raise TypeError if the plain form of these values cannot be a key or a member of a set."""
    if shape.plain & {dict, list, set}:
        raise TypeError(
            f"{where}: {shape.name} travels as what can be no key, and in no set: use a list,"
            " or give a codec="
        )


def union(members: list[Converter], where: str) -> Converter:
    """Return the converter of a union. The class of a value says which member it belongs to."""
    name = " | ".join(member.name for member in members)
    for i, one in enumerate(members):
        for other in members[i + 1 :]:
            if not (one.same and other.same) and one.plain & other.plain:
                raise TypeError(
                    f"{where}: {one.name} and {other.name} look the same when they travel, so"
                    " that the receiver could not tell them apart: give a codec="
                )
    types_of = frozenset(t for m in members for t in m.types)
    plain = frozenset(t for m in members for t in m.plain)
    encoders = {t: m.encode for m in members for t in m.types}
    decoders = {t: m.decode for m in members for t in m.plain}

    def one_of(chosen: Mapping[type, Convert], others: Iterable[Convert]) -> Convert:
        tried = tuple(others)

        def convert(value: object) -> Any:
            choice = chosen.get(type(value))
            if choice is not None:
                return choice(value)
            for attempt in tried:
                try:
                    return attempt(value)
                except TypeMismatch:
                    pass
            return refuse(name, value)

        return convert

    return Converter(
        name,
        types_of,
        plain,
        all(member.same for member in members),
        one_of(encoders, [m.encode for m in members]),
        one_of(decoders, [m.decode for m in members]),
    )


COLLECTIONS: dict[Any, tuple[type, ...]] = {
    list: (list,),
    tuple: (tuple, list),
    set: (set, frozenset, list),
    frozenset: (frozenset, set, list),
    abc.Sequence: (list, tuple),
    abc.MutableSequence: (list,),
    abc.Collection: (list, tuple, set, frozenset),
    abc.Set: (frozenset, set),
    abc.MutableSet: (set,),
}
"""For each annotation, first the class as which a value arrives, then the other classes that are
accepted on arrival: other languages have only arrays. Values of abstract types arrive as they were
sent."""
MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)


def collection(kinds: tuple[type, ...], item: Converter, where: str) -> Converter:
    """Return the converter of a collection whose items are of one type."""
    made: Any = kinds[0]
    if made in (set, frozenset):
        _check_hashable(item, where)
    concrete = made in (tuple, set, frozenset) and list in kinds
    sent = kinds[:1] if concrete else kinds
    name = f"{made.__name__}[{item.name}]"
    untouched = item.untouched

    def convert_by(convert: Convert, taken: tuple[type, ...]) -> Convert:
        def convert_all(value: Any) -> Any:
            known: object = value
            kind = type(known)
            if kind not in taken:
                refuse(name, value)
            done: list[Any] = []
            try:
                for part in value:
                    done.append(part if type(part) in untouched else convert(part))  # noqa: PERF401
            except TypeMismatch as misfit:
                raise misfit.within(f"[{len(done)}]")
            made_of: Any = made if concrete else kind
            try:
                if made_of is list:
                    return done
                # A set may be made from a list that has arrived, with members of any kind.
                return tuple(done) if made_of is tuple else set_of(made_of, done)
            except (TypeError, DecodeError) as error:
                raise TypeMismatch(str(error)) from None

        return convert_all

    return compound(name, sent, convert_by(item.encode, sent), convert_by(item.decode, kinds))


def places(items: list[Converter]) -> Converter:
    """Return the converter of a tuple with a type for each place."""
    name = f"tuple[{', '.join(item.name for item in items)}]"

    def convert_by(converts: list[Convert], taken: tuple[type, ...]) -> Convert:
        def convert_all(value: Any) -> Any:
            if type(value) not in taken:
                refuse(name, value)
            if len(value) != len(converts):
                raise TypeMismatch(f"expected {name}, not {len(value)} values")
            done: list[Any] = []
            try:
                for convert, part in zip(converts, value, strict=True):
                    done.append(convert(part))
            except TypeMismatch as misfit:
                raise misfit.within(f"[{len(done)}]")
            return tuple(done)

        return convert_all

    return compound(
        name,
        (tuple,),
        convert_by([item.encode for item in items], (tuple,)),
        convert_by([item.decode for item in items], (tuple, list)),
    )


def mapping(key: Converter, value: Converter, where: str) -> Converter:
    """Return the converter of a dict."""
    _check_hashable(key, where)
    name = f"dict[{key.name}, {value.name}]"

    def convert_by(convert_key: Convert, convert: Convert) -> Convert:
        def convert_all(mapping: Any) -> Any:
            pairs: Any = mapping
            if type(mapping) is not dict:
                refuse(name, mapping)
            done: dict[Any, Any] = {}
            for k, v in pairs.items():
                try:
                    done[convert_key(k)] = convert(v)
                except TypeMismatch as misfit:
                    raise misfit.within(f"[{brief(k)}]")
            return done

        return convert_all

    made_by = convert_by(key.decode, value.decode)
    return compound(name, (dict,), convert_by(key.encode, value.encode), made_by)

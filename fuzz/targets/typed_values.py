"""Plain values that arrived, as typed exchanges convert them (`local.typed`).

Any value of a peer is made an instance whose fields are as annotated, or refused with a short
TypeError or ValueError.
"""

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from zexchange.errors import DecodeError, EncodeError
from zexchange.local.typed import shape_of
from zexchange.protocol.codec.values import decode, encode

from ..bounds import require
from ..sameness import same
from ..seeds import bombs

MAX_LEN = 400
_MOMENT = datetime(2024, 2, 29, 12, tzinfo=UTC)


class Side(enum.Enum):
    """A value out of some of several types."""

    BUY = "buy"
    SELL = 2
    NEITHER = (0, "x")


@dataclass
class Tree:
    """A class that has itself inside."""

    name: str
    below: "list[Tree]" = field(default_factory=list)
    other: "Tree | None" = None


@dataclass
class Order:
    """A message such as most programs send."""

    price: float
    side: Side
    at: datetime | None = None
    tags: frozenset[str] = frozenset()
    levels: tuple[tuple[float, int], ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    kind: Literal["limit", 3, None] = None

    def __post_init__(self) -> None:
        """Refuse some."""
        if self.price < 0:
            raise ArithmeticError(self)


@dataclass
class Book:
    """Collections of all kinds."""

    orders: dict[int, Order]
    both: Order | str | list[int]
    pair: tuple[int, str]
    ids: set[UUID] = field(default_factory=set)
    some: Sequence[int | None] = ()
    sides: Mapping[str, Side] = field(default_factory=dict)
    spots: set[tuple[int, ...]] = field(default_factory=set)


KINDS = (Tree, Order, Book, Side, dict[str, Tree], list[Order] | None, set[int] | float)
SHAPES = tuple(map(shape_of, KINDS))


def seeds() -> Iterator[bytes]:
    """Yield what instances travel as, what is like it, and nests without end."""
    order = Order(1.5, Side.BUY, _MOMENT, frozenset({"a"}), ((1.0, 2),), {"x": [1]}, "limit")
    book = Book({1: order}, order, (1, "x"), {UUID(int=7)}, [1, None], {"s": Side.SELL}, {(1, 2)})
    tree = Tree("a", [Tree("b"), Tree("c", [], Tree("d"))], Tree("e"))
    for kind, value in ((Tree, tree), (Order, order), (Book, book), (Side, Side.NEITHER)):
        plain = shape_of(kind).encode(value)
        yield encode(plain)
        if isinstance(plain, dict):
            yield from (
                encode({**plain, name: wrong})
                for name in plain
                for wrong in (None, [{}], (1, "x", 2))
            )
    yield encode(asdict(tree))
    yield encode({"price": -1.0, "side": "buy", "more": 1})
    below: dict[str, Any] = {"name": "x"}
    for _ in range(500):
        below = {"name": "x", "other": below}
    yield encode(below)
    for _ in range(20):
        below = {"name": "x", "below": [below]}
    yield encode(below)
    yield from bombs()


def execute(data: bytes) -> None:
    """Make of a value what each type makes of it; it travels on as the same."""
    try:
        value = decode(data)
    except DecodeError:
        return
    for kind, shape in zip(KINDS, SHAPES, strict=True):
        try:
            made = shape.decode(value)
        except (TypeError, ValueError) as error:
            require(len(str(error)) < 2000 + 10 * len(data), error)
            continue
        _is_of(kind, made)
        try:
            again = shape.decode(decode(encode(shape.encode(made))))
        except EncodeError:
            continue  # too deep to be sent on, or of a type that is unknown here
        require(type(again) is type(made), made)
        require(same(shape.encode(again), shape.encode(made)), made)


def _is_of(kind: Any, made: Any) -> None:
    """Check some of what the annotations say by other means than the converter's."""
    if isinstance(made, Tree):
        _is_tree(made)
    elif isinstance(made, Order):
        _is_order(made)
    elif isinstance(made, Book):
        for number, order in made.orders.items():
            require(isinstance(number, int), number)
            _is_order(order)
        require(isinstance(made.pair, tuple) and isinstance(made.pair[0], int), made.pair)
        require(len(made.pair) == 2 and isinstance(made.pair[1], str), made.pair)
        require(isinstance(made.ids, set) and all(type(i) is UUID for i in made.ids), made.ids)
        require(all(type(side) is Side for side in made.sides.values()), made.sides)
    else:
        require(kind not in KINDS[:3] and (kind is not Side or type(made) is Side), made)


def _is_tree(tree: Tree) -> None:
    trees = [tree]
    while trees:
        tree = trees.pop()
        require(type(tree) is Tree and type(tree.name) is str, tree)
        require(type(tree.below) is list, tree.below)
        trees += [*tree.below, *([tree.other] if tree.other is not None else [])]


def _is_order(order: Any) -> None:
    require(type(order) is Order and type(order.side) is Side, order)
    require(order.at is None or isinstance(order.at, datetime), order.at)
    require(type(order.tags) is frozenset and all(type(t) is str for t in order.tags), order.tags)
    for level in order.levels:
        require(type(level) is tuple and len(level) == 2, level)
    require(order.kind is None or order.kind in ("limit", 3), order.kind)

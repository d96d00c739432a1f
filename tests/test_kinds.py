"""What a value is: exactly of a type where it has arrived, of any kind where it is a user's."""

from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Callable
from typing import Any

import pytest

from zexchange import kinds

Pair = namedtuple("Pair", "a b")


class Numbers(list[int]): ...


@pytest.mark.parametrize(
    ("tell", "those", "others"),
    [
        (kinds.is_dict, [{}], [OrderedDict(), UserDict(), []]),
        (kinds.is_list, [[]], [Numbers(), (), "a"]),
        (kinds.is_tuple, [(), Pair(1, 2)], [[]]),
        (kinds.is_mapping, [{}, OrderedDict(), UserDict()], [[]]),
        (kinds.is_bytes, [b""], [bytearray(), ""]),
        (kinds.is_buffer, [b"", bytearray(), memoryview(b"")], ["", []]),
        (kinds.is_number, [1, 1.5], [True, "1", None, 1j]),
        (kinds.is_generator, [(n for n in ())], [iter([]), lambda: None]),
    ],
)
def test_a_kind(tell: Callable[[object], bool], those: list[Any], others: list[Any]) -> None:
    assert [tell(value) for value in (*those, *others)] == [True] * len(those) + [False] * len(
        others
    )

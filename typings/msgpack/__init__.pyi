# What is used here of msgpack, which has no types of its own.
from collections.abc import Callable
from typing import Any, NamedTuple

version: tuple[int, int, int]

class ExtType(NamedTuple):
    code: int
    data: bytes

class OutOfData(Exception): ...
class StackError(ValueError): ...

class Packer:
    def __init__(
        self,
        *,
        default: Callable[[Any], object] | None = None,
        strict_types: bool = False,
        use_bin_type: bool = True,
        datetime: bool = False,
    ) -> None: ...
    def pack(self, obj: object, /) -> bytes: ...

class Unpacker:
    def __init__(
        self,
        *,
        strict_map_key: bool = True,
        use_list: bool = True,
        timestamp: int = 0,
        read_size: int = ...,
        ext_hook: Callable[[int, bytes], object] = ...,
        list_hook: Callable[[list[Any]], object] | None = None,
        object_pairs_hook: Callable[[list[tuple[Any, Any]]], object] | None = None,
        max_buffer_size: int = ...,
        max_str_len: int = ...,
        max_bin_len: int = ...,
        max_array_len: int = ...,
        max_map_len: int = ...,
        max_ext_len: int = ...,
    ) -> None: ...
    def feed(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def skip(self) -> None: ...
    def tell(self) -> int: ...
    def unpack(self) -> Any: ...
    def __iter__(self) -> Unpacker: ...
    def __next__(self) -> Any: ...

def packb(o: object, /, **options: Any) -> bytes: ...
def unpackb(packed: bytes | bytearray | memoryview, /, **options: Any) -> Any: ...

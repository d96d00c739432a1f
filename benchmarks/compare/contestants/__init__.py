"""The contestants that run across processes: a class each, and here all of them by name."""

from .base import Contestant
from .by_hand import Batched, ByHandAsync, OneFrame, TwoFrames, Uncopied
from .iceoryx2_services import Iceoryx2
from .nats_client import Nats
from .ours import Ours, OursAsync, OursCrowded, OursStream, OursTyped
from .plain import Plain, PlainBatched
from .pynng_sockets import Pynng
from .redis_client import OneByOne, Pipelined
from .zenoh_peers import Blocking, Default, Shared

CONTESTANTS: dict[str, type[Contestant]] = {
    contestant.name: contestant
    for contestant in (
        Ours,
        OursTyped,
        Plain,
        PlainBatched,
        Uncopied,
        OneFrame,
        TwoFrames,
        Batched,
        Blocking,
        Default,
        Shared,
        Iceoryx2,
        Nats,
        OneByOne,
        Pipelined,
        Pynng,
        OursStream,
        OursAsync,
        OursCrowded,
        ByHandAsync,
    )
}
"""In the order of the tables."""

__all__ = ["CONTESTANTS", "Contestant"]

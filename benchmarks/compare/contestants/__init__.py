"""The contestants that run across processes: a class each, and here all of them by name."""

from .base import Contestant
from .by_hand import Batched, ByHandAsync, OneFrame, TwoFrames, Uncopied
from .nats_client import Nats
from .ours import Ours, OursAsync, OursCrowded, OursStream
from .pynng_sockets import Pynng
from .redis_client import Pipelined, Plain
from .zenoh_peers import Blocking, Default

CONTESTANTS: dict[str, type[Contestant]] = {
    contestant.name: contestant
    for contestant in (
        Ours,
        OneFrame,
        TwoFrames,
        Batched,
        Uncopied,
        Blocking,
        Default,
        Nats,
        Plain,
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

"""As which process a peer is taken: a registry's name is no secret."""

import itertools

from zexchange.net.inbound.merging import identities

REGISTRY = b"r" * 16
ONE, OTHER = b"1" * 16, b"2" * 16
HUB, OTHER_HUB = b"h" * 32, b"i" * 32
TCP, IPC, BY_HUB = "tcp://10.0.0.1:1", "ipc:///run/x.d", "hub+tcp://10.0.0.1:1"


def met(peer: bytes, hub: bytes | None, endpoint: str, keyed: bool = True) -> set[object]:
    return set(identities(REGISTRY, peer, hub, endpoint, keyed))


def test_nobody_is_taken_for_a_process_of_another_key() -> None:
    """Directly, behind a hub or without keys: what says the same registry is somebody else."""
    ways = [
        met(ONE, None, TCP),
        met(OTHER, None, TCP),
        met(ONE, HUB, BY_HUB),
        met(OTHER, HUB, BY_HUB),
        met(ONE, OTHER_HUB, BY_HUB),
        met(ONE, None, TCP, keyed=False),
    ]
    for one, other in itertools.combinations(ways, 2):
        assert not one & other
    near = met(ONE, None, IPC)
    assert near & ways[0]
    assert not any(near & other for other in ways[1:])


def test_one_process_is_known_in_several_federations() -> None:
    """By its key over TCP, by this user's word at Unix sockets, by anybody's without keys."""
    later = ONE[:10] + b"later!"
    assert met(ONE, None, TCP) & met(later, None, TCP)
    assert met(ONE, HUB, BY_HUB) & met(later, HUB, BY_HUB)
    assert met(ONE, None, IPC) & met(OTHER, None, IPC)
    assert met(ONE, None, IPC, keyed=False) & met(OTHER, None, TCP, keyed=False)

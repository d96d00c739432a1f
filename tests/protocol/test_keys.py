"""Key files as bytes, and the node ids that go with a key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange import InvalidKeys
from zexchange.protocol.security.keys import (
    MAX_KEY_FILE_BYTES,
    belongs,
    id_for,
    public_line,
    read_public,
    read_secret,
    secret_line,
)

keys = st.binary(min_size=32, max_size=32)
fresh = st.binary(min_size=16, max_size=16)


@given(st.lists(keys, min_size=1, max_size=4, unique=True), st.booleans())
def test_public_keys_come_back(made: list[bytes], commented: bool) -> None:
    """A file holds the keys that were written into it, comments and empty lines aside."""
    lines = [public_line(key) + (" of north" if commented else "") for key in made]
    text = "# north\n\n" + "\n".join(lines) + "\n"
    assert read_public(text.encode()) == tuple(made)


@given(keys)
def test_a_secret_key_comes_back(key: bytes) -> None:
    """A secret file holds the one key that was written into it."""
    assert read_secret((secret_line(key) + "\n").encode()) == key


@given(keys)
def test_a_secret_key_among_the_public_ones_is_told_and_not_shown(key: bytes) -> None:
    """Whoever hands out the wrong file is told so, without the key in the text."""
    with pytest.raises(InvalidKeys, match="secret key") as refused:
        read_public(secret_line(key).encode())
    assert key.hex() not in str(refused.value)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_whatever_is_in_a_file_the_error_is_ours(data: bytes) -> None:
    """Any bytes are keys, or `InvalidKeys`."""
    for read in (read_public, read_secret):
        try:
            read(data)
        except InvalidKeys:
            continue


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        "zexchange-public-key",
        "zexchange-public-key " + "0" * 63,
        "zexchange-public-key " + "0" * 65,
        "zexchange-public-key " + "g" * 64,
        "zexchange-public-key " + "00 " * 32,
        "0" * 64,
        "zexchange-public-key " + "0" * 64 + "\nnonsense",
        "x" * (MAX_KEY_FILE_BYTES + 1),
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    """A line that is anything but a key spoils the file: it may have been meant as one."""
    with pytest.raises(InvalidKeys):
        read_public(text.encode())


@given(keys, keys, fresh, fresh)
def test_a_node_id_belongs_to_one_key(key: bytes, other: bytes, one: bytes, two: bytes) -> None:
    """Ids of a key are told from those of another one, and differ with what is fresh in them."""
    mine = id_for(key, one)
    assert len(mine) == 16
    assert belongs(mine, key)
    assert belongs(mine, other) is (key == other)
    assert (id_for(key, two) == mine) is (one[10:] == two[10:])

"""Whose files decide about keys: this user's and root's, where nobody else may write."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.net.keyrings import Keyrings
from tests.support import eventually
from zexchange.errors import InvalidKeys
from zexchange.net.peering.rendezvous import Rendezvous
from zexchange.net.security import ownership
from zexchange.net.security.key_directory import KeyDirectory, make_keys

pytestmark = pytest.mark.sockets
STRANGER, GROUP = 4711, 4712
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users: needs root")


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every mount look read-only, as a Kubernetes Secret's is."""
    monkeypatch.setattr(ownership, "_read_only", lambda path: True)


@pytest.fixture
def shop(keyrings: Keyrings) -> Path:
    """A key directory that knows a peer and has permissions."""
    keyrings.authorize("shop", "peer")
    keyrings.permit("shop", "")
    return keyrings("shop")


@contextmanager
def user(uid: int, gid: int) -> Iterator[None]:
    """Be another user for a while."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


PLACES = [".", "authorized"]
FILES = ["node.key", "authorized/peer.pub", "permissions.toml"]


@pytest.mark.parametrize("mode", [0o020, 0o002], ids=["group", "others"])
@pytest.mark.parametrize("name", [*PLACES, *FILES])
def test_what_others_may_write_is_refused(shop: Path, name: str, mode: int) -> None:
    """A directory or file that a group or all may write is named, with the command that helps."""
    path = shop / name
    path.chmod(path.stat().st_mode | mode)
    with pytest.raises(InvalidKeys, match=f"chmod go-w {path}"):
        KeyDirectory(shop)


@root_only
@pytest.mark.parametrize("name", [*PLACES, *FILES])
def test_what_belongs_to_another_user_is_refused(shop: Path, name: str) -> None:
    """Its owner may change it, whatever its mode."""
    os.chown(shop / name, STRANGER, -1)
    with pytest.raises(InvalidKeys, match=f"belongs to user {STRANGER}"):
        KeyDirectory(shop)


@root_only
def test_a_link_is_judged_by_the_file_at_its_end(shop: Path) -> None:
    """A link of our own to a stranger's file is the stranger's file."""
    real = shop / "real"
    (shop / "node.key").rename(real)
    (shop / "node.key").symlink_to(real)
    os.chown(shop / "node.key", STRANGER, -1, follow_symlinks=False)
    KeyDirectory(shop)
    os.chown(real, STRANGER, -1)
    with pytest.raises(InvalidKeys, match="belongs to user"):
        KeyDirectory(shop)


@pytest.mark.usefixtures("read_only")
def test_on_a_read_only_mount_the_mode_of_a_directory_does_not_count(shop: Path) -> None:
    """A Secret's directory may be written by all, as its mode says, and by nobody."""
    for name in PLACES:
        (shop / name).chmod(0o777)
    KeyDirectory(shop)


@pytest.mark.usefixtures("read_only")
@pytest.mark.parametrize("name", FILES)
def test_on_a_read_only_mount_files_are_judged_all_the_same(shop: Path, name: str) -> None:
    """Others may have written the file before it was mounted here."""
    (shop / name).chmod(0o666)
    with pytest.raises(InvalidKeys, match="other"):
        KeyDirectory(shop)


@root_only
def test_a_secret_of_roots_may_be_read_by_our_group() -> None:
    """That is how a process that does not run as root is given one; for all it may not be."""
    place = Path(tempfile.mkdtemp())
    try:
        make_keys(place / "keys")
        for path in (place, place / "keys", place / "keys" / "authorized"):
            path.chmod(0o755)
        key = place / "keys" / "node.key"
        os.chown(key, 0, GROUP)
        key.chmod(0o440)
        with user(STRANGER, GROUP):
            KeyDirectory(place / "keys")
        with pytest.raises(InvalidKeys, match="chmod 600"):
            KeyDirectory(place / "keys")  # root, who has no need of that
        key.chmod(0o444)
        with user(STRANGER, GROUP), pytest.raises(InvalidKeys, match="chmod 600"):
            KeyDirectory(place / "keys")
    finally:
        shutil.rmtree(place)


def settled(change: Callable[[], object], keyring: KeyDirectory) -> object:
    """Change a file, have it looked at until it has stood still, and return a new policy."""
    change()
    return keyring.refresh() or keyring.refresh()


def test_a_directory_that_is_opened_to_others_changes_nothing_more(
    shop: Path, keyrings: Keyrings, caplog: pytest.LogCaptureFixture
) -> None:
    """While others may write there, what was read before stays in force, and a warning says so."""
    keyring = KeyDirectory(shop)
    before = keyring.policy
    (shop / "authorized").chmod(0o777)
    assert settled(lambda: keyrings.authorize("shop", "intruder"), keyring) is None
    assert keyring.policy == before
    eventually(lambda: "stays in force" in caplog.text)
    assert settled(lambda: (shop / "authorized").chmod(0o700), keyring) is not None
    assert keyring.policy.rights(keyrings.public("intruder"))


@root_only
def test_a_file_of_another_user_shows_no_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody else has put into a rendezvous directory is neither believed nor removed."""
    monkeypatch.setenv("ZEXCHANGE_DIR", str(tmp_path))
    one = Rendezvous("fed", "1" * 32)
    one.claim()
    one.publish()
    os.chown(one.directory / ("1" * 16 + ".node"), STRANGER, -1)
    assert list(Rendezvous("fed", "2" * 32).others()) == []
    assert (one.directory / ("1" * 16 + ".node")).exists()
    one.withdraw()

"""`zexchange keygen`: a key for a node, in a key directory.

It joins nothing. Keys are made, and their files read, in `net.keyring`; here is what the
user says and sees. The secret key is never shown.
"""

from pathlib import Path

import click


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def keygen(directory: Path) -> None:
    """Make a key for a node in DIR, for --keys DIR, and print the line to hand out.

    DIR/node.key is the secret one: it stays on this host, for this user alone, and is
    never overwritten. The line is in DIR/node.pub, too: it goes into the file
    authorized/NAME.pub in the key directory of each peer. docs/SECURITY.md has the rest.
    """
    from zexchange.net.keyring import make_keys

    click.echo(make_keys(directory))
    click.echo(
        f"zexchange: {directory / 'node.key'} is secret. Copy {directory / 'node.pub'} to "
        "authorized/NAME.pub of each peer, and theirs here.",
        err=True,
    )

"""`zexchange keygen`: make a key for a node, in a key directory.

The command joins no federation. `net.security.key_directory` makes the keys and reads their files;
this module has only the command's arguments and output. The secret key is never shown.
"""

from pathlib import Path

import click

_HELP = """
Make a key for a node in DIR, and print the line to hand out.

A node uses it with --keys DIR.
DIR/node.key is the secret one: it stays on this host, for this user alone, and is
never overwritten. The line is in DIR/node.pub, too: it goes into the file
authorized/NAME.pub in the key directory of each peer. docs/SECURITY.md has the rest.
"""


@click.command(help=_HELP)
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def keygen(directory: Path) -> None:
    """Make the keys, and print the public one."""
    from zexchange.net.security.key_directory import make_keys

    click.echo(make_keys(directory))
    click.echo(
        f"zexchange: {directory / 'node.key'} is secret. Copy {directory / 'node.pub'} to "
        "authorized/NAME.pub of each peer, and theirs here.",
        err=True,
    )

"""HTTP addresses, for the commands that serve to browsers or Prometheus."""

import click


def host_and_port(context: click.Context, option: click.Parameter, text: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT: the callback of an option that has a default."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) < 1 << 16):
        raise click.BadParameter(f"{text!r} is not HOST:PORT, such as {option.default}")
    return host, int(port)


def in_url(host: str) -> str:
    """Return a host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def cannot_serve(host: str, port: int, error: OSError | UnicodeError) -> click.ClickException:
    """Return what a command ends with if it cannot serve at an address."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return click.ClickException(
        f"cannot serve at {in_url(host)}:{port}: {reason}; choose another address with --listen"
    )

"""The address at which the server listens, and how that is called."""

from __future__ import annotations

import ipaddress
import socket

from trialbook import TrialbookError

#: Ports that are tried where none is asked for.
_PORTS = range(7860, 7960)


def bind(host: str, port: int | None) -> socket.socket:
    """A socket that listens; a free port of the usual ones where none is given.

    Raises:
        TrialbookError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for one in _PORTS if port is None else [port]:
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((host, one))
            opened.listen()
        except OSError as error:
            opened.close()
            why = error
            continue
        return opened
    place = f"{host}:{port}" if port is not None else f"{host}, ports {_PORTS.start} to {_PORTS.stop - 1}"
    raise TrialbookError(f"cannot listen at {place} ({why.strerror or why}); choose another --host or --port") from why


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address_of(listening: socket.socket, host: str) -> str:
    """Return what to type into a browser on this machine."""
    name = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}"

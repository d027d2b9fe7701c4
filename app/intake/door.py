"""Where a server is bound, under which names it is known, and which requests it turns away for that."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

from app.intake.headers import Scope

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
ANYWHERE = frozenset(("0.0.0.0", "::", ""))


class Refused(Exception):
    """A request that is turned away. status: of HTTP."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Door:
    """Where a server is bound, and the password that opens it.

    host: the address to listen on. names: others under which a proxy in front makes it known.
    password: "" where none is asked for.
    """

    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    password: str = ""

    @property
    def is_private(self) -> bool:
        """True where only this machine can reach it."""
        return self.host in LOOPBACK

    def address(self, port: int) -> str:
        """What to open in a browser, with the password where there is one."""
        name = "localhost" if self.host in ANYWHERE else self.host
        name = f"[{name}]" if ":" in name else name
        return f"http://{name}:{port}" + (f"/?key={quote(self.password)}" if self.password else "")

    def admits(self, host: str | None) -> bool:
        """True where a Host header names this server; a name that somebody's DNS lets point here does not.

        Bound to all addresses, any address in digits is admitted: no DNS answer is behind it.
        """
        name = _host_name(host or "")
        if name is None:
            return False
        if name in {other.lower() for other in self.names}:
            return True
        if self.host in LOOPBACK:
            return name in LOOPBACK
        if self.host in ANYWHERE:
            return name in LOOPBACK or _is_address(name)
        return name == self.host.lower()

    def check_sender(self, scope: Scope) -> None:
        """Raise Refused for a request under a foreign name, and for one that another site's page sent."""
        host, origin = header_of(scope, b"host"), header_of(scope, b"origin")
        if not self.admits(host):
            raise Refused(421, "This server has another name. Behind a proxy, start it with --name.")
        if origin is not None and urlsplit(origin).netloc.lower() != (host or "").lower():
            raise Refused(403, "This request was sent by another site's page.")


def check_port(host: str, port: int) -> None:
    """Raise OSError naming our flags when nothing can be served there.

    Asked before the models load; a server would say it after, in words that name flags of its own.
    """
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        place = f"{host}:{port} cannot be listened on ({os.strerror(error.errno)})"
        raise OSError(f"{place}; choose another --port or --host") from None


def header_of(scope: Scope, name: bytes) -> str | None:
    """A request's header, None where there is none. Raises Refused where one that names a sender stands
    twice."""
    values = [value for key, value in scope["headers"] if key == name]
    if len(values) > 1 and name in (b"host", b"origin"):
        raise Refused(400, "This request names its sender twice.")
    return values[0].decode("latin-1") if values else None


def _host_name(host: str) -> str | None:
    """The name in a Host header without its port, in lower case; None where there is none."""
    try:
        split = urlsplit(f"//{host}")
        port = split.port  # raises ValueError for one that is no number
    except ValueError:
        return None
    plain = split.netloc == host and split.username is None and (port is None or port > 0)
    return split.hostname if plain else None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True

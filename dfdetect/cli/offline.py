"""A guard that keeps a run on this machine: no socket may reach beyond it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from dfdetect.errors import DfdetectError

_SOCKET_METHODS = ("connect", "connect_ex", "sendto", "sendmsg")
_NAME_LOOKUPS = (
    "create_connection",
    "getaddrinfo",
    "gethostbyname",
    "gethostbyname_ex",
    "gethostbyaddr",
    "getnameinfo",
)


class NetworkOffError(DfdetectError, OSError):
    """Something tried to reach the network during a run that promised not to.

    It is an OSError too, so that a library with an offline path takes it.
    """

    exit_code = 1


@contextmanager
def network_off() -> Iterator[None]:
    """Refuse every connection, datagram and name look-up of this process; restore them after.

    Sockets of the machine itself (`AF_UNIX`) stay usable. The guard acts on Python's sockets;
    the decoder is compiled code and is kept local by being given plain files only, and ONNX
    Runtime's own reporting is switched off when dfdetect is imported.

    Raises:
        NetworkOffError: In whatever code tries to reach the network while the guard is up.

    Example:
        >>> import socket
        >>> with network_off():
        ...     socket.create_connection(("192.0.2.1", 80))
        Traceback (most recent call last):
        ...
        dfdetect.cli.offline.NetworkOffError: this run keeps off the network, so ... was refused
    """
    methods = {name: getattr(socket.socket, name) for name in _SOCKET_METHODS}
    lookups = {name: getattr(socket, name) for name in _NAME_LOOKUPS}
    inherited = [name for name in _SOCKET_METHODS if name not in vars(socket.socket)]
    for name, original in methods.items():
        setattr(socket.socket, name, _guarded(original))
    for name in _NAME_LOOKUPS:
        setattr(socket, name, _refuse)
    try:
        yield
    finally:
        for name, original in methods.items():
            if name in inherited:
                delattr(socket.socket, name)
            else:
                setattr(socket.socket, name, original)
        for name, original in lookups.items():
            setattr(socket, name, original)


def _guarded(original: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: socket.socket, *args: Any) -> Any:
        if self.family == getattr(socket, "AF_UNIX", None):
            return original(self, *args)
        return _refuse(*args)

    return method


def _refuse(*target: object, **_: object) -> NoReturn:
    raise NetworkOffError(f"this run keeps off the network, so {target!r} was refused")

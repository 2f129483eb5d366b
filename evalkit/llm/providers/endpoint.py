"""Where a provider's API is, the key to it (read from the environment at every call), and connections to it."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, cast
from urllib.parse import urlsplit

from evalkit.calls import Call, CallFailed
from evalkit.errors import InputError
from evalkit.llm.providers.retry import Fault, today

T = TypeVar("T")

Errors = tuple[type[Exception], ...]

CONNECT = 10.0
"""Seconds in which a server must take a connection."""

UNREACHED = "no connection"
"""The `Fault.error` of a request that was never sent."""

PLACEHOLDER = "no-key-needed"
"""Sent in the place of a key to a server that needs none, as the providers' clients want one."""


def checked_url(url: str, whose: str, name: str, variable: str, example: str) -> str:
    """Return a server's URL without a slash at its end.

    Parameters
    ----------
    url : str
    whose : str
        The component that is configured.
    name : str
        The field or environment variable that holds the URL.
    variable : str
        The environment variable that a key belongs into.
    example : str
        A URL of the wanted form.

    Raises
    ------
    InputError
        If it is none, or holds more than a place, which may be a secret and is therefore not shown.
    """
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise InputError(f"{whose}: {name} is no URL; one such as {example} is needed") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(f"{whose}: {name} holds more than a place; a key belongs into {variable}")
    if not whole:
        raise InputError(f"{whose}: {name} is {url!r}; a URL such as {example} is needed")
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine and no other."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def key_from(variable: str) -> str:
    """Return the key that the environment holds, without what a line's end left; empty where it holds none."""
    return os.environ.get(variable, "").strip()


def is_key(text: str) -> bool:
    """Whether a text can be sent as a key: printable ASCII without spaces."""
    return text.isascii() and text.isprintable() and " " not in text


@dataclass(frozen=True)
class Endpoint(ABC):
    """Where a component calls an API, and what its errors begin with.

    Parameters
    ----------
    whose : str
        The component.
    model : str
    url : str
    timeout : float
        Seconds without a sign of the server after which a try is given up.

    Attributes
    ----------
    variable : str
        The environment variable that holds the key.
    place : str
        The one that holds the URL.
    """

    whose: str
    model: str
    url: str
    timeout: float

    variable: ClassVar[str]
    place: ClassVar[str]

    @property
    def where(self) -> str:
        """What every error begins with."""
        return f"{self.whose}, {self.url}, model '{self.model}'"

    @property
    @abstractmethod
    def keyless(self) -> bool:
        """Whether the server may need no key."""

    def key(self) -> str:
        """Return the key, read now; a word in its place for a server that may need none.

        Raises
        ------
        CallFailed
            If there is none, or none that can be sent.
        """
        key = key_from(self.variable)
        if not key and not self.keyless:
            free = "or take a generator that needs none: Extractive(), or Modelled(Extractive())"
            raise self._impossible("no key", f"set {self.variable}, {free}")
        if not is_key(key):
            raise self._impossible("no such key", f"{self.variable} holds characters that no key has; set it anew")
        return key or PLACEHOLDER

    def _impossible(self, error: str, told: str) -> CallFailed:
        call = Call(self.model, stop=error, day=today(), complete=False)
        return CallFailed(f"{self.where}: {error}; {told}", call, final=True)

    def lost(self, error: Exception, *, unreached: Errors, silent: Errors, hung_up: Errors, cut: Errors) -> Fault:
        """Read an error of the connection, or of what came over it; the kinds are the SDK's and its client's."""
        if isinstance(error.__cause__, unreached):
            return Fault(UNREACHED, f"cannot be reached; start it, or set base_url or {self.place}")
        if isinstance(error, silent):
            return Fault("timeout", f"no sign of the server in {self.timeout:g} s; raise timeout, or run again later")
        if isinstance(error, hung_up):
            return Fault("connection lost", "the server hung up without an answer; run again")
        if isinstance(error, cut):
            return Fault("stream cut", "the connection broke before the answer's end; run again")
        return Fault("malformed event", "the server sent what is no part of an answer; check base_url, or run again")


async def held(key: Hashable, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> T:
    """Return what the running loop holds under a key: made on first use, closed before the loop is.

    Connections belong to one event loop and cannot outlive it. ``asyncio.run``, every `asyncio.Runner` and
    `VirtualClock.run` end a loop's asynchronous generators before they close it, and one of those closes what is
    held.

    Parameters
    ----------
    key : hashable
    make : function
    close : coroutine function
    """
    for gone in [loop for loop in _held if loop.is_closed()]:  # by somebody who ended no generator
        _held.pop(gone, None)
    loop = asyncio.get_running_loop()
    mine = _held.setdefault(loop, {})
    if key not in mine:
        made = make()
        holder = _holder(loop, key, made, close)
        mine[key] = made, holder
        await anext(holder)
    return cast("T", mine[key][0])


async def _holder(
    loop: asyncio.AbstractEventLoop, key: Hashable, made: T, close: Callable[[T], Awaitable[None]]
) -> AsyncIterator[None]:
    try:
        yield
    finally:
        del _held[loop][key]
        if not _held[loop]:
            del _held[loop]
        await close(made)


_held: dict[asyncio.AbstractEventLoop, dict[Hashable, Any]] = {}

"""Network: whether anything can be fetched, found out on the way the downloading library would take."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

from promptctl.errors import reason_of

_PATIENCE = 10.0  # seconds; somebody else's name server may take some, and that is no missing network
_PORTS = {"https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True)
class _Machine:
    """Whom a download calls: the hub, or a proxy in front of it."""

    host: str
    port: int
    is_proxy: bool

    def call(self) -> str | None:
        """Why it cannot be reached, or None."""
        try:
            socket.create_connection((self.host, self.port), _PATIENCE).close()
        except TimeoutError:
            return self.silence
        except OSError as error:
            told = f"the proxy {self.host}:{self.port} cannot be reached ({reason_of(error)})"
            return told if self.is_proxy else "there is no network"
        return None

    @property
    def silence(self) -> str:
        return f"{'the proxy ' if self.is_proxy else ''}{self.host} does not answer"


def offline_reason() -> str | None:
    """Why nothing can be downloaded, or None when it is worth trying.

    Refused at once where nothing is there to answer; silence is waited for ten seconds.
    """
    for variable in ("PROMPTCTL_OFFLINE", "HF_HUB_OFFLINE"):
        if os.environ.get(variable, "").lower() in ("1", "true", "yes", "on"):
            return f"{variable} is set"
    from huggingface_hub.constants import ENDPOINT

    try:
        machines = _on_the_way(ENDPOINT)
    except ValueError:  # a proxy or hub nobody can call; the download says so better
        return None
    return _reason(machines)


def _on_the_way(url: str) -> tuple[_Machine, ...]:
    """The proxy of a download, the hub itself, or both, where a list of exceptions from the proxy decides."""
    from urllib.request import getproxies  # its import takes a tenth of an answer

    proxies = getproxies()  # of the environment in any case of letters, or the system's
    proxy = proxies.get(urlsplit(url).scheme) or proxies.get("all")
    if not proxy or "*" in proxies.get("no", "").replace(" ", "").split(","):
        return (_machine(url, is_proxy=False),)
    first = _machine(proxy, is_proxy=True)
    return (first, _machine(url, is_proxy=False)) if proxies.get("no") else (first,)


def _machine(url: str, *, is_proxy: bool) -> _Machine:
    """ValueError where the address names no machine."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if not parts.hostname:
        raise ValueError(f"{url} names no machine")
    parts.hostname.encode("idna")  # UnicodeError, a ValueError
    return _Machine(parts.hostname, parts.port or _PORTS.get(parts.scheme, 80), is_proxy)


def _reason(machines: tuple[_Machine, ...]) -> str | None:
    """Why none of the machines can be reached, or None as soon as one can."""
    answers: SimpleQueue[tuple[int, str | None]] = SimpleQueue()

    def ask(place: int) -> None:
        answers.put((place, machines[place].call()))

    for place in range(len(machines)):
        # in threads, because looking up a name can hang far longer than any time-out of a connection
        threading.Thread(target=ask, args=(place,), daemon=True).start()
    reasons = [machine.silence for machine in machines]
    deadline = time.monotonic() + _PATIENCE
    for _ in machines:
        with suppress(Empty):
            place, reason = answers.get(timeout=max(0.0, deadline - time.monotonic()))
            if reason is None:
                return None
            reasons[place] = reason
    return reasons[0]

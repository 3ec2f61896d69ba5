"""Ref: how a person writes which context they mean."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from promptctl.errors import InvalidName

LONGEST_NAME = 64
CANDIDATE = "candidate"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_VERSION = re.compile(r"0*[1-9][0-9]{0,9}")
_WINDOWS_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
)


@dataclass(frozen=True)
class Ref:
    """A context, perhaps at a version or its candidate: `NAME`, `NAME@VERSION` or `NAME@candidate`.

    A name is 1 to 64 ASCII letters, digits, `-` and `_`, starting with a letter or digit, and not a
    Windows device name. Two names that differ only in case are the same name. Versions count from 1;
    without one, the newest is meant. The candidate is an update that has not become a version.
    """

    name: str
    version: int | None = None
    candidate: bool = False

    @staticmethod
    def parse(text: str) -> Ref:
        name, at, version = text.partition("@")
        check_name(name)
        if not at:
            return Ref(name)
        if version == CANDIDATE:
            return Ref(name, candidate=True)
        if not _VERSION.fullmatch(version):
            raise InvalidName(text, f"the version after '@' is a number from 1, or '{CANDIDATE}'", suggestion=name)
        return Ref(name, int(version))

    @property
    def is_whole(self) -> bool:
        """A name, with all that is kept under it."""
        return self.version is None and not self.candidate

    def __str__(self) -> str:
        return self.name if self.is_whole else f"{self.name}@{self.version or CANDIDATE}"


def check_name(name: str) -> str:
    """The name itself, or InvalidName with a suggestion."""
    reason = _fault(name)
    if reason:
        raise InvalidName(name, reason, suggestion=_closest_valid(name))
    return name


def is_name(name: str) -> bool:
    return _fault(name) is None


def _fault(name: str) -> str | None:
    if not name:
        return "it is empty"
    if len(name) > LONGEST_NAME:
        return f"it is {len(name)} characters long, {LONGEST_NAME} at most"
    if not _NAME.fullmatch(name):
        return "only letters, digits, '-' and '_' may be in it, a letter or digit first"
    if name.casefold() in _WINDOWS_DEVICES:
        return "Windows keeps that name for a device"
    return None


def _closest_valid(name: str) -> str | None:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-_")[:LONGEST_NAME]
    if plain.casefold() in _WINDOWS_DEVICES:
        plain = f"my-{plain}"
    return plain if plain and not _fault(plain) else None

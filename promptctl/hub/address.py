"""Address: how a person writes which repository of a hub, and which state of it, they mean."""

from __future__ import annotations

import re
from dataclasses import dataclass

from promptctl.clip.registry import is_repository
from promptctl.errors import InvalidRepository

_REVISION = re.compile(r"(?!.*(\.\.|//))[\w@+=][\w./@+=-]{0,199}", re.ASCII)


@dataclass(frozen=True)
class Address:
    """`OWNER/NAME`, perhaps at a branch, a tag or a commit: `OWNER/NAME@REVISION`."""

    repository: str
    revision: str | None = None

    @staticmethod
    def parse(text: str, example: str) -> Address:
        """InvalidRepository, whose hint is the example."""
        repository, at, revision = text.strip().removeprefix("hf://").partition("@")
        if not is_repository(repository) or (at and not is_revision(revision)):
            raise InvalidRepository(text, example)
        return Address(repository, revision or None)

    @property
    def name(self) -> str:
        """The repository without its owner."""
        return self.repository.partition("/")[2]

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}" if self.revision else self.repository


def is_revision(text: str) -> bool:
    """Whether a branch, a tag or a commit may be called so."""
    return _REVISION.fullmatch(text) is not None

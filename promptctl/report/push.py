"""What `push` uploaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.phrases import joined, next_lines, number_of, size


@dataclass(frozen=True)
class PushedFile:
    """One file of a repository."""

    path: str
    n_bytes: int
    sha256: str
    changed: bool  # written, or in a dry run to be written


@dataclass(frozen=True)
class PushReport(Report):
    type: ClassVar[str] = "push"

    context: str  # birds@3
    repository: str  # you/birds-context
    url: str
    revision: str  # a branch
    created: bool  # whether the repository is a new one
    private: bool
    commit: str | None  # that was made, or that holds all of it already; None in a dry run of what is new
    files: tuple[PushedFile, ...]
    shots: int  # photos whose features and checksums are in it
    tag: str | None
    tagged: bool  # whether the tag is new
    dry_run: bool
    card: str  # the README as a whole

    @property
    def changed(self) -> tuple[PushedFile, ...]:
        return tuple(file for file in self.files if file.changed)

    @property
    def unchanged(self) -> bool:
        return not (self.changed or self.tagged)

    def rows(self) -> list[Row]:
        return [{"path": one.path, "n_bytes": one.n_bytes, "changed": one.changed} for one in self.files]

    def tables(self) -> list[list[Row]]:
        return []

    def names(self) -> list[str]:
        return [self.url]

    def summary(self) -> list[str]:
        if self.unchanged:
            return [f"{self.repository} holds {self.context} as it is: nothing to upload", f"page: {self.url}"]
        done = "would be uploaded" if self.dry_run else "uploaded"
        tag = [f"tag: {self.tag}"] if self.tagged else []
        commit = [f"commit: {self.commit[:12]}"] if self.commit and not self.dry_run else []
        card = ["", *self.card.splitlines()] if self.dry_run else []
        return [f"{done}: {self.what}", *commit, *tag, f"page: {self.url}", *card]

    @property
    def what(self) -> str:
        """In words to ask with."""
        visibility = "private" if self.private else "public"
        to = f"a new {visibility} repository" if self.created else f"which is {visibility}"
        branch = "" if self.revision == "main" else f" ({self.revision})"
        if not self.changed:
            return f"nothing but the tag {self.tag} to {self.repository}{branch}, {to}"
        return f"{joined([self._described(file) for file in self.changed])} to {self.repository}{branch}, {to}"

    def _described(self, file: PushedFile) -> str:
        if not file.path.endswith(".safetensors"):
            return file.path
        of_photos = number_of(self.shots, "photo")
        shots = f"with the features and checksums of {of_photos}" if self.shots else "without shots"
        return f"{file.path} ({size(file.n_bytes)}, {shots})"

    def advice(self) -> list[str]:
        if self.dry_run:
            return []
        revision = self.tag or (None if self.revision == "main" else self.revision)
        return next_lines(f"promptctl pull {self.repository}{f'@{revision}' if revision else ''}   (elsewhere)")

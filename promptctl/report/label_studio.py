"""What `review --label-studio` wrote."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.phrases import next_lines, number_of, passed_over_lines, skipped_lines

_ENABLED, _ROOT = "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED", "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"


@dataclass(frozen=True)
class LabelStudioReport(Report):
    """Tasks for Label Studio, and what it has to be told to show their photos."""

    type: ClassVar[str] = "review"

    context: str
    path: Path  # the tasks
    config: Path  # the labelling interface, to be pasted
    tasks: int
    document_root: Path  # below which Label Studio is to serve files
    storage: Path  # the folder in there that the project is to have as local storage
    skipped: tuple[SkippedFile, ...]
    passed_over: dict[str, int]

    def rows(self) -> list[Row]:
        return [{name: getattr(self, name) for name in ("path", "config", "tasks", "document_root", "storage")}]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        return [f"{number_of(self.tasks, 'photo')} with the answers of {self.context} in {self.path}"]

    def names(self) -> list[str]:
        return [str(self.path)]

    def notes(self) -> list[str]:
        return passed_over_lines(self.passed_over)

    def warnings(self) -> list[str]:
        return skipped_lines(self.skipped)

    def advice(self) -> list[str]:
        name = self.context.partition("@")[0]
        return [
            f"start Label Studio with {_ENABLED}=true {_ROOT}={shlex.quote(str(self.document_root))}, and in a project",
            f"  Labeling Interface > Code: paste {self.config}",
            f"  Cloud Storage > Add Source Storage > Local Files: {self.storage}, and save it without a sync",
            f"  Import: {self.path}; when the photos are labelled, Export: JSON",
            *next_lines(f"promptctl learn EXPORTED.json --name {name}"),
        ]

    @property
    def exit_code(self) -> int:
        return 3 if self.skipped else 0

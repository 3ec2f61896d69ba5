"""What each command found: frozen values that say themselves as rows, as a sentence and as JSON."""

from __future__ import annotations

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.comparing import BaseToNewRow, ComparedRow, CompareReport
from promptctl.report.exchanging import ExportReport, ImportReport, ReceivedReport, SentReport
from promptctl.report.keeping import CachedFeatures, CacheReport, ClearedReport, ModelRow, ModelsReport, PulledReport
from promptctl.report.learning import ClassPhotos, LearnReport
from promptctl.report.storing import (
    Checked,
    CheckReport,
    ClassDiff,
    DiffReport,
    GoneReport,
    ListReport,
    LogReport,
    MovedReport,
    PathReport,
    RemovedContext,
    ShowReport,
    StoredContext,
    TrashReport,
    VectorDrift,
    VersionRow,
)
from promptctl.report.using import (
    Classified,
    ClassifyReport,
    ClassScore,
    EvaluateReport,
    Guess,
    InspectReport,
    NearWordRow,
    Scores,
    VectorReport,
)

__all__ = [
    "BaseToNewRow",
    "CacheReport",
    "CachedFeatures",
    "CheckReport",
    "Checked",
    "ClassDiff",
    "ClassPhotos",
    "ClassScore",
    "Classified",
    "ClassifyReport",
    "ClearedReport",
    "CompareReport",
    "ComparedRow",
    "DiffReport",
    "EvaluateReport",
    "ExportReport",
    "GoneReport",
    "Guess",
    "ImportReport",
    "InspectReport",
    "LearnReport",
    "ListReport",
    "LogReport",
    "ModelRow",
    "ModelsReport",
    "MovedReport",
    "NearWordRow",
    "PathReport",
    "PulledReport",
    "ReceivedReport",
    "RemovedContext",
    "Report",
    "Row",
    "Scores",
    "SentReport",
    "ShowReport",
    "SkippedFile",
    "StoredContext",
    "TrashReport",
    "VectorDrift",
    "VectorReport",
    "VersionRow",
]

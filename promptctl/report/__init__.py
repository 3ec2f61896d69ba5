"""What each command found: frozen values that say themselves as rows, as a sentence and as JSON."""

from __future__ import annotations

from promptctl.report.base import Chart, Item, Report, Row, SkippedFile, StreamedReport
from promptctl.report.cache import CachedFeatures, CacheReport, ClearedReport
from promptctl.report.check import Checked, CheckReport
from promptctl.report.classes import (
    ClassAddReport,
    ClassDropReport,
    ClassListReport,
    ClassMergeReport,
    ClassRenameReport,
    ClassSplitReport,
    CorrectedPhoto,
    HeldElsewhere,
    JudgedReport,
    ListedClass,
    MergeReport,
    MovedClass,
    RelabelPlan,
    RelabelReport,
    VersionReport,
)
from promptctl.report.classify import (
    Classified,
    ClassifyReport,
    Detected,
    DetectorSaid,
    Guess,
    NotAPhoto,
    Survey,
    Told,
)
from promptctl.report.compare import BaseToNewRow, ComparedRow, CompareReport
from promptctl.report.continual import (
    ContinualReport,
    ContinualRow,
    ContinualRun,
    CourseRow,
    CourseRun,
    CoursesReport,
    TaskOrder,
)
from promptctl.report.diff import ClassDiff, Confusion, DiffReport, Flip, RelabelledShot, ShotOf, VectorDrift
from promptctl.report.distributed import DistributedReport
from promptctl.report.doctor import DoctorReport, Finding
from promptctl.report.encode import EncodeReport
from promptctl.report.evaluate import EvaluateReport, PhotoAnswer, UnknownFigures, UnknownScores
from promptctl.report.evaluate_matrix import MatrixReport, MatrixRow
from promptctl.report.export import CheckpointExported, ContextExported, HeadExported, OnnxExported
from promptctl.report.gate import Rejection, Taken, TakenLine
from promptctl.report.gc import GcReport
from promptctl.report.guard import ClassMoved, GuardFacts
from promptctl.report.import_context import CheckpointImported, ContextImported
from promptctl.report.inspect import (
    AlikeClass,
    ClassReport,
    InspectReport,
    NearPhoto,
    NearWordRow,
    OtherVector,
    StartFacts,
    VectorReport,
    VersionScore,
    VocabularyFacts,
)
from promptctl.report.label_studio import LabelStudioReport
from promptctl.report.learn import (
    ClassPhotos,
    LearnPlan,
    LearnReport,
    MovedPhoto,
    PlannedClass,
    UpdateFacts,
)
from promptctl.report.list import ListReport, RemovedContext, StoredContext, TrashReport
from promptctl.report.log import Batch, LogReport, VersionRow
from promptctl.report.measures import (
    BaselineScore,
    ClassScore,
    ConfusedPair,
    CoverageRow,
    Interval,
    Scores,
    Speed,
)
from promptctl.report.models import ModelRow, ModelsReport, PulledReport
from promptctl.report.moved import CopyReport, PromoteReport, RemoveReport, RenameReport, RestoreReport
from promptctl.report.operations import ListedOperation, OperationsReport
from promptctl.report.path import PathReport
from promptctl.report.pull import PullReport
from promptctl.report.push import PushedFile, PushReport
from promptctl.report.rebase import MissingPhoto, RebaseReport
from promptctl.report.review import ReviewReport
from promptctl.report.saved import SavedReport
from promptctl.report.show import ShowReport
from promptctl.report.skill import CommandFacts, ParameterFacts, SkillReport
from promptctl.report.sort import ApplyReport, Carried, PlanReport, SortReport
from promptctl.report.suggest import Candidate, SuggestReport
from promptctl.report.tag import TaggedPhoto, TagReport
from promptctl.report.undo import UndoReport
from promptctl.report.watch import Arrived, WatchReport

__all__ = [
    "AlikeClass",
    "ApplyReport",
    "Arrived",
    "BaseToNewRow",
    "BaselineScore",
    "Batch",
    "CacheReport",
    "CachedFeatures",
    "Candidate",
    "Carried",
    "Chart",
    "CheckReport",
    "Checked",
    "CheckpointExported",
    "CheckpointImported",
    "ClassAddReport",
    "ClassDiff",
    "ClassDropReport",
    "ClassListReport",
    "ClassMergeReport",
    "ClassMoved",
    "ClassPhotos",
    "ClassRenameReport",
    "ClassReport",
    "ClassScore",
    "ClassSplitReport",
    "Classified",
    "ClassifyReport",
    "ClearedReport",
    "CommandFacts",
    "CompareReport",
    "ComparedRow",
    "ConfusedPair",
    "Confusion",
    "ContextExported",
    "ContextImported",
    "ContinualReport",
    "ContinualRow",
    "ContinualRun",
    "CopyReport",
    "CorrectedPhoto",
    "CourseRow",
    "CourseRun",
    "CoursesReport",
    "CoverageRow",
    "Detected",
    "DetectorSaid",
    "DiffReport",
    "DistributedReport",
    "DoctorReport",
    "EncodeReport",
    "EvaluateReport",
    "Finding",
    "Flip",
    "GcReport",
    "GuardFacts",
    "Guess",
    "HeadExported",
    "HeldElsewhere",
    "InspectReport",
    "Interval",
    "Item",
    "JudgedReport",
    "LabelStudioReport",
    "LearnPlan",
    "LearnReport",
    "ListReport",
    "ListedClass",
    "ListedOperation",
    "LogReport",
    "MatrixReport",
    "MatrixRow",
    "MergeReport",
    "MissingPhoto",
    "ModelRow",
    "ModelsReport",
    "MovedClass",
    "MovedPhoto",
    "NearPhoto",
    "NearWordRow",
    "NotAPhoto",
    "OnnxExported",
    "OperationsReport",
    "OtherVector",
    "ParameterFacts",
    "PathReport",
    "PhotoAnswer",
    "PlanReport",
    "PlannedClass",
    "PromoteReport",
    "PullReport",
    "PulledReport",
    "PushReport",
    "PushedFile",
    "RebaseReport",
    "Rejection",
    "RelabelPlan",
    "RelabelReport",
    "RelabelledShot",
    "RemoveReport",
    "RemovedContext",
    "RenameReport",
    "Report",
    "RestoreReport",
    "ReviewReport",
    "Row",
    "SavedReport",
    "Scores",
    "ShotOf",
    "ShowReport",
    "SkillReport",
    "SkippedFile",
    "SortReport",
    "Speed",
    "StartFacts",
    "StoredContext",
    "StreamedReport",
    "SuggestReport",
    "Survey",
    "TagReport",
    "TaggedPhoto",
    "Taken",
    "TakenLine",
    "TaskOrder",
    "Told",
    "TrashReport",
    "UndoReport",
    "UnknownFigures",
    "UnknownScores",
    "UpdateFacts",
    "VectorDrift",
    "VectorReport",
    "VersionReport",
    "VersionRow",
    "VersionScore",
    "VocabularyFacts",
    "WatchReport",
]

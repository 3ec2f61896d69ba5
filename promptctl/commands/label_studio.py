"""Label Studio: photos to ask about as its tasks, with what a context takes each for, and where to label them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from promptctl import checks
from promptctl.commands.writing import check_free, place_file
from promptctl.errors import ExportFailed, WrongOption
from promptctl.report import Candidate, LabelStudioReport, SkippedFile, SuggestReport

CONTROL, OBJECT = "label", "image"  # what the interface calls the choices and the photo
_SERVED = "/data/local-files/?d="  # and the path below the document root
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_label_studio(out: str | os.PathLike[str], *, force: bool = False) -> None:
    """ExportFailed now where `label_studio` could not write its files, before photos are looked at."""
    path = checks.path("out", out)
    if path.suffix.lower() != ".json":
        raise ExportFailed(path, "Label Studio imports .json", f"name it {path.with_suffix('.json')}")
    for file in (path, config_of(path)):
        check_free(file, force)


def label_studio(found: SuggestReport, out: str | os.PathLike[str], *, force: bool = False) -> LabelStudioReport:
    """Write the photos to ask about, in their order, as tasks with pre-annotations, and the interface beside them.

    found    as `suggest` gives it
    out      a .json file; the interface is an .xml of the same name
    force    replace files that are there
    raises   ExportFailed, WrongOption where there is nothing to ask about
    """
    path = checks.path("out", out)
    check_label_studio(path, force=force)
    for one in found.candidates:
        checks.local_path("photos", one.file, "Label Studio serves photos that are")
    asked = [one for one in found.candidates if _is_text(one.file)]
    if not asked:
        raise WrongOption("there is no photo to ask about", "give photos that it was not learned from")
    storage = _common_folder(asked)
    root, interface = storage.parent, _interface(path, found)
    tasks = [_task(rank, one, found.context, root) for rank, one in enumerate(asked, 1)]
    place_file(config_of(path), interface.encode(), force)
    place_file(path, (json.dumps(tasks, indent=1) + "\n").encode(), force)
    unnamed = (one for one in found.candidates if not _is_text(one.file))
    skipped = tuple(SkippedFile(Path(one.file), "Label Studio cannot write its name") for one in unnamed)
    return LabelStudioReport(
        context=found.context,
        path=path,
        config=config_of(path),
        tasks=len(tasks),
        document_root=root,
        storage=storage,
        skipped=(*found.skipped, *skipped),
        passed_over=dict(found.passed_over),
    )


def config_of(path: Path) -> Path:
    """Where the interface goes, beside the tasks."""
    return path.with_suffix(".xml")


def _is_text(path: str) -> bool:
    """Whether a path is UTF-8, which addresses are made of."""
    return not re.search("[\ud800-\udfff]", path)


def _common_folder(asked: Sequence[Candidate]) -> Path:
    try:
        return Path(os.path.commonpath([os.path.dirname(one.file) for one in asked]))  # noqa: PTH120
    except ValueError as error:  # two drives have nothing in common
        raise WrongOption("Label Studio serves photos of one drive at a time", "give those of one drive") from error


def _task(rank: int, one: Candidate, context: str, root: Path) -> dict[str, object]:
    """A photo, and what it was taken for; `path` and `sha256` are what the way back goes by."""
    place = quote(Path(one.file).relative_to(root).as_posix())
    data = {
        OBJECT: f"{_SERVED}{place}",
        "path": one.file,
        "sha256": one.sha256,
        "rank": rank,
        "margin": round(one.margin, 4),
        "unknown": one.unknown,
        "copies": [copy for copy in one.copies if _is_text(copy)],
    }
    result = {"from_name": CONTROL, "to_name": OBJECT, "type": "choices", "value": {"choices": [one.label]}}
    prediction = {"model_version": context, "score": round(one.probability, 4), "result": [result]}
    return {"data": data, "predictions": [prediction]}


def _interface(path: Path, found: SuggestReport) -> str:
    """The labelling interface: a photo, and its classes to choose one of."""
    odd = next((label for label in found.class_labels if _NOT_IN_XML.search(label)), None)
    if odd is not None:
        raise ExportFailed(path, f"the class {odd!r} has a character that XML cannot hold", "promptctl class rename")
    names = zip(found.class_labels, found.class_names, strict=True)
    choices = (f"    <Choice value={quoteattr(label)}{_hint(label, name)}/>" for label, name in names)
    return "\n".join(
        [
            "<View>",
            f'  <Image name="{OBJECT}" value="${OBJECT}"/>',
            f'  <Choices name="{CONTROL}" toName="{OBJECT}" choice="single" showInline="true">',
            *choices,
            "  </Choices>",
            "</View>\n",
        ]
    )


def _hint(label: str, name: str) -> str:
    return "" if name == label else f" hint={quoteattr(_NOT_IN_XML.sub('', name))}"

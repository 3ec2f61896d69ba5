"""Label Studio: photos to ask about go out as its tasks, and what it exports comes back as a list or as corrections."""

from __future__ import annotations

import csv
import hashlib
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from promptctl import commands
from promptctl.data.folder import ImageFolder
from promptctl.data.readers.fixes import read_fixes
from promptctl.errors import DatasetError, ExportFailed
from promptctl.report import Candidate, SuggestReport
from promptctl.store.store import Store


@pytest.fixture
def album(tmp_path) -> Path:
    folder = tmp_path / "my album & more"
    folder.mkdir()
    for i in range(4):
        Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(folder / f"{i} ü.png")
    return folder


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def suggested(album: Path, *, labels=("emu", "ibis")) -> SuggestReport:
    """The first three to ask about, the fourth a copy of the third."""
    files = sorted(album.iterdir())
    rows = [
        Candidate(
            str(file), sha(file), "emu", "the emu", 0.6, "ibis", "ibis", 0.3, 0.3, None, False,
            (str(files[3]),) if file == files[2] else (),
        )
        for file in files[:3]
    ]  # fmt: skip
    return SuggestReport("birds@1", labels, ("the emu", *labels[1:]), 4, 0, 0, tuple(rows))


def annotated(tasks: list[dict], *choices: str | None, **facts) -> list[dict]:
    """The tasks as Label Studio exports them; None: the annotation was cancelled."""
    return [
        {
            "id": 10 + i,
            "data": task["data"],
            "annotations": [annotation(choice, **facts)],
            "predictions": task.get("predictions", []),
        }
        for i, (task, choice) in enumerate(zip(tasks, choices, strict=True))
    ]


def annotation(choice: str | None, by: int = 1, at: str = "2026-11-26T10:00:00Z", **facts) -> dict:
    result = {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [choice]}}
    if choice is None:  # what had been chosen before is still in it
        result["value"] = {"choices": ["emu"]}
    return {"completed_by": by, "updated_at": at, "was_cancelled": choice is None, "result": [result], **facts}


def written(album: Path, found: object, name: str = "export.json") -> Path:
    path = album.parent / name
    path.write_text(json.dumps(found), "utf-8")
    return path


def listed(path: Path) -> dict[str, str]:
    return {image.path.name: image.label for image in ImageFolder.scan(path).images}


def tasks_of(album: Path) -> list[dict]:
    report = commands.label_studio(suggested(album), album.parent / "tasks.json")
    return json.loads(report.path.read_text("utf-8"))


def test_tasks_name_files_that_label_studio_can_serve(album):
    report = commands.label_studio(suggested(album), album.parent / "tasks.json")
    tasks = json.loads(report.path.read_text("utf-8"))
    assert [task["data"]["rank"] for task in tasks] == [1, 2, 3]
    for task, file in zip(tasks, sorted(album.iterdir())[:3], strict=True):
        address = urlsplit(task["data"]["image"])
        assert address.path == "/data/local-files/"
        assert report.document_root / parse_qs(address.query)["d"][0] == file == Path(task["data"]["path"])
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "birds@1" and prediction["score"] == 0.6
        assert prediction["result"][0]["value"] == {"choices": ["emu"]}
    assert report.storage == album and report.document_root == album.parent


def test_the_interface_offers_every_class_whatever_it_is_called(album):
    report = commands.label_studio(suggested(album, labels=('<"emu">', "a & b")), album.parent / "tasks.json")
    view = ElementTree.fromstring(report.config.read_text("utf-8"))
    assert [choice.get("value") for choice in view.iter("Choice")] == ['<"emu">', "a & b"]
    (choices,), (image,) = view.iter("Choices"), view.iter("Image")
    assert (choices.get("name"), choices.get("toName"), image.get("value")) == ("label", "image", "$image")
    with pytest.raises(ExportFailed, match="XML cannot hold"):
        commands.label_studio(suggested(album, labels=("\x1b[2J", "b")), album.parent / "other.json")


def test_nothing_is_overwritten(album):
    tasks_of(album)
    with pytest.raises(ExportFailed, match="already exists"):
        commands.label_studio(suggested(album), album.parent / "tasks.json")
    (album.parent / "tasks.json").unlink()
    with pytest.raises(ExportFailed, match=r"tasks\.xml"):
        commands.label_studio(suggested(album), album.parent / "tasks.json")


def test_an_export_gives_a_photo_and_its_copies_their_class(album, caplog):
    path = written(album, annotated(tasks_of(album), "emu", None, "kiwi"))
    assert listed(path) == {"0 ü.png": "emu", "2 ü.png": "kiwi", "3 ü.png": "kiwi"}


def test_a_photo_that_changed_since_is_skipped_and_named(album):
    path = written(album, annotated(tasks_of(album), "emu", "ibis", "kiwi"))
    Image.new("RGB", (8, 8), (1, 2, 3)).save(album / "0 ü.png")
    found = ImageFolder.scan(path)
    assert "0 ü.png" not in {image.path.name for image in found.images}
    assert [(item.path.name, item.reason) for item in found.skipped] == [
        ("0 ü.png", "it has changed since it was given its class")
    ]


def test_people_who_disagree_leave_a_photo_out_and_the_last_word_of_each_counts(album, caplog):
    tasks = annotated(tasks_of(album), "emu", "emu", "emu")
    tasks[0]["annotations"].append(annotation("ibis", at="2026-11-26T11:00:00Z"))  # the same person, later
    tasks[1]["annotations"].append(annotation("ibis", by=2))
    tasks[2]["annotations"].append(annotation("ibis", by=2, ground_truth=True))
    assert listed(written(album, tasks)) == {"0 ü.png": "ibis", "2 ü.png": "ibis", "3 ü.png": "ibis"}
    assert "1 photo is left out" in caplog.text and "1 ü.png" in caplog.text


FLAT = {"annotator": 1, "created_at": "2026-11-26T10:00:00Z", "updated_at": "2026-11-26T10:00:00Z", "lead_time": 1.5}


def flat(album: Path) -> list[dict]:
    """JSON-MIN, the second photo without an annotation."""
    every = [(i, task["data"], label) for i, (task, label) in enumerate(zip(tasks_of(album), "aba", strict=True), 1)]
    return [
        {**data, "id": i, **FLAT, **({"annotation_id": None} if i == 2 else {"annotation_id": i, "label": label})}
        for i, data, label in every
    ]


def test_json_min_and_csv_say_the_same(album):
    found = flat(album)
    path = album.parent / "export.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, sorted(found[0]), quoting=csv.QUOTE_NONNUMERIC)
        writer.writeheader()
        writer.writerows({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in found)
    meant = {"0 ü.png": "a", "2 ü.png": "a", "3 ü.png": "a"}
    assert listed(written(album, found)) == listed(path) == meant


@pytest.mark.parametrize(
    "image",
    [
        "/data/local-files/?d=elsewhere/my%20photos/{0}",
        "/data/upload/3/0123abcd-{0}",
        "https://somewhere.example/photos/{0}?token=1",
        "s3://bucket/photos/{0}",
        "/mnt/another machine/my album & more/{0}",
        "{0}",
    ],
)
def test_other_projects_are_found_by_the_names_of_their_files(album, image):
    for i in range(4):
        (album / f"{i} ü.png").rename(album / f"bird{i}.png")
    tasks = [{"data": {"img": image.format(f"bird{i}.png")}} for i in range(2)]
    found = annotated(tasks, "emu", "ibis")
    for task in found:
        task["annotations"][0]["result"][0]["from_name"] = "choice"
    assert listed(written(album, found)) == {"bird0.png": "emu", "bird1.png": "ibis"}


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ([{"data": {"image": "1.png"}, "predictions": []}], "has 1 task and no annotations"),
        ([{"data": {"image": "1.png"}, "annotations": [7]}], "cannot be read, number 1"),
        ([{"data": {"image": "1.png"}, "annotations": {"a": 1}}], "cannot be read, number 1"),
        ([{"data": {"text": 5}, "annotations": [annotation("emu")]}], "without an image, number 1"),
    ],
)
def test_what_cannot_be_understood_is_refused_in_one_sentence(album, found, sentence):
    with pytest.raises(DatasetError, match=sentence):
        ImageFolder.scan(written(album, found))


def test_relabel_corrects_what_is_stored_by_an_export(cli, colours_bytes, tmp_path):
    store = Store()
    store.save("colours", colours_bytes, new=True)
    context = store["colours"]
    wrong = context.shots.hashes[0]
    before = next(entry.label for entry in context.card.classes if entry.id == context.shots.class_ids[0])
    after = next(entry.label for entry in context.card.classes if entry.label != before)
    tasks = [
        {"data": {"image": "a.png", "path": f"/gone/{i}.png", "sha256": s}} for i, s in enumerate((wrong, "0" * 64))
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(annotated(tasks, after, "a new class")), "utf-8")
    assert [(fix.sha256, fix.label) for fix in read_fixes(path)] == [(wrong, after), ("0" * 64, "a new class")]
    done = cli("relabel", "colours", path, "--dry-run", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["relabelled"] == [{"sha256": wrong, "before": before, "after": after}]
    assert "1 photo of" in done.err and "not stored" in done.err
    (tmp_path / "none.json").write_text(json.dumps(annotated(tasks[1:], "x")), "utf-8")
    assert "none of the photos" in cli("relabel", "colours", tmp_path / "none.json", "--dry-run").err

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from conftest import full_disk

from promptctl.demo import draw_pictures
from promptctl.errors import ExportFailed


def digest(folder: Path) -> str:
    from PIL import Image

    pixels = hashlib.sha256()
    for path in sorted(folder.rglob("*.png")):
        pixels.update(str(path.relative_to(folder)).encode() + Image.open(path).tobytes())
    return pixels.hexdigest()


def test_the_pictures_are_the_same_every_time(tmp_path):
    draw_pictures(tmp_path / "one")
    draw_pictures(tmp_path / "two")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert len(list((tmp_path / "one").rglob("*.png"))) == 6 * 17


def test_the_demo_runs_the_four_verbs_as_typed_and_learning_pays(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = cli("demo", tmp_path / "demo")
    assert outcome.code == 0
    typed = [line for line in outcome.err.splitlines() if line.startswith("$ ")]
    assert [line.split()[2] for line in typed] == ["learn", "evaluate", "inspect", "classify"]
    top1 = next(line for line in outcome.out.splitlines() if line.startswith("top-1")).split("\t")
    learned, without_head, zero_shot = (float(cell.removesuffix(" %")) for cell in top1[1:])
    assert min(learned, without_head) > zero_shot + 40
    named = [line.split("\t")[:2] for line in outcome.out.splitlines() if line.startswith("unsorted/")]
    assert len(named) == 6


def test_the_demo_overwrites_nothing(cli, tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    outcome = cli("demo", tmp_path)
    assert (outcome.code, outcome.err.splitlines()) == (
        1,
        [
            f"error: {tmp_path} is not empty, and the demo overwrites nothing",
            "hint:  promptctl demo ./a-new-folder",
        ],
    )


def test_a_full_disk_is_said_in_a_sentence(tmp_path):
    with full_disk(), pytest.raises(ExportFailed) as refused:
        draw_pictures(tmp_path)
    assert str(refused.value).endswith(".png cannot be written: file too large")

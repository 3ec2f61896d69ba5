"""`classify` as a stream: rows while photos are encoded, and what happens when that is cut short."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import paint
from PIL import Image
from test_cli import n_cached, wait_for

from promptctl import commands
from promptctl.classification.classifier import Answer, Classifier
from promptctl.clip.backbone import Backbone
from promptctl.context.context import Context
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.files import Skipped
from promptctl.encoding.pipeline import encode_files
from promptctl.report import Classified, SkippedFile
from promptctl.store.refs import Ref
from promptctl.store.store import Store

FORMATS = ["table", "json", "jsonl", "csv"]


@pytest.fixture
def learned(cli, photos, tiny):
    """A context of three colours by the name of c."""
    assert cli("learn", photos, "--name", "c", "--model", tiny, "--epochs", 1, "--shots", 2).code == 0
    return photos


@pytest.fixture
def many(tmp_path) -> Path:
    """Six hundred little pictures, no two of them the same."""
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(600):
        Image.new("RGB", (40, 40), (i % 256, i // 256, 7)).save(folder / f"{i:03}.png")
    return folder


def test_rows_come_before_the_last_photos_are_read(learned, many):
    items = commands.classify([many], "c").items()
    first = next(items)
    assert first.path == many / "000.png"
    for path in sorted(many.iterdir())[300:]:
        path.unlink()
    rest = list(items)
    assert [item.path for item in rest] == [many / f"{i:03}.png" for i in range(1, 600)]
    assert sum(isinstance(item, SkippedFile) for item in rest) == 300


def test_a_classifier_answers_as_its_probabilities_say(learned, tiny):
    paths = sorted(learned.rglob("*.png"))
    paths[4].write_bytes(b"<html>")
    encoder, context = Backbone(tiny).encoder, Context.load(Store().find(Ref("c")).path)
    classifier = Classifier.of(context, share=0.5)
    answers = list(classifier.classify(paths, encoder, FeatureCache()))
    assert [answer.path for answer in answers] == paths
    assert isinstance(answers.pop(4), Skipped)
    features, _ = encode_files(paths, encoder, FeatureCache())
    predictions = classifier.predict(features.vectors)
    assert classifier.labels == ("blue", "green", "red")
    for row, answer in enumerate(answers):
        assert isinstance(answer, Answer)
        assert answer.probabilities == pytest.approx(predictions.probabilities[row])
        assert answer.sha256 == features.sha256[row]
        entry, probability = answer.top(2)[0]
        assert (entry.id, probability) == (predictions.best[row], answer.probabilities.max())


def started(folder: Path) -> subprocess.Popen[bytes]:
    """`classify` of a folder, with one row read; it cannot end before more is read, for the pipe is full."""
    command = [sys.executable, "-m", "promptctl", "classify", folder, "--prompt", "c", "--format", "jsonl"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    row = b""
    while not row.endswith(b"\n"):
        row += process.stdout.read(1)
    assert list(json.loads(row))[:4] == ["path", "label", "name", "probability"]
    return process


def stands_still(home: Path) -> bool:
    count = n_cached(home)
    time.sleep(1)
    return n_cached(home) == count


def test_a_reader_that_leaves_ends_the_work_without_a_word(learned, answering, many, home):
    before = n_cached(home)
    with started(many) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
    assert 0 < n_cached(home) - before < 400


def test_an_interruption_ends_the_work_at_once_and_says_what_is_kept(learned, answering, many, home):
    before = n_cached(home)
    with started(many) as process:
        wait_for(lambda: n_cached(home) > before + 100 and stands_still(home))  # it writes into a full pipe
        process.send_signal(signal.SIGINT)
        process.wait(20)
        said = process.stderr.read().decode()
    kept = n_cached(home) - before
    assert process.returncode == 130
    assert said == f"error: interrupted; {kept} image features are kept, the same command goes on from there\n"
    assert kept < 600


@pytest.mark.parametrize("output", FORMATS)
def test_a_refusal_leaves_nothing_on_stdout(cli, learned, tmp_path, output):
    empty, notes = tmp_path / "empty", tmp_path / "notes"
    empty.mkdir()
    notes.mkdir()
    (notes / "README").write_text("which only opening it tells from a photo")
    for where, prompt, sentence in (
        (learned, "d", "no context named 'd'"),
        (empty, "c", f"there is no file in {empty}"),
        (notes, "c", f"there is no photo in {notes}, only 1 that is not a photo (1 without an extension)"),
    ):
        done = cli("classify", where, "--prompt", prompt, "--format", output)
        assert (done.out, done.err.splitlines()[0]) == ("", f"error: {sentence}")
        assert done.code == (10 if prompt == "d" else 1)


def test_a_share_is_chosen_before_anything_is_encoded(cli, photos, tiny, tmp_path, home):
    cli("learn", photos, "--name", "one", "--shots", 1, "--model", tiny, "--epochs", 1)
    before = n_cached(home)
    done = cli("classify", paint(tmp_path / "new", images=2, seed=5), "--prompt", "one", "--blend", "auto")
    assert (done.code, done.out, n_cached(home)) == (1, "", before)
    assert "choosing a blend takes two" in done.err


def test_errors_stand_among_the_rows_where_they_occur(cli, learned):
    (learned / "blue" / "1.png").write_bytes(b"")
    done = cli("classify", learned / "blue", "--prompt", "c", "--format", "jsonl")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["type"] for row in rows] == ["result", "error", *["result"] * 4]
    assert list(rows[1]) == ["path", "reason", "type"]
    assert done.code == 3


def test_what_comes_one_by_one_is_classified_like_all_together(cli, learned, many):
    """Rows of a first run, whose batches grow, and of a second, from the cache."""
    first, second = (
        [item.top for item in commands.classify([many], "c").items() if isinstance(item, Classified)] for _ in range(2)
    )
    assert len(first) == 600
    assert first == second

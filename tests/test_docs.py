"""README and docs say what is true: their commands run, their options exist, their code works.

`python tests/test_docs.py` writes docs/cli.md and docs/promptctl.1 again.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from manual import ROOT, cli_page, commands, man_page, option_names, parameters
from PIL import Image
from shown import other_words
from typer.models import OptionInfo

from promptctl import report
from promptctl.benchmark import variants
from promptctl.cli.app import COMMANDS
from promptctl.learners import LEARNERS
from promptctl.report.base import SCHEMA_VERSION
from promptctl.store.refs import Ref
from promptctl.store.store import Store

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
BIRDS = ("emu", "flamingo", "ibis", "pigeon", "rooster")
NOT_OURS = {"--install-completion", "--show-completion", "--version", "--help"}  # typer's
NOT_OURS |= {"--torch-backend"}  # uv's
OF_THE_BENCHMARKS = {
    "--count",
    "--latency",
    "--draws",
    "--large",
    "--loop",
    "--megapixels",
    "--memory",
    "--mosaic",
    "--plain",
    "--part",
    "--out",
    "--names",
    "--kills",
    "--photos",
    "--threads",
    "--methods",
    "--seeds",
    "--shape",
    "--pairs",
    "--paths",
    "--small",
    "--together",
    "--without",
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


# --------------------------------------------------------------------------- docs/cli.md


@pytest.mark.parametrize(("name", "write"), [("cli.md", cli_page), ("promptctl.1", man_page)])
def test_the_pages_of_every_command_are_what_the_program_says(name, write):
    assert (ROOT / "docs" / name).read_text("utf-8") == write(), "python tests/test_docs.py writes it again"


def test_every_option_in_the_docs_exists():
    known = {
        spelled
        for _, function in commands()
        for name, _, _, info in parameters(function)
        if isinstance(info, OptionInfo)
        for spelled in option_names(name, info)
    }
    for page in PAGES:
        mentioned = set(OPTION.findall(page.read_text("utf-8")))
        assert mentioned - known - NOT_OURS - OF_THE_BENCHMARKS == set(), page.name


def test_every_link_in_the_docs_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


# --------------------------------------------------------------------------- docs/glossary.md

PLAIN = {"--name", "--device", "--format", "--json", "--fresh", "--plot", "--force", "--classes", "--split"}
PLAIN |= {"--dry-run", "--as", "--map", "--only-known", "--on-conflict", "--force-new-class"}


def test_the_glossary_is_in_order():
    page = (ROOT / "docs" / "glossary.md").read_text("utf-8").split("## Papers")[0]
    terms = [term.casefold() for term in re.findall(r"^\*\*([^*]+)\*\*", page, re.M)]
    assert len(terms) > 40 and terms == sorted(set(terms))
    for line in re.split(r"\n\n", page):
        assert not re.search(r"see \*([^*]+)\*", line) or re.search(r"see \*([^*]+)\*", line)[1] in terms, line


def test_the_glossary_numbers_its_papers():
    page, papers = (ROOT / "docs" / "glossary.md").read_text("utf-8").split("## Papers")
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", papers, re.M)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert set(map(int, re.findall(r"\[(\d+)\]", page))) == set(numbers)


def test_the_glossary_explains_the_settings_and_learners():
    page = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    settings = {
        option_names(name, info)[0]
        for command in ("learn", "compare", "evaluate")
        for name, _, _, info in parameters(COMMANDS[command])
        if isinstance(info, OptionInfo) and not option_names(name, info)[0].startswith("--fail")
    }
    assert {option for option in settings - PLAIN if f"`{option}`" not in page and f"{option} " not in page} == set()
    assert {learner for learner in variants.names() if learner not in page.casefold()} == set()


# --------------------------------------------------------------------------- docs/learners.md


def table_rows(text: str) -> dict[str, list[str]]:
    """The cells of each line of a table, by the first."""
    rows = (line.strip("|\n ").split("|") for line in text.splitlines() if line.startswith("| "))
    return {first.strip(): [cell.strip() for cell in cells] for first, *cells in rows}


def test_the_page_of_learners_has_all_of_them_and_the_figures_of_the_benchmarks():
    page, measured = ((ROOT / "docs" / name).read_text("utf-8") for name in ("learners.md", "benchmarks.md"))
    means = table_rows(measured.split("| mean of the three | 1 |")[1].split("\n\n")[0])
    of = {name: [row[0], row[2], row[4]] for name, row in means.items()}
    projection = table_rows(measured)
    of["prolip"] = [projection[f"{shots}: projection"][-1] for shots in (1, 4, 16)]
    shown = table_rows(page)
    called = {"`coop`, the default": "coop-head", "`coop --no-head`": "coop"}
    figures = {called.get(name, name.strip("`")): row[1:4] for name, row in shown.items() if len(row) == 6}
    figures = {name: row for name, row in figures.items() if name in of}
    assert set(figures) == set(of) - {"zero-shot"} and figures == {name: of[name] for name in figures}
    assert f"zero-shot has {of['zero-shot'][0]}" in " ".join(page.split())
    assert {name for name in LEARNERS if f"`{name}`" not in page} == set()


# --------------------------------------------------------------------------- docs/json.md


def shape(kind: Any) -> Any:
    """What JSON a type becomes: the keys of a dataclass with theirs, [what is in a list], or None for a plain value."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(filter(None, map(shape, get_args(kind))), None)
    if get_origin(kind) is tuple:
        return [shape(get_args(kind)[0])]
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return {field.name: shape(hints[field.name]) for field in dataclasses.fields(kind)}
    return None


def differences(found: Any, wanted: Any, where: str) -> list[str]:
    """Where an example is not of a shape: other keys, or a list without an item to show its keys."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict) or list(found) != list(wanted):
            return [f"{where}: {list(found or ())}, not {list(wanted)}"]
        return [line for key in wanted for line in differences(found[key], wanted[key], f"{where}.{key}")]
    if isinstance(wanted, list) and isinstance(wanted[0], dict):
        return [line for item in found or [None] for line in differences(item, wanted[0], f"{where}[]")]
    return []


def json_reports() -> Mapping[str, list[type[report.Report]]]:
    """The classes of reports by the command they are of."""
    found: dict[str, list[type[report.Report]]] = {}
    for name in report.__all__:
        kind = getattr(report, name)
        if issubclass(kind, report.Report) and kind.type != report.Report.type:
            found.setdefault(kind.type, []).append(kind)
    return found


def examples() -> Iterator[tuple[str, dict[str, Any]]]:
    """(heading, example) of every block in json.md."""
    page = (ROOT / "docs" / "json.md").read_text("utf-8")
    for section in re.split(r"^## ", page, flags=re.M)[1:]:
        for block in re.findall(r"^```json\n(.*?)^```", section, re.M | re.S):
            yield section.splitlines()[0], json.loads(block)


def test_json_md_shows_every_key_of_every_report():
    wanted = {
        kind: [
            {"schema_version": None, "type": None, **shape(one)} for one in those if one.record is report.Report.record
        ]
        for kind, those in json_reports().items()
    }
    shown: dict[str, list[dict[str, Any]]] = {}
    for heading, example in examples():
        assert (example["schema_version"], example["type"]) == (SCHEMA_VERSION, heading)
        shown.setdefault(heading, []).append(example)
    assert list(shown) == [
        name for name in (title.removeprefix("promptctl ") for title, _ in commands()) if name != "demo"
    ]
    for kind, shapes in wanted.items():
        assert len(shown[kind]) == len(json_reports()[kind]), f"docs/json.md, {kind}: an example of every report"
        for one in shapes:
            closest = min((differences(example, one, kind) for example in shown[kind]), key=len)
            assert closest == [], f"docs/json.md has no example with the keys {list(one)}"


def test_json_md_shows_what_classify_prints(cli, photos, tiny):
    assert cli("learn", photos, "--name", "colours", "--shots", 2, "--epochs", 1, "--model", tiny).code == 0
    (photos / "red" / "broken.jpg").write_bytes(b"no image")
    done = cli("classify", photos / "red", "--prompt", "colours", "--json")
    example = next(example for heading, example in examples() if heading == "classify")
    assert (done.code, keys_of(json.loads(done.out))) == (3, keys_of(example))


def keys_of(value: Any) -> Any:
    """The keys in what JSON holds, of the first of every list; what is counted by name has none of its own."""
    if isinstance(value, list):
        return keys_of(value[0]) if value else None
    return (
        {key: keys_of(item) for key, item in value.items() if key != "passed_over"} if isinstance(value, dict) else None
    )


# --------------------------------------------------------------------------- README


def test_the_readme_has_two_commands_for_a_fresh_machine():
    text = (ROOT / "README.md").read_text("utf-8")
    first, second = re.findall(r"^python3 -m venv .*$", text, re.M)
    assert first.endswith(" && .venv/bin/promptctl demo")
    assert second.endswith(" && .venv/bin/pytest")


def draw_birds(home: Path) -> None:
    """Folders as README has them: patterns, called like its five birds, and files like its own."""
    from promptctl.demo import PATTERNS, draw_pictures

    draw_pictures(home)
    for number, (pattern, bird) in enumerate(zip_longest(PATTERNS, BIRDS), start=1):
        for part in ("photos", "test"):
            shutil.move(home / part / pattern, home / part / bird) if bird else shutil.rmtree(home / part / pattern)
        folder = "" if number < 3 else "holiday"
        (home / "unsorted" / folder).mkdir(exist_ok=True)
        shutil.move(home / "unsorted" / f"{number}.png", home / "unsorted" / folder / f"IMG_{number:04}.jpg")
    shutil.copytree(home / "test", home / "more-photos")
    odd = next((home / "test" / BIRDS[0]).iterdir())
    shutil.move(odd, home / "test" / BIRDS[1] / "odd.png")  # so that there is a mistake
    for known in (home / "photos" / BIRDS[0]).iterdir():
        shutil.copy(known, home / "more-photos" / BIRDS[0] / f"known {known.name}")


@pytest.mark.timeout(900)  # a minute on a quiet machine
def test_the_readmes_walk_works_and_prints_what_is_shown(cli, tmp_path, monkeypatch, home):
    draw_birds(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    page = ROOT / "README.md"
    walk = [re.fullmatch(r"\$ (.*?)\n(.*)", block, re.S).groups() for block in blocks(page, "console")]
    have = [line for block in blocks(page, "") for line in block.splitlines() if line.startswith("promptctl ")]
    assert [line.split()[1] for line, _ in walk] == ["learn", "evaluate", "inspect", "classify", "compare", "learn"]
    for line, shown in walk:
        quick = ["--epochs", 5] if line.startswith("promptctl compare") else []  # half a minute less
        outcome = cli(*shlex.split(line)[1:], *quick)
        assert (outcome.code, "error" in outcome.err) == (0, False), f"{line}\n{outcome.err}"
        printed = (outcome.err + outcome.out).split("\nvector")[0]  # which words are nearest is by chance
        others = other_words(shown.split("\nvector")[0], printed, home, BIRDS)
        assert others == set(), (line, sorted(others))
    offline = {"promptctl models pull ViT-B-16/openai": 13}
    have = [line.replace("remove birds ", "remove birds --yes ") for line in have]
    for line in have:
        if "--model" not in line:
            outcome = cli(*shlex.split(line, comments=True)[1:])
            assert outcome.code == offline.get(line, 0), f"{line}\n{outcome.err}"


# --------------------------------------------------------------------------- docs/format.md


def test_the_page_of_python_in_format_md_reads_a_context(cli, photos, tiny, tmp_path):
    assert cli("learn", photos, "--name", "colours", "--shots", 2, "--epochs", 30, "--model", tiny).code == 0
    (page,) = blocks(ROOT / "docs" / "format.md", "python")
    script = tmp_path / "read.py"
    script.write_text(page, "utf-8")
    context = Store().find(Ref("colours")).path
    read = [sys.executable, "-I", str(script), str(context)]
    said = subprocess.run(read, capture_output=True, text=True, check=True).stdout
    assert said.startswith("blue, green, red on local-dir:")
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(page, namespace)
    card, tensors = namespace["read_context"](context)
    ours = Store().find(Ref("colours")).card
    assert ours and card["sha256"] == ours.sha256
    assert tensors["shot_features"].shape == (6, 32)
    damaged = bytearray(context.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(damaged)
    with pytest.raises(ValueError, match="has been changed or damaged"):
        namespace["read_context"](tmp_path / "damaged.safetensors")


# --------------------------------------------------------------------------- docs/python.md


@pytest.mark.timeout(900)  # a minute on a quiet machine
def test_the_snippets_of_python_md_run_in_their_order(tmp_path, monkeypatch, capsys, colours_bytes):
    import promptctl
    from promptctl.demo import draw_pictures

    draw_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    Image.open("unsorted/1.png").save("photo.jpg", quality=95)
    Path("unsorted/notes.txt").write_text("a note", "utf-8")
    shutil.copytree("test", "more-photos")
    page: dict[str, Any] = {}
    for block in blocks(ROOT / "docs" / "python.md", "python"):
        if "onnx" not in block:
            block = block.replace("shots=4)", "shots=4, epochs=20)")  # a fifth of the time
            exec(block.replace("max_forgetting=0.02)", "max_forgetting=0.02, epochs=5)"), page)
        elif all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")):
            with monkeypatch.context() as patch:  # mini's tower would take ten seconds to translate, the tiny one two
                patch.setenv("PROMPTCTL_HOME", str(tmp_path / "of onnx"))
                Store().save("birds", colours_bytes, new=True)
                exec(block, page)
                expected = promptctl.load("birds").classify(page["picture"]).probabilities
            np.testing.assert_allclose(page["onnx_probabilities"], expected[None], atol=0.02)
    said = capsys.readouterr().out
    answer, birds = page["answer"], page["birds"]
    assert "unsorted/notes.txt was skipped: " in said and "no context named 'brids' | did you mean 'birds'?" in said
    assert [item.label for item in page["answers"]] == [answer.label] * 3
    assert birds.predict(page["features"]).tolist() == page["labels"].tolist()
    assert page["plan"].new == 24 and not page["plan"].added
    versions = promptctl.log("birds").versions
    assert [row.version for row in versions] == [7, 6, 5, 4, 3, 2, 1] and versions[0].change == "@1 restored"
    assert birds.evaluate("test").learned.top1 == (page["labels"] == page["truth"]).mean()
    assert page["probe"].classes_.tolist() == birds.classes_.tolist() == list(birds.classes)
    own = birds.predict_proba(birds.encode(page["picture"]))
    np.testing.assert_allclose(page["logits"].softmax(-1).numpy(), own, atol=1e-4)


def test_python_md_names_everything_public():
    import promptctl

    text = (ROOT / "docs" / "python.md").read_text("utf-8")
    table = text[text.index("## All of it") :]
    for name in promptctl.__all__:
        if name != "__version__":
            assert re.search(rf"`{name}[`(]", table), name
    own = [name for name in vars(promptctl.ImageClassifier) if not name.startswith("_")]
    for name in own:
        assert f"`{name}`" in table, name


if __name__ == "__main__":
    (ROOT / "docs" / "cli.md").write_text(cli_page(), "utf-8")
    (ROOT / "docs" / "promptctl.1").write_text(man_page(), "utf-8")

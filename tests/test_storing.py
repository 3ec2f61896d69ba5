"""The store's verbs as people type them."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import paint
from test_cli import refused
from test_context import make

import promptctl
from promptctl.context.context import Context
from promptctl.errors import StorageFailed
from promptctl.store.refs import Ref
from promptctl.store.store import Store


@pytest.fixture(autouse=True)
def on_tiny(monkeypatch, tiny):
    monkeypatch.setenv("PROMPTCTL_MODEL", tiny)


@pytest.fixture(scope="module")
def versions(tiny_folder, tmp_path_factory) -> tuple[bytes, bytes]:
    """A context of three shots of three classes, and one of two shots of two, one of them called otherwise."""
    folder = tmp_path_factory.mktemp("versions")
    store, settings = promptctl.Store(folder / "store"), promptctl.LearnSettings(epochs=20, lr=0.02)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTCTL_HOME", str(folder / "home"))
        photos, by = paint(folder / "photos", images=6), {"store": store, "model": f"local-dir:{tiny_folder}"}
        promptctl.learn(photos, "colours", shots=3, settings=settings, **by)
        shutil.rmtree(photos / "green")
        (folder / "names.csv").write_text("red,crimson\n")
        promptctl.learn(photos, "colours", shots=2, settings=settings, classes=folder / "names.csv", fresh=True, **by)
    return store["colours@1"].to_bytes(), store["colours@2"].to_bytes()


@pytest.fixture
def learned(versions):
    """They are colours@1 and colours@2."""
    for data in versions:
        Store().save("colours", data, new=False)


def stored(ref: str) -> Context:
    return Context.load(Store().find(Ref.parse(ref)).path)


def classified(cli, photos, prompt) -> list[tuple[str, str, float]]:
    images = json.loads(cli("classify", photos, "--prompt", prompt, "--json").out)["images"]
    return [(image["path"], image["top"][0]["label"], round(image["top"][0]["probability"], 5)) for image in images]


# --------------------------------------------------------------------------- log and diff


def test_log_tells_what_each_version_changed(cli, learned):
    assert cli("restore", "colours@1").code == 0
    rows = json.loads(cli("log", "colours", "--json").out)["versions"]
    assert [(row["version"], row["change"]) for row in rows] == [
        (3, "@1 restored"),
        (2, "-1 class (green), red is now 'crimson', shots 3 → 2"),
        (1, "learned"),
    ]
    assert rows[0]["sha256"] == rows[2]["sha256"] == stored("colours@1").card.sha256
    assert [(row["classes"], row["shots"]) for row in rows] == [(3, "3"), (2, "2"), (3, "3")]
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    shown = cli("log", "colours").out.splitlines()
    assert shown[0].split("\t")[:3] == ["version", "when", "change"]
    assert [line.split("\t")[0] for line in shown[1:4]] == ["colours@3", "colours@2", "colours@1"]


def test_log_names_a_parent_by_its_number(cli, home):
    store, first = Store(home), make()
    entry = store.save("birds", first.to_bytes(), new=True)
    child = dataclasses.replace(first.card, parent=entry.card.sha256)
    store.save("birds", dataclasses.replace(first, card=child).to_bytes(), new=False)
    stranger = dataclasses.replace(first.card, parent="e" * 64)
    store.save("birds", dataclasses.replace(first, card=stranger).to_bytes(), new=False)
    rows = json.loads(cli("log", "birds", "--json").out)["versions"]
    assert [row["parent"] for row in rows] == ["e" * 12, "@1", None]


def test_log_shows_a_damaged_version_beside_the_others(cli, learned):
    Store().find(Ref("colours", 1)).path.write_bytes(b"nonsense")
    done = cli("log", "colours")
    assert done.code == 0
    assert "colours@1\t" in done.out
    assert "damaged" in done.out
    assert "1.safetensors is not an intact context" in done.err


def test_diff_measures_both_on_their_shots(cli, learned):
    report = json.loads(cli("diff", "colours@1", "colours", "--json").out)
    old, new = stored("colours@1"), stored("colours@2")
    assert (report["added"], report["removed"], report["renamed"]) == ([], ["green"], [["red", "red", "crimson"]])
    assert [row["setting"] for row in report["settings"]] == ["shots"]
    rows = {row["label"]: row for row in report["classes"]}
    assert set(rows) == {"blue", "green", "red"}
    assert (rows["green"]["after"], rows["green"]["cosine"]) == (None, None)
    blue = {"old": old.card.labels.index("blue"), "new": new.card.labels.index("blue")}
    wanted = old.text_features[blue["old"]] @ new.text_features[blue["new"]]
    assert rows["blue"]["cosine"] == pytest.approx(float(wanted), abs=1e-6)
    images = {}
    for context in (old, new):
        for row, id, sha in zip(context.shots.features, context.shots.class_ids, context.shots.sha256, strict=True):
            images[context.card.labels[id], sha.tobytes()] = row.astype(np.float32)
    for name, context in (("before", old), ("after", new)):
        for label in context.card.labels:
            mine = [row for (other, _), row in images.items() if other == label]
            head, scale = context.head, context.card.logit_scale
            answers = [int((scale * row @ head.weight.T + head.bias).argmax()) for row in mine]
            right = [context.card.labels[answer] == label for answer in answers]
            assert (rows[label]["images"], rows[label][name]) == (len(mine), pytest.approx(np.mean(right)))
    moved = [row["distance"] for row in report["vectors"]]
    np.testing.assert_allclose(moved, np.linalg.norm(old.vectors - new.vectors, axis=1), rtol=1e-5)
    cosines = [
        float(u @ v / np.linalg.norm(u) / np.linalg.norm(v)) for u, v in zip(old.vectors, new.vectors, strict=True)
    ]
    np.testing.assert_allclose([row["cosine"] for row in report["vectors"]], cosines, atol=1e-5)


def test_diff_of_a_context_with_itself_and_of_other_backbones(cli, learned, tmp_path):
    same = json.loads(cli("diff", "colours", "colours", "--json").out)
    assert same["settings"] == []
    assert [row["cosine"] for row in same["classes"]] == pytest.approx([1, 1], abs=1e-5)
    assert {row["distance"] for row in same["vectors"]} == {0.0}
    (tmp_path / "other.safetensors").write_bytes(make().to_bytes())
    done = cli("diff", "colours", tmp_path / "other.safetensors")
    assert done.code == 0
    assert "learned on different backbones" in done.err
    assert "model\t" in done.out


# --------------------------------------------------------------------------- moving about


def test_copy_keeps_every_version_and_its_time(cli, learned):
    os.utime(Store().find(Ref("colours", 1)).path, ns=(10**18, 10**18))
    done = cli("copy", "colours", "paints")
    assert done.out == "'colours' and all its versions are now 'paints' as well\n"
    for version in (1, 2):
        a, b = (Store().find(Ref(name, version)).path for name in ("colours", "paints"))
        assert a.read_bytes() == b.read_bytes()
        assert a.stat().st_mtime_ns == b.stat().st_mtime_ns
    assert cli("copy", "colours@2", "second").code == 0
    assert stored("second@1").card == stored("colours@2").card
    assert [e.ref.version for e in Store().versions("second")] == [1]
    refused(cli("copy", "colours", "PAINTS"), 1, "a context named 'PAINTS' already exists", "choose another name")
    refused(cli("copy", "nothing", "x"), 10, "no context named 'nothing'", "promptctl list")


def test_rename_and_back(cli, learned):
    assert cli("rename", "colours", "Colours").out == "'colours' is now 'Colours'\n"
    assert Store().names() == ("Colours",)
    done = cli("rename", "Colours", "paints")
    assert done.err == "next: promptctl rename paints Colours   (to undo)\n"
    assert [entry.ref.version for entry in Store().versions("paints")] == [1, 2]
    refused(cli("rename", "paints", "paints"), 1, "a context named 'paints' already exists", "choose another name")


def test_an_old_version_goes_and_comes_back(cli, learned):
    refused(
        cli("remove", "colours@2", "--yes"),
        1,
        "colours@2 is the newest version",
        "promptctl restore colours@1   (an older one becomes the newest)",
    )
    done = cli("remove", "colours@1", "--yes")
    assert done.out.startswith("colours@1 is in the trash: ")
    assert done.err == "next: promptctl restore colours@1   (to undo)\n"
    refused(cli("show", "colours@1"), 10, "'colours' has no version 1, the newest is 2", "promptctl restore colours@1")
    assert cli("restore", "colours@1").code == 0
    assert cli("restore", "colours@1").out.startswith("colours@3 is colours@1 again: ")
    assert stored("colours@3").card == stored("colours@1").card
    refused(cli("restore", "colours@7"), 10, "'colours' has no version 7, the newest is 3", "promptctl log colours")


def test_the_trash_is_listed_and_emptied_only_when_told(cli, learned, home):
    cli("remove", "colours", "--yes")
    (row,) = json.loads(cli("list", "--trash", "--json").out)["removed"]
    assert (row["name"], row["versions"]) == ("colours", [1, 2])
    assert cli("list", "--trash", "-q").out == "colours\n"
    assert cli("gc").out.startswith("nothing to clean up in ")
    assert "removed 2" in cli("gc", "--days", 0, "--dry-run").out
    refused(
        cli("gc", "--days", 0),
        1,
        "emptying the trash asks first, and there is no terminal to ask on",
        "promptctl gc --days 0 --yes",
    )
    assert cli("restore", "colours").code == 0
    cli("remove", "colours", "--yes")
    assert cli("gc", "--days", 0, "--yes").code == 0
    assert not list(home.rglob("*.safetensors"))
    assert "nothing is in the trash" in cli("list", "--trash").err


def test_gc_takes_what_a_killed_program_left(cli, learned, home):
    (home / "contexts" / "colours" / ".0123456789abcdef.part").write_bytes(b"x" * 100)
    (home / "contexts" / "new").mkdir()
    (home / "contexts" / "colours" / "my notes.txt").write_text("mine")
    done = json.loads(cli("gc", "--json").out)
    assert sorted(what for _, what, _ in done["gone"]) == ["empty folder", "unfinished"]
    assert not (home / "contexts" / "new").exists()
    assert (home / "contexts" / "colours" / "my notes.txt").exists()


# --------------------------------------------------------------------------- files


def test_a_context_file_alone_is_enough(cli, learned, photos, tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    assert cli("export", "colours", path).code == 0
    assert path.read_bytes() == Store().find(Ref("colours")).path.read_bytes()
    here = classified(cli, photos, "colours")
    monkeypatch.setenv("PROMPTCTL_HOME", str(tmp_path / "elsewhere"))
    assert classified(cli, photos, path) == here
    assert cli("inspect", path).code == 0
    assert json.loads(cli("evaluate", path, photos, "--json").out)["context"] == str(path)
    monkeypatch.chdir(tmp_path)
    assert cli("show", "./c.safetensors").out.startswith("./c.safetensors: 2 classes: blue, crimson")
    assert cli("import", "c.safetensors").out.startswith("c@1 holds 2 classes from c.safetensors: blue, red")
    assert stored("c").card == Context.load(path).card
    refused(cli("import", "c.safetensors"), 1, "a context named 'c' already exists", "choose another --name")
    refused(cli("show", "./nothing.safetensors"), 10, "there is no context file nothing.safetensors", "ls .")
    (tmp_path / "my birds.safetensors").write_bytes(path.read_bytes())
    refused(
        cli("import", "my birds.safetensors"),
        1,
        "'my birds' is not a context name: only letters, digits, '-' and '_' may be in it, a letter or digit first",
        "--name my-birds",
    )
    refused(
        cli("import", "c.safetensors", "--name", "d", "--position", "front"),
        1,
        "c.safetensors is a context file and already contains what --position would",
        "leave out --position",
    )


def test_a_file_without_shots_says_the_same_and_carries_none(cli, learned, photos, tmp_path):
    path = tmp_path / "c.safetensors"
    done = cli("export", "colours", path, "--without-shots")
    assert "without the features of any image" in done.out
    context = Context.load(path)
    assert len(context.shots) == 0
    np.testing.assert_array_equal(context.text_features, stored("colours").text_features)
    assert classified(cli, photos, path) == classified(cli, photos, "colours")
    assert "shots:     2 per class: 4 images learned from, 0 held out" in cli("show", path).out
    refused(
        cli("evaluate", path, photos, "--blend", "auto"),
        1,
        f"'{path}' has no shots, and choosing a blend takes two per class",
        "--blend 0.5, or any other share from 0 to 1",
    )


# --------------------------------------------------------------------------- looking after it


def test_check_finds_a_flipped_bit_and_another_backbone(cli, learned, home):
    assert cli("check").code == 0
    (row,) = json.loads(cli("check", "--json").out)["contexts"]
    assert (row["context"], row["fault"], row["backbone_state"]) == ("colours@2", None, "same")
    assert len(json.loads(cli("check", "colours", "--json").out)["contexts"]) == 2
    path = Store().find(Ref("colours", 1)).path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert cli("check").code == 0, "the newest is sound"
    done = cli("check", "--all")
    assert done.code == 12
    assert "colours@1\tdamaged" in done.out
    assert f"warning: {path} is not an intact context: its checksum does not match its contents" in done.err
    assert done.err.endswith("error: the check failed for colours@1\n")
    Store(home).save("foreign", make().to_bytes(), new=True)
    done = cli("check", "foreign")
    assert done.code == 12
    assert "other weights" in done.out


def test_check_says_where_a_backbone_is_not_here(cli, home):
    context = make()
    backbone = dataclasses.replace(context.card.backbone, name="ViT-B-16/openai")
    card = dataclasses.replace(context.card, backbone=backbone)
    Store(home).save("far", dataclasses.replace(context, card=card).to_bytes(), new=True)
    done = cli("check", "far")
    assert done.code == 0
    assert "not here" in done.out


def test_list_sorts(cli, home):
    for number, (name, classes, accuracy) in enumerate((("b", 3, 0.5), ("a", 5, 0.7), ("c", 4, None))):
        context = make(classes)
        score = context.card.score and dataclasses.replace(context.card.score, accuracy=accuracy)
        card = dataclasses.replace(context.card, score=score if accuracy else None)
        entry = Store(home).save(name, dataclasses.replace(context, card=card).to_bytes(), new=True)
        os.utime(entry.path, ns=(number * 10**12, number * 10**12))
    orders = {"name": "abc", "classes": "acb", "accuracy": "abc", "changed": "cab", "size": "acb"}
    for sort, order in orders.items():
        assert cli("list", "-q", "--sort", sort).out.split() == list(order), sort
    assert cli("list", "--sort", "colour").code == 2
    assert cli("list", "B", "-q").out == "b\n", "names are compared whatever their case"


def test_path(cli, learned, home):
    assert cli("path").out == f"{home}\n"
    assert cli("path", "colours@1").out == f"{home / 'contexts' / 'colours' / '1.safetensors'}\n"
    assert json.loads(cli("path", "--json").out)["path"] == str(home)


def test_removing_asks_on_a_terminal_and_says_what_goes(learned):
    pty = pytest.importorskip("pty")
    for answer, kept in ((b"n\n", True), (b"y\n", False)):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [sys.executable, "-m", "promptctl", "remove", "colours"])
        said = b""
        while b"[y/N]" not in said:
            said += os.read(terminal, 1000)
        os.write(terminal, answer)
        deadline = time.monotonic() + 20
        while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.close(terminal)
        assert re.search(r"Move 'colours' \(2 versions, \d+ KB\) to the trash\?", said.decode())
        assert Store().has("colours") == kept


def test_the_shell_completes_names_and_versions(learned):
    def offered(words: str) -> set[str]:
        environment = {**os.environ, "_PROMPTCTL_COMPLETE": "complete_bash", "COMP_WORDS": words}
        environment["COMP_CWORD"] = str(len(words.split()) - (not words.endswith(" ")))
        script = "import sys; sys.argv[0] = 'promptctl'; from promptctl.cli.app import app; app(prog_name='promptctl')"
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        return set(done.stdout.split())

    assert offered("promptctl show co") == {"colours"}
    assert offered("promptctl show colours@") == {"colours@1", "colours@2"}


def test_none_of_it_loads_torch(learned, tmp_path):
    commands = [
        ["list", "--sort", "size"],
        ["log", "colours"],
        ["copy", "colours", "x"],
        ["rename", "x", "y"],
        ["remove", "y", "--yes"],
        ["restore", "y"],
        ["gc"],
        ["path"],
        ["diff", "colours@1", "colours"],
        ["export", "colours", str(tmp_path / "c.safetensors")],
        ["import", str(tmp_path / "c.safetensors")],
    ]
    script = (
        "import json, sys\nfrom promptctl.cli.main import main\n"
        "for command in json.loads(sys.argv[1]):\n"
        "    sys.argv = ['promptctl', *command]\n"
        "    try: main()\n"
        "    except SystemExit as stop: assert not stop.code, command\n"
        "    assert 'torch' not in sys.modules and 'open_clip' not in sys.modules, command"
    )
    done = subprocess.run([sys.executable, "-c", script, json.dumps(commands)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --------------------------------------------------------------------------- what is not ours, and what is broken


def test_gc_leaves_alone_what_is_somebodys_own(cli, home, tmp_path):
    Store(home).save("birds", make().to_bytes(), new=True)
    (tmp_path / "elsewhere").mkdir()
    own = [
        home / "contexts" / "birds" / ".holiday.mov.part",
        home / "contexts" / ".mine.part" / "precious.txt",
        home / "contexts" / "not a name" / "x",
        home / "trash" / "keep" / "x",
        tmp_path / "elsewhere" / ".0123456789abcdef.part",
    ]
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (home / "contexts" / "link").symlink_to(tmp_path / "elsewhere")
    (home / "trash" / "empty of mine").mkdir()
    assert cli("gc", "--days", 0, "--yes").out.startswith("nothing to clean up in ")
    assert all(path.exists() for path in own)
    assert (home / "trash" / "empty of mine").exists()
    assert cli("list", "-q").out == "birds\n"


def test_no_export_writes_into_the_store(cli, home):
    path = Store(home).save("birds", make().to_bytes(), new=True).path
    before = path.read_bytes()
    for out in (path, path.with_name("9.safetensors")):
        refused(
            cli("export", "birds", out, "--force", "--without-shots"),
            1,
            f"{out} cannot be written: it is inside the store",
            "name a file elsewhere, or promptctl copy",
        )
    assert path.read_bytes() == before
    assert Store(home).numbers("birds") == (1,)


def test_one_bad_version_stops_no_verb(cli, home):
    store = Store(home)
    good = [store.save("birds", make().to_bytes(), new=False).path for _ in range(3)]
    os.mkfifo(good[0].with_name("4.safetensors"))
    good[0].with_name("5.safetensors").symlink_to("nowhere")
    (home / "contexts" / "loop").symlink_to("loop")
    (home / "contexts" / "e\x1b[31mvil").mkdir()
    (home / "contexts" / "e\x1b[31mvil" / "1.safetensors").write_bytes(make().to_bytes())
    good[1].write_bytes(b"")
    for command in (("list",), ("show", "birds@1"), ("log", "birds"), ("gc",), ("list", "-q")):
        done = cli(*command)
        assert done.code == 0, done.err
        assert "\x1b" not in done.out
    assert cli("check", "birds").code == 12


def test_a_folder_that_cannot_be_read_is_listed_as_such(cli, home, monkeypatch):
    for name in ("birds", "fish"):
        Store(home).save(name, make().to_bytes(), new=True)
    original = os.scandir

    def closed(path):
        if str(path).endswith("birds"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", closed)
    done = cli("list")
    assert done.code == 0
    assert "fish@1\t" in done.out
    assert done.err == f"warning: {home / 'contexts' / 'birds'} cannot be read: permission denied\n"
    assert cli("check").code == 12
    done = cli("show", "birds")
    assert (done.code, done.err) == (1, f"error: {home / 'contexts' / 'birds'}: permission denied\n")


@pytest.mark.parametrize("part", ["contexts/birds", "trash/fish", "trash"])
def test_what_cannot_be_read_is_named_and_the_rest_is_checked(cli, home, monkeypatch, part):
    store = Store(home)
    for name in ("birds", "fish", "plants"):
        store.save(name, make().to_bytes(), new=True)
    store.remove(Ref("fish"))
    original = os.scandir

    def closed(path):
        if str(path).startswith(str(home / part)) and (part != "trash" or str(path) == str(home / part)):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", closed)
    done = cli("check", "--all", "--json")
    assert done.code == 12
    fault_of = {row["context"]: row["fault"] for row in json.loads(done.out)["contexts"]}
    shut = {"contexts/birds": "birds", "trash/fish": "fish in the trash", "trash": "the trash"}[part]
    assert "permission denied" in fault_of.pop(shut)
    assert set(fault_of.values()) == {None}
    assert "plants@1" in fault_of
    for command in (("list",), ("log", "plants"), ("show", "plants")):
        assert cli(*command).code == 0
    if part != "trash":
        assert cli("list", "--trash").code == 0
        assert cli("gc", "--days", 0, "--yes").code == 0


def test_a_store_nobody_may_look_into_is_not_called_empty(cli, home, monkeypatch):
    Store(home).save("birds", make().to_bytes(), new=True)
    original = os.stat

    def closed(path, *arguments, **options):
        if str(path).startswith(str(home / "contexts") + "/"):  # as in a folder that may be read and not entered
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", closed)
    done = cli("list")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: cannot read the store: {home / 'contexts' / 'birds'}: permission denied")


def test_without_a_home_one_sentence_names_the_variable(cli, monkeypatch):
    import pwd

    def nobody(_):
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for variable in ("HOME", "PROMPTCTL_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for command in (("list",), ("check",), ("gc",), ("path",), ("cache", "info"), ("remove", "x", "--yes")):
        done = cli(*command)
        assert (done.code, done.out) == (1, "")
        assert done.err.splitlines() == [
            "error: no home folder is known to keep contexts in: "
            "HOME is not set, and the system does not know this user",
            "hint:  export PROMPTCTL_HOME=/a/folder",
        ]
    assert cli("--version").code == 0


def test_without_a_home_libraries_keep_their_files_in_ours(cli, home, monkeypatch):
    import pwd

    def nobody(_):
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setenv("HOME", "/")  # given back afterwards
    monkeypatch.delenv("HOME")
    assert cli("list").code == 0
    assert os.environ["HOME"] == str(home)


def test_a_home_is_one_place_from_everywhere(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROMPTCTL_HOME", "mine")
    assert cli("path").out == f"{tmp_path / 'mine'}\n"
    monkeypatch.setenv("PROMPTCTL_HOME", "~no-such-user/mine")
    done = cli("list")
    assert done.code == 1
    assert done.err.startswith("error: PROMPTCTL_HOME is '~no-such-user/mine', the path of a folder was expected")


@pytest.mark.timeout(60)
def test_a_pipe_in_the_trash_stops_no_check(cli, home):
    removed = Store(home)
    removed.save("birds", make().to_bytes(), new=True)
    place = removed.remove(Ref("birds")).path
    os.mkfifo(place / "2.safetensors")
    (row,) = json.loads(cli("check", "--all", "--json").out)["contexts"]
    assert (row["context"], row["fault"]) == ("birds@1 in the trash", None)


def test_a_damaged_version_does_not_become_the_newest(cli, home):
    store = Store(home)
    path = store.save("birds", make().to_bytes(), new=True).path
    store.save("birds", make().to_bytes(), new=False)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert cli("restore", "birds@1").code == 12
    assert store.numbers("birds") == (1, 2)


def test_two_lives_of_a_name_are_kept_apart(cli, home):
    store = Store(home)
    for _ in range(3):
        store.save("birds", make().to_bytes(), new=False)
    store.remove(Ref("birds"))
    store.save("birds", make().to_bytes(), new=True)
    for ref in ("birds", "birds@3"):
        refused(
            cli("restore", ref),
            1,
            "a context named 'birds' already exists",
            "promptctl rename birds ANOTHER-NAME   (then restore it)",
        )


def test_twins_in_case_from_another_file_system(cli, home):
    store = Store(home)
    store.save("birds", make().to_bytes(), new=True)
    store.save("birds", make().to_bytes(), new=False)
    try:
        (home / "contexts" / "Birds").mkdir()
    except FileExistsError:
        pytest.skip("one name here")
    (home / "contexts" / "BIRDS").mkdir()
    (home / "contexts" / "Birds" / "1.safetensors").write_bytes(make().to_bytes())
    assert [row["name"] for row in json.loads(cli("list", "--json").out)["contexts"]] == ["Birds", "birds"]
    assert store.find(Ref("birds")).ref == Ref("birds", 2)
    assert store.find(Ref("Birds")).ref == Ref("Birds", 1)


def test_a_clock_that_goes_back_changes_no_order(home, monkeypatch):
    from datetime import datetime, timezone

    from promptctl.store import store as room

    class Past(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2001, 1, 1, tzinfo=tz or timezone.utc)

    store = Store(home)
    store.save("birds", make().to_bytes(), new=True)
    store.remove(Ref("birds"))
    store.save("birds", make(4).to_bytes(), new=True)
    monkeypatch.setattr(room, "datetime", Past)
    store.remove(Ref("birds"))
    assert len(store.restore(Ref("birds")).card.classes) == 4


def test_what_was_learned_is_kept_when_the_store_does_not_take_it(cli, photos, tmp_path, monkeypatch):
    def full(*_, **__):
        raise StorageFailed(OSError(28, "No space left on device"), "store the context", tmp_path)

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "save", full)
        done = cli("learn", photos, "--name", "colours", "--shots", 2, "--epochs", 1)
    assert done.code == 1
    (file,) = tmp_path.glob("colours-*.safetensors")
    assert done.err.splitlines()[-2:] == [
        f"error: cannot store the context: {tmp_path}: no space left on device; what was learned is in {file}",
        f"hint:  promptctl import {file} --name colours",
    ]
    assert cli("import", file, "--name", "colours").code == 0


def test_a_disk_that_cannot_confirm_says_that_it_is_done(cli, home, monkeypatch):
    from promptctl.store import files

    Store(home).save("birds", make().to_bytes(), new=True)

    def broken(folder):
        if folder.name == "contexts":
            raise OSError(5, "Input/output error", str(folder))

    monkeypatch.setattr(files, "fsync_folder", broken)
    done = cli("rename", "birds", "finches")
    assert done.code == 1
    assert done.err.startswith(f"error: done, but it may not survive a power cut: {home / 'contexts'}: input/output")
    assert Store(home).names() == ("finches",)


def test_a_journal_that_cannot_be_confirmed_is_the_end_before_anything_is_done(cli, home, monkeypatch):
    from promptctl.store import files

    Store(home).save("birds", make().to_bytes(), new=True)

    def broken(folder):
        if folder.name == "journal":
            raise OSError(5, "Input/output error", str(folder))

    monkeypatch.setattr(files, "fsync_folder", broken)
    done = cli("rename", "birds", "finches")
    assert (done.code, done.err.partition(":")[0]) == (1, "error") and "cannot write the journal" in done.err
    assert Store(home).names() == ("birds",)


def test_hints_that_work_when_typed(cli, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Store(home).save("birds", make().to_bytes(), new=True)
    for name in ("out2", "birds.ctx", "my birds (1).safetensors"):
        (tmp_path / name).write_bytes(make().to_bytes())
    refused(cli("show", "out2"), 10, "no context named 'out2'", "did you mean the file ./out2?")
    assert cli("show", "birds.ctx").err.endswith("hint:  did you mean the file ./birds.ctx?\n")
    assert cli("import", "my birds (1).safetensors").err.endswith("hint:  --name my-birds-1\n")
    refused(cli("restore", "nosuch"), 10, "no removed context named 'nosuch'", "promptctl list --trash")
    assert cli("log", "birds@1").err.startswith("error: 'birds@1' is not a context name: log takes a name with all")
    assert cli("rename", "BIRDS", "eagles").out == "'birds' is now 'eagles'\n"
    assert cli("show", "birds@" + "9" * 5000).code == 1
    assert cli("gc", "--days", "1e10").code == 2
    assert cli("list", "-q", "--json").out.startswith("{")
    monkeypatch.setenv("PROMPTCTL_HOME", str(tmp_path / "out2"))
    assert cli("list").code == 1
    monkeypatch.setenv("PROMPTCTL_HOME", "~nobody-of-that-name/x")
    assert cli("list").code == 1

"""Contexts go to a hub and come back: the real client against a hub on this machine, and what it must refuse."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hub import Hub, Refused
from huggingface_hub import ModelCard, constants
from shown import other_words
from test_context import make

import promptctl
from promptctl.context import limits
from promptctl.context.card import Change, ClassEntry, HeadPart, Relabelled
from promptctl.context.context import Context
from promptctl.hub import model_card
from promptctl.hub.outgoing import FILE, Outgoing
from promptctl.store.refs import Ref
from promptctl.store.store import Store

REPO = "you/birds-context"
ROOT = Path(promptctl.__file__).parents[1]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub where `secret` is the token of `you`, in place of the one on the network."""
    for variable in ("HF_HUB_OFFLINE", "HF_TOKEN_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_TOKEN", "secret")
    with Hub.running() as running:
        running.tokens["secret"] = "you"
        # what the library makes of HF_ENDPOINT and HF_HOME when it is imported
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        pages = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", pages)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_URL_HOSTS", frozenset({"127.0.0.1"}), raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
        monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "hf" / "harnesses"), raising=False)
        yield running


@pytest.fixture
def birds(home):
    """A context in the store."""
    Store().save("birds", make().to_bytes(), new=True)
    return make()


def files(hub, revision="main"):
    return hub.repositories[REPO].files(revision)


def shared(hub, context=None):
    """A repository with a context that somebody shared."""
    data = Outgoing.of(context or make(), shots=False).data
    repository = hub.repository(REPO)
    repository.add({FILE: data}, "Upload")
    return repository


# --------------------------------------------------------------------------- there and back


def test_a_context_goes_to_a_hub_and_comes_back_without_its_shots(hub, cli, colours_bytes, photos, tiny, tiny_folder):
    Store().save("colours", colours_bytes, new=True)
    pushed = cli("push", "colours", REPO, "--yes")
    assert pushed.code == 0, pushed.err
    assert "\nuploading context.safetensors (" in pushed.err
    assert "without shots) and README.md to you/birds-context, a new private repository" in pushed.out
    pulled = cli("pull", REPO, "--name", "again")
    assert pulled.code == 0, pulled.err
    assert "again@1 holds 3 classes from you/birds-context at " in pulled.out
    own, again = Store()["colours"], Store()["again"]
    assert len(again.shots) == 0 < len(own.shots)
    for name in ("vectors", "text_features", "zero_shot_features"):
        np.testing.assert_array_equal(getattr(again, name), getattr(own, name))
    first, second = (_answers(cli, photos, name, tiny) for name in ("colours", "again"))
    assert len(first) == 18 and first == second


def _answers(cli, photos, name, model):
    lines = cli("classify", photos, "--prompt", name, "--model", model, "--format", "jsonl").out.splitlines()
    return [(row["path"], row["label"], row["probability"]) for row in map(json.loads, lines)]


def test_nothing_private_leaves_this_machine(hub, cli, colours_bytes, tiny_folder, photos):
    own = Context.from_bytes(colours_bytes, "own")
    hashes = own.shots.hashes
    change = Change("rebase", f"local-dir:{tiny_folder} → mini", (Relabelled(hashes[0], 0, 1),))
    Store().save(
        "colours", dataclasses.replace(own, card=dataclasses.replace(own.card, change=change)).to_bytes(), new=True
    )
    assert cli("push", "colours", REPO, "--yes").code == 0
    everything = b"\n".join([*files(hub).values(), *(title.encode() for title in hub.repositories[REPO].titles())])
    assert tiny_folder.name.encode() in everything, "the backbone has a name"
    for secret in (str(tiny_folder.parent), str(photos), ".png", *hashes):
        assert secret.encode() not in everything
    assert not any(own.shots.sha256[i].tobytes() in everything for i in range(len(own.shots)))
    assert Context.from_bytes(files(hub)[FILE], "theirs").card.change.kind == "rebase"


def test_shots_go_along_only_when_asked(hub, cli, birds):
    asked = cli("push", "birds", REPO, "--with-shots", "--yes")
    assert asked.code == 0 and "with the features and checksums of 6 photos) and README.md" in asked.out
    assert files(hub)[FILE] == Store().find(Ref("birds")).path.read_bytes()
    assert "features and checksums of 6 photos are in the file" in files(hub)["README.md"].decode()
    assert cli("push", "birds", REPO, "--yes").code == 0, "and they can be taken out again"
    assert len(Context.from_bytes(files(hub)[FILE], "theirs").shots) == 0


def test_a_head_that_tells_of_few_photos_is_said_to(hub, cli, colours_bytes):
    Store().save("colours", colours_bytes, new=True)
    assert Store()["colours"].head is not None
    assert "warning: " in cli("push", "colours", REPO, "--yes").err


def test_pulling_says_where_a_context_came_from(hub, cli):
    commit = shared(hub).branches["main"]
    report = json.loads(cli("pull", REPO, "--json").out)
    assert (report["context"], report["commit"], report["stored"]) == ("birds-context@1", commit, True)
    assert (report["backbone"], report["backbone_here"], report["shots"]) == ("mini", True, 0)
    listed = json.loads(cli("operations", "--json").out)["operations"][0]
    assert (listed["kind"], listed["origin"]) == ("pull", f"hf://{REPO}@{commit}")
    assert f"\tpull {REPO} --json  (hf://{REPO}@{commit[:12]})\t" in cli("operations").out
    assert cli("copy", "birds-context", "copied").code == 0
    for name in ("birds-context", "copied"):
        (row,) = json.loads(cli("log", name, "--json").out)["versions"]
        assert row["origin"] == f"hf://{REPO}@{commit}"
        assert f"learned (from hf://{REPO}@{commit[:12]})" in cli("log", name).out


def test_the_log_does_without_a_journal_that_is_damaged(hub, cli, home):
    shared(hub)
    assert cli("pull", REPO).code == 0
    (home / "journal" / "1.jsonl").write_text("{}")
    done = cli("log", "birds-context", "--json")
    assert done.code == 0 and json.loads(done.out)["versions"][0]["origin"] is None


def test_the_commands_know_the_hub_from_the_environment(hub, birds, home, tmp_path):
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PROMPTCTL_HOME": str(home),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": hub.url,
        "NO_PROXY": "127.0.0.1,localhost",
    }
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("secret")  # as `hf auth login` leaves it
    run = [sys.executable, "-m", "promptctl", "push", "birds", REPO, "--yes", "--json"]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["url"] == f"{hub.url}/{REPO}"
    assert set(files(hub)) == {".gitattributes", FILE, "README.md"}
    assert done.stderr == (
        "uploading context.safetensors (2 KB, without shots) and README.md to you/birds-context, "
        "a new private repository\n"
    )


# --------------------------------------------------------------------------- what is written


def test_what_is_there_already_is_not_written_again(hub, cli, birds):
    assert cli("push", "birds", REPO, "--yes").code == 0
    again = cli("push", "birds", REPO)  # asks nothing, for there is nothing to ask
    assert (again.code, again.out.splitlines()[0]) == (0, "you/birds-context holds birds@1 as it is: nothing to upload")
    titles = hub.repositories[REPO].titles()
    assert titles == [f"Upload birds@1 with promptctl {promptctl.__version__}", "initial commit"]
    assert cli("push", "birds", REPO, "--license", "mit", "--yes").code == 0
    assert len(hub.repositories[REPO].titles()) == 3
    assert len([request for request in hub.requests if request.startswith("PUT")]) == 1, "the file was there"


def test_what_a_person_wrote_on_the_page_stays(hub, cli, birds):
    assert cli("push", "birds", REPO, "--yes").code == 0
    written = files(hub)["README.md"].decode()
    edited = written.replace("---\n\n", "language: en  # of the names\n---\n\n# My birds\r\n\nBy hand: ünï.\r\n\n", 1)
    edited = edited.replace("# birds-context\n", "# Gone\n").replace("- promptctl\n", "- promptctl\n- ornithology\n")
    edited = (
        edited.replace("zero-shot-image-classification\ntags", "image-classification\ntags") + "\nThanks to **all**.\n"
    )
    hub.repositories[REPO].add({"README.md": edited.encode()}, "by hand")
    assert cli("push", "birds", REPO, "--yes").code == 0
    now = files(hub)["README.md"].decode()
    assert now == edited.replace("# Gone\n", "# birds-context\n"), "even a comment in the metadata"
    assert cli("push", "birds", REPO, "--license", "cc-by-4.0", "--yes").code == 0
    data = ModelCard(files(hub)["README.md"].decode()).data
    assert (data.language, data.license, data.pipeline_tag) == ("en", "cc-by-4.0", "image-classification")
    assert data.tags[:2] == ["promptctl", "ornithology"] and set(model_card.TAGS) < set(data.tags)
    assert "By hand: ünï.\r\n" in files(hub)["README.md"].decode()


def test_a_page_without_our_part_gets_it_below(hub, cli, birds):
    hub.repository(REPO).add({"README.md": b"# Birds\n\nSoon.\n"})
    assert cli("push", "birds", REPO, "--yes").code == 0
    now = files(hub)["README.md"].decode()
    assert now.index("# Birds\n\nSoon.\n") < now.index("# birds-context\n")
    assert ModelCard(now).data.library_name == "promptctl"


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (b"---\ntags: [a\n---\n", "the metadata of its README.md cannot be read ("),
        (b"---\n- a list\n---\n", "the metadata of its README.md cannot be read ("),
        ("# Vögel".encode("latin-1"), "its README.md is not UTF-8, and what people wrote there would be lost\n"),
    ],
)
def test_a_page_that_cannot_be_read_is_left_alone(hub, cli, birds, page, reason):
    hub.repository(REPO).add({"README.md": page})
    done = cli("push", "birds", REPO, "--yes")
    assert done.code == 1 and f"error: you/birds-context: {reason}" in done.err
    assert files(hub)["README.md"] == page and FILE not in files(hub)


def test_the_model_card_says_what_the_context_is():
    card = dataclasses.replace(make().card, backbone=dataclasses.replace(make().card.backbone, name="ViT-B-16/openai"))
    outgoing = Outgoing.of(dataclasses.replace(make(), card=card), shots=False)
    text = model_card.written(model_card.Shared(outgoing, REPO, "mit"))
    data = ModelCard(text).data
    assert (data.library_name, data.pipeline_tag) == ("promptctl", "zero-shot-image-classification")
    assert (data.license, data.base_model, data.metrics) == (
        "mit",
        "timm/vit_base_patch16_clip_224.openai",
        ["accuracy"],
    )
    assert [(one.metric_name, one.metric_value) for one in data.eval_results] == [
        ("accuracy", 0.9),
        ("accuracy of zero-shot", 0.5),
    ]
    assert data.model_name == "birds-context" and data.eval_results[0].dataset_name == "the 10 images not sampled"
    for line in (
        "promptctl pull you/birds-context",
        "| class\\_1 | class 1 |",
        "| this context | 90.0 % |",
        "It was learned from 6 photos (2 per class) by promptctl, on the frozen backbone **ViT-B-16/openai**.",
        f"| its checksum | `{outgoing.sha256}` (sha256) |",
    ):
        assert line in text.splitlines(), line
    assert "license" not in ModelCard(model_card.written(model_card.Shared(outgoing, REPO, None))).data.to_dict()
    assert model_card.written(model_card.Shared(outgoing, REPO, "mit"), text) == text


@pytest.mark.parametrize(
    ("method", "said", "unsaid"),
    [
        ({}, "| learned | 100 epochs, 100 steps, seed 1 |", "PyTorch"),
        (
            {"visual_tokens": 4, "visual_depth": 9},
            "| visual tokens | 4 tokens in each of the first 9 blocks of the image tower |",
            "| projection",
        ),
        ({"projection": True}, "| projection | of its own, which the image tower ends in |", "| visual tokens"),
        ({"learner": "gda", "context_tokens": 0, "steps": 0, "epochs": 0}, "| learner | gda |", "| learned |"),
    ],
)
def test_the_model_card_says_what_the_image_tower_learned(method, said, unsaid):
    card = make().card
    card = dataclasses.replace(card, method=dataclasses.replace(card.method, **method))
    outgoing = dataclasses.replace(Outgoing.of(make(), shots=False), card=card)
    page = model_card.written(model_card.Shared(outgoing, REPO, None))
    assert said in page.splitlines() and unsaid not in page
    needs = "Photos are encoded for it alone, by PyTorch."
    assert (needs in page) == bool(card.method.visual_tokens or card.method.projection)


@pytest.mark.parametrize(
    ("method", "head", "can"),
    [
        ({}, False, True),
        ({}, True, False),  # its head would have to make room, which takes shots
        ({"class_specific": True}, False, False),
        ({"learner": "gda", "context_tokens": 0}, True, False),
        ({"learner": "clap", "context_tokens": 0}, False, False),
        ({"learner": "prolip", "context_tokens": 0, "projection": True}, False, True),
    ],
)
def test_the_model_card_says_whether_classes_can_come_without_shots(method, head, can):
    card = make().card
    parts = (HeadPart("clap", 1.0),) if head else ()
    card = dataclasses.replace(card, method=dataclasses.replace(card.method, **method), head=parts)
    outgoing = dataclasses.replace(Outgoing.of(make(), shots=False), card=card)
    page = model_card.written(model_card.Shared(outgoing, REPO, None))
    but = " and can get classes by name, but it" if can else ","
    assert f"Without shots it classifies{but} calls no photo unknown and cannot learn on." in page


def test_a_class_name_draws_links_and_runs_nothing_on_the_page():
    names = ("<script>alert(1)</script>", "![x](http://evil) | y", "a\n# b\u202e`c` {{ 7*7 }}")
    classes = tuple(ClassEntry(i, name, name) for i, name in enumerate(names))
    card = dataclasses.replace(make().card, classes=classes, zero_shot_template="<b>{}</b> | -->")
    outgoing = Outgoing.of(dataclasses.replace(make(), card=card), shots=False)
    text = model_card.written(model_card.Shared(outgoing, REPO, None))
    table = text.partition("| class |")[2].partition("## How good")[0].splitlines()
    rows = [line for line in table if line.startswith("| ")]
    assert len(rows) == 3 and all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
    body = text.partition("\n---\n")[2]
    for bad in ("<script", "<b>", "http://", "\n# b\u202e", "\u202e", "49", "-->\\"):
        assert bad not in body, bad
    assert "!\\[x\\](http:&#47;/evil) \\| y" in body and "\\{\\{ 7\\*7 \\}\\}" in body
    assert body.count("-->") == 2, "no name ends our part early"


def test_a_new_repository_is_private_unless_asked(hub, cli, birds):
    assert cli("push", "birds", "you/a", "--yes").code == 0
    assert cli("push", "birds", "you/b", "--public", "--yes").code == 0
    assert [hub.repositories[name].private for name in ("you/a", "you/b")] == [True, False]
    refused = cli("push", "birds", "you/b", "--private", "--with-shots", "--yes")
    assert refused.code == 1 and refused.err == (
        "error: you/b is public, and push does not change that\n"
        f"hint:  leave out --private, or change it in its settings at {hub.url}/you/b\n"
    )
    refused = cli("push", "birds", "you/a", "--public", "--with-shots", "--yes")
    assert "error: you/a is private, and push does not change that" in refused.err
    assert len(hub.repositories["you/b"].titles()) == 2
    assert ", which is public\n" in cli("push", "birds", "you/b", "--with-shots", "--yes").out


def test_it_asks_before_it_uploads(hub, cli, birds):
    done = cli("push", "birds", REPO, "--with-shots")
    assert done.code == 1 and done.err == (
        "error: uploading 'birds' asks first, and there is no terminal to ask on\n"
        f"hint:  promptctl push birds {REPO} --with-shots --yes\n"
    )
    asked = []

    def no(what):
        asked.append(what)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        promptctl.push("birds", REPO, confirm=no)
    assert asked == [
        "context.safetensors (2 KB, without shots) and README.md to you/birds-context, a new private repository"
    ]
    assert not hub.repositories


def test_a_dry_run_shows_all_of_it_and_writes_nothing(hub, cli, birds, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")  # only looks
    done = cli("push", "birds", REPO, "--dry-run")
    assert done.code == 0 and done.out.startswith("would be uploaded: context.safetensors (2 KB, without shots) and ")
    assert "| class\\_1 | class 1 |" in done.out.splitlines()
    report = promptctl.push("birds", REPO, dry_run=True)
    assert report.commit is None and report.created and report.private and report.card.startswith("---\nlibrary_name")
    assert not hub.repositories and not any(line.startswith(("POST", "PUT")) for line in hub.requests)


def test_tags_and_branches(hub, cli, birds):
    assert cli("push", "birds", REPO, "--tag", "v1", "--yes").code == 0
    first = hub.repositories[REPO].tags["v1"]
    Store().save("birds", make(4, shots=8).to_bytes(), new=False)
    taken = cli("push", "birds", REPO, "--tag", "v1", "--yes")
    assert taken.code == 1 and f"has a tag 'v1' already, at {first[:12]}" in taken.err
    assert hub.repositories[REPO].tags == {"v1": first} and hub.repositories[REPO].branches["main"] == first
    assert cli("push", "birds", REPO, "--revision", "next", "--tag", "v2", "--yes").code == 0
    assert hub.repositories[REPO].branches["main"] == first != hub.repositories[REPO].branches["next"]
    found = {
        revision: json.loads(cli("pull", f"{REPO}@{revision}", "--name", f"b{n}", "--json").out)
        for n, revision in enumerate(("v1", "next", "v2", first))
    }
    assert [len(found[revision]["classes"]) for revision in ("v1", "next", "v2", first)] == [3, 4, 4, 3]
    assert found["v1"]["commit"] == first
    assert cli("push", "birds@1", REPO, "--revision", "same", "--yes").code == 0, "a branch of what is there"
    assert FILE in files(hub, "same")
    only = cli("push", "birds@1", REPO, "--tag", "again", "--yes")
    assert only.code == 0 and "uploaded: nothing but the tag again to you/birds-context" in only.out
    assert hub.repositories[REPO].tags["again"] == first


def test_somebody_elses_commit_is_not_overwritten(hub, cli, birds):
    repository = hub.repository(REPO)

    def meanwhile(method, path):
        if path.endswith("/commit/main") and len(repository.titles()) == 1:
            repository.add({"README.md": b"theirs"}, "theirs")

    hub.before = meanwhile
    done = cli("push", "birds", REPO, "--yes")
    assert done.code == 1 and done.err.splitlines()[-2:] == [
        "error: you/birds-context was changed by somebody else meanwhile",
        "hint:  run the command again",
    ]
    assert files(hub)["README.md"] == b"theirs"
    assert cli("push", "birds", REPO, "--yes").code == 0 and b"theirs" in files(hub)["README.md"]


def test_a_push_that_broke_off_is_gone_on_with(hub, cli, birds):
    def broken(method, path):
        if path.endswith("/commit/main"):
            raise Refused(500, "Internal error, we are looking into it")

    hub.before = broken
    done = cli("push", "birds", REPO, "--yes")
    assert done.code == 1 and done.err.splitlines()[-2:] == [
        "error: you/birds-context: the hub answers 500: Internal error, we are looking into it",
        "hint:  try again later",
    ]
    hub.before = None
    assert cli("push", "birds", REPO, "--yes").code == 0 and FILE in files(hub)


def test_ctrl_c_says_what_is_there(hub, birds, tmp_path):
    command = [sys.executable, "-m", "promptctl", "push", "birds", REPO, "--yes"]
    there = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=there) as program:

        def pressed(method, path):
            if method == "PUT":
                program.send_signal(signal.SIGINT)
                time.sleep(0.5)
                raise Refused(400, "never seen")

        hub.before = pressed
        said = program.stderr.read()
    assert program.returncode == 130
    assert "interrupted; you/birds-context was made and has no context yet, the same command goes on" in said
    assert FILE not in files(hub)


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("command", ["push", "pull"])
@pytest.mark.parametrize("variable", ["PROMPTCTL_OFFLINE", "HF_HUB_OFFLINE"])
def test_nothing_is_asked_of_the_network_where_it_is_not_to_be(hub, cli, birds, monkeypatch, command, variable):
    monkeypatch.setenv(variable, "1")
    done = cli(*(["push", "birds", REPO, "--yes"] if command == "push" else ["pull", REPO]))
    typed = f"push birds {REPO}" if command == "push" else f"pull {REPO}"
    assert (done.code, done.err) == (
        13,
        f"error: {REPO} cannot be reached: {variable} is set\nhint:  where there is a network: promptctl {typed}\n",
    )
    assert hub.requests == []


def test_a_token_is_needed_to_write(hub, cli, birds, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert cli("push", "birds", REPO, "--yes").err == (
        f"error: nothing is written to {REPO} without a token of the hub, and none is set\n"
        "hint:  hf auth login   (or export HF_TOKEN=…, a token that may write)\n"
    )
    monkeypatch.setenv("HF_TOKEN", "mistyped")
    for arguments in (["push", "birds", REPO, "--yes"], ["pull", REPO]):
        assert cli(*arguments).err == (
            "error: the hub does not accept the token of HF_TOKEN\n"
            "hint:  unset HF_TOKEN, or hf auth login   (with a new one)\n"
        )
    hub.tokens["reader"] = "you"
    hub.readers.add("reader")
    monkeypatch.setenv("HF_TOKEN", "reader")
    told = cli("push", "birds", REPO, "--yes").err.splitlines()
    assert told[-2:] == [
        f"error: the hub does not let this token do that with {REPO}: "
        "You don't have the rights to write under the namespace you",
        "hint:  hf auth login   (with a token that may write there)",
    ]
    assert not hub.repositories


def test_a_license_that_the_hub_does_not_know(hub, cli, birds):
    done = cli("push", "birds", REPO, "--license", "no-such-license", "--yes")
    assert done.code == 1 and 'Invalid metadata in README.md. - "license" must be one of apache-2.0, mit, …' in done.err
    assert "--license cc-by-4.0" in cli("push", "birds", REPO, "--license", "a b").err


NO_REPOSITORY = "is no repository of a hub, which is called OWNER/NAME"
PUSH, PULL = "promptctl push birds OWNER/birds-context", "promptctl pull OWNER/NAME   (or OWNER/NAME@REVISION)"
NO_NAME = "is not a context name: only letters, digits, '-' and '_' may be in it, a letter or digit first"


@pytest.mark.parametrize(
    ("line", "code", "sentence", "hint"),
    [
        ("push birds birds", 2, f"'birds' {NO_REPOSITORY}", PUSH),
        ("push birds you/../x", 2, f"'you/../x' {NO_REPOSITORY}", PUSH),
        (f"push birds {REPO}@v1", 2, f"'{REPO}@v1' {NO_REPOSITORY}", f"promptctl push birds {REPO} --revision v1"),
        (f"push birds {REPO} --tag a..b", 2, "tag is 'a..b', a name that git allows was expected", "--tag v3"),
        (f"push bird {REPO}", 10, "no context named 'bird'", "did you mean 'birds'?"),
        ("pull birds", 2, f"'birds' {NO_REPOSITORY}", PULL),
        (f"pull {REPO}@", 2, f"'{REPO}@' {NO_REPOSITORY}", PULL),
        ("pull you/birds.v2", 1, f"'birds.v2' {NO_NAME}", "--name birds-v2"),
    ],
)
def test_what_is_no_repository_is_refused_before_the_network(hub, cli, birds, line, code, sentence, hint):
    done = cli(*shlex.split(line))
    assert (done.code, done.err) == (code, f"error: {sentence}\nhint:  {hint}\n")
    assert hub.requests == []


def test_what_cannot_be_fetched_is_said(hub, cli, monkeypatch):
    hub.repository(REPO, private=True)
    hub.repository("them/private", private=True)
    gated = hub.repository("them/gated", gated=True)
    gated.add({FILE: Outgoing.of(make(), shots=False).data})
    assert cli("pull", REPO).err == (
        f"error: {REPO} has no {FILE}, so it holds no context\nhint:  promptctl push makes one that does\n"
    )
    assert cli("pull", f"{REPO}@v9").err == (
        f"error: {REPO} has no revision 'v9'\nhint:  promptctl pull {REPO}   (the newest)\n"
    )
    assert cli("pull", "them/private").err == (
        "error: there is no repository them/private that this token may see\nhint:  check the name\n"
    )
    assert cli("pull", "them/gated").err == (
        "error: them/gated is open only to those whom its owner lets in\n"
        f"hint:  ask for access at {hub.url}/them/gated\n"
    )
    monkeypatch.delenv("HF_TOKEN")
    done = cli("pull", "them/nothing")
    assert (done.code, done.err) == (
        10,
        "error: there is no repository them/nothing that can be seen without a token\n"
        "hint:  check the name, or hf auth login   (if it is private)\n",
    )


def test_a_hub_that_fails_is_said_to(hub, cli):
    shared(hub)

    def broken(method, path):
        raise Refused(503, "Service Unavailable")

    hub.before = broken
    done = cli("pull", REPO)
    assert (done.code, done.err) == (
        1,
        f"error: {REPO}: the hub answers 503: Service Unavailable\nhint:  try again later\n",
    )


def test_a_connection_that_is_cut_is_taken_up_again(hub, cli):
    shared(hub)
    hub.cut = 2
    done = cli("pull", REPO)
    assert done.code == 0 and Store()["birds-context"] is not None
    assert len([line for line in hub.requests if line.startswith("GET /large/")]) == 3


# --------------------------------------------------------------------------- what is fetched is data


class Runs:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_what_is_no_context_is_not_stored_and_runs_nothing(hub, cli, tmp_path, monkeypatch):
    import pickle

    monkeypatch.chdir(tmp_path)
    whole = make().to_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    newer = dataclasses.replace(make().card, format=1)
    assert newer.format == 1
    for content, reason in (
        (pickle.dumps(Runs()), "its header is longer than the file or than a header may be"),
        (bytes(flipped), "its checksum does not match its contents"),
        (whole[:-10], "its checksum does not match its contents"),
        (whole + b"more", "its checksum does not match its contents"),
        (b"", "it is too short"),
    ):
        hub.repository(REPO).add({FILE: content, "model.py": b"import os"})
        done = cli("pull", REPO)
        assert done.code == 12, (done.err, reason)
        assert f"error: {FILE} of {REPO} is not an intact context: {reason}" in done.err
    assert not Path("ran").exists() and not list(Store())
    assert not any("model.py" in line for line in hub.requests)


def _with_more(data):
    """A context with 40 MB that no context has."""
    end = 8 + int.from_bytes(data[:8], "little")
    header, at = json.loads(data[8:end]), len(data) - end
    header["more"] = {"dtype": "U8", "shape": [40 << 20], "data_offsets": [at, at + (40 << 20)]}
    written = json.dumps(header).encode()
    return len(written).to_bytes(8, "little") + written + data[end:] + bytes(40 << 20)


@pytest.mark.parametrize("is_context", [False, True])
def test_a_large_file_that_is_no_context_is_not_fetched_to_its_end(hub, cli, colours_bytes, monkeypatch, is_context):
    content = (8).to_bytes(8, "little") + b'{"a":1} ' + bytes(40 << 20)
    says = "it holds no promptctl metadata"
    if is_context:
        monkeypatch.setattr(limits, "MOST_UNKNOWN", 1 << 20)
        content, says = _with_more(colours_bytes), "40 MB of it are of no tensor that a context has"
    hub.repository(REPO).add({FILE: content})
    taken = []
    from promptctl.hub.incoming import Incoming

    write = Incoming.write

    def counted(self, some):
        taken.append(len(some))
        return write(self, some)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Incoming, "write", counted)
        done = cli("pull", REPO)
    assert done.code == 12 and says in done.err
    assert sum(taken) <= 10 << 20


def test_no_more_is_fetched_than_allowed(hub, cli, monkeypatch):
    shared(hub)
    from promptctl.hub import outgoing

    large = (
        f"error: {REPO}: {FILE} is larger than 512 MB\n"
        f"hint:  hf download {REPO} {FILE}   (then promptctl import FILE, if you trust it)\n"
    )
    hub.told_size = outgoing.LARGEST + 1
    assert cli("pull", REPO).err == large
    assert not any(line.startswith("GET /large") for line in hub.requests)
    hub.told_size = 100  # and then sends more
    monkeypatch.setattr(outgoing, "LARGEST", 1000)
    assert "is larger than 0 MB" in cli("pull", REPO).err
    assert not list(Store())


def test_what_is_sent_must_be_what_was_said(hub, cli):
    shared(hub)
    hub.swapped = Outgoing.of(make(4, shots=8), shots=False).data  # another context, and an intact one
    done = cli("pull", REPO)
    assert done.err == f"error: {REPO}: {FILE} is not what the hub said it would be\nhint:  try again\n"
    assert not list(Store())


def test_a_name_that_exists_is_not_overwritten(hub, cli, birds):
    shared(hub, make(4, shots=8))
    done = cli("pull", REPO, "--name", "birds")
    assert (done.code, done.err) == (
        1,
        "error: a context named 'birds' already exists\n"
        f"hint:  promptctl pull {REPO} --name birds --update   (as its next version), or another --name\n",
    )
    assert cli("pull", REPO, "--name", "birds", "--update").out.startswith("birds@2 holds 4 classes from ")
    again = cli("pull", REPO, "--name", "birds")
    assert again.code == 0 and again.out.startswith("birds@2 is you/birds-context at ")
    assert again.out.endswith(" already: nothing was stored\n") and len(Store().versions("birds")) == 2
    assert cli("undo").code == 0
    assert len(Store()["birds"].card.classes) == 3


def test_a_backbone_that_is_not_here_is_named_and_not_fetched(hub, cli):
    for name, hint in (
        ("ViT-B-16/openai", "next: promptctl models pull ViT-B-16/openai\n"),
        ("local-dir:theirs", "--model local-dir:FOLDER   (where its backbone is here)\n"),
    ):
        card = make().card
        card = dataclasses.replace(card, backbone=dataclasses.replace(card.backbone, name=name))
        shared(hub, dataclasses.replace(make(), card=card))
        done = cli("pull", REPO, "--name", f"of-{len(list(Store()))}")
        assert f"backbone: {name}, which is not on this machine\n" in done.out and hint in done.err
    assert {line.split("/")[1] for line in hub.requests if "huggingface" in line} == set()


# --------------------------------------------------------------------------- docs/sharing.md


def test_the_page_shows_what_the_commands_print(hub, cli, home, monkeypatch):
    from test_docs import BIRDS, blocks

    monkeypatch.setenv("COLUMNS", "200")
    classes = tuple(ClassEntry(i, bird, bird) for i, bird in enumerate(BIRDS))
    context = make(5)
    card = dataclasses.replace(context.card, classes=classes)
    Store().save("birds", dataclasses.replace(context, card=card).to_bytes(), new=True)
    for block in blocks(Path(__file__).parents[1] / "docs" / "sharing.md", "console"):
        line, shown = re.fullmatch(r"\$ (.*?)\n(.*)", block, re.S).groups()
        done = cli(*shlex.split(line)[1:])
        assert done.code == 0, done.err
        printed = (done.err + done.out).replace(hub.url, "https://huggingface.co")
        printed = re.sub(r"\b[0-9a-f]{12}\b", "5f2c9a1b7d3e", printed)
        assert other_words(shown, printed, home, BIRDS) == set(), line

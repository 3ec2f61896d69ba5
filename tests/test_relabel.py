"""`relabel`: photos that are of another class after all, told by checksum or path."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import paint

import promptctl
from promptctl import commands
from promptctl.context.context import Context
from promptctl.errors import DatasetError, NoShots
from promptctl.store.store import Store


@pytest.fixture(scope="module")
def first(tiny_folder, tmp_path_factory) -> bytes:
    """colours@1: ten pictures of each of three colours, two of each held out."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTCTL_HOME", str(folder / "home"))
        store = Store(folder / "store")
        photos = paint(folder / "photos", images=10)
        promptctl.learn(photos, "colours", epochs=20, model=f"local-dir:{tiny_folder}", store=store)
    return store["colours"].to_bytes()


@pytest.fixture
def colours(first, tmp_path) -> Path:
    Store().save("colours", first, new=True)
    return paint(tmp_path / "photos", images=10)


@pytest.fixture
def hashes(colours) -> dict[str, list[str]]:
    """label → sha256 of its photos, those to learn from first."""
    context = Store()["colours"]
    label = {entry.id: entry.label for entry in context.card.classes}
    found: dict[str, list[str]] = {}
    for i in np.argsort(context.shots.held_out, kind="stable"):
        found.setdefault(label[int(context.shots.class_ids[i])], []).append(context.shots.sha256[i].tobytes().hex())
    return found


def written(tmp_path: Path, text: str, name: str = "fixes.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


def run(cli, *arguments) -> dict:
    done = cli(*arguments, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def classes_of(context: Context) -> dict[str, str]:
    label = {entry.id: entry.label for entry in context.card.classes}
    return {
        s.tobytes().hex(): label[int(i)] for s, i in zip(context.shots.sha256, context.shots.class_ids, strict=True)
    }


@pytest.mark.parametrize("way", ["hash", "start", "path", "no heading", "german", "both"])
def test_photos_are_told_by_checksum_or_path(cli, colours, hashes, tmp_path, way):
    before = Store()["colours"]
    red, blue = hashes["red"][0], hashes["blue"][1]
    shutil.copy(next(colours.glob("red/3.png")), tmp_path / "somewhere.png")
    from promptctl.encoding.decode import hash_image

    third = hash_image(tmp_path / "somewhere.png")
    text = {
        "hash": f"hash,label\n{red},blue\n{blue},green\n",
        "start": f"sha256;new label\n{red[:8].upper()};blue\n{blue[:9]};green\n",
        "path": "path,label\nsomewhere.png,blue\n",
        "no heading": f"{red},blue\n{blue},green\n",
        "german": f"Prüfsumme,richtig\n{red},blue\n{blue},green\n",
        "both": f"file,sha256,label\na.png,{red},blue\nb.png,{blue},green\n",
    }[way]
    report = run(cli, "relabel", "colours", written(tmp_path, text))
    wanted = {third: "blue"} if way == "path" else {red: "blue", blue: "green"}
    after = Store()["colours@2"]
    assert classes_of(after) == {**classes_of(before), **wanted}
    assert after.shots.sha256.tobytes() == before.shots.sha256.tobytes()
    assert after.shots.held_out.tobytes() == before.shots.held_out.tobytes()
    assert after.shots.features.tobytes() == before.shots.features.tobytes()
    ids = {entry.label: entry.id for entry in after.card.classes}
    logged = {one.sha256: (one.before, one.after) for one in after.card.change.relabelled}
    assert logged == {sha: (ids[classes_of(before)[sha]], ids[label]) for sha, label in wanted.items()}
    assert {row["sha256"]: row["after"] for row in report["relabelled"]} == wanted
    assert np.abs(after.vectors - before.vectors).max() > 1e-4, "learned from all of them again"
    assert after.card.change.guard is not None and report["guard"]["parent"] == "colours@1"


def test_a_dry_run_changes_nothing(cli, colours, hashes, tmp_path):
    path = written(tmp_path, f"hash,label\n{hashes['red'][0]},blue\n{hashes['red'][1]},red\n")
    report = run(cli, "relabel", "colours", path, "--dry-run")
    assert (report["dry_run"], report["unchanged"]) == (True, 1)
    assert report["relabelled"] == [{"sha256": hashes["red"][0], "before": "red", "after": "blue"}]
    assert Store().numbers("colours") == (1,)


def test_what_is_right_already_makes_no_version(cli, colours, hashes, tmp_path):
    done = cli("relabel", "colours", written(tmp_path, f"hash,label\n{hashes['red'][0]},red\n"))
    assert done.code == 0 and "every photo has its class in colours@1 already: no version was made" in done.out
    assert Store().numbers("colours") == (1,)


@pytest.mark.parametrize(
    ("lines", "said", "hint"),
    [
        ("{red},rde", "'rde' in line 3 of {path} is no class of colours@1", "did you mean 'red'?"),
        ("0123456789abcdef,red", "no photo of colours@1 has the checksum '0123456789abcdef' in line 3 of", ""),
        ("{near},red", "no photo of colours@1 has the checksum '{near}' in line 3 of", "did you mean {blue12}"),
        ("nowhere.png,red", "'nowhere.png' in line 3 of {path} cannot be read", ""),
        ("new.png,red", "the photo 'new.png' in line 3 of {path} is not stored in colours@1", "promptctl learn"),
        ("{first},green", "{path} says 'blue' in line 2 and 'green' in line 3 of one photo", ""),
        (",red", "{path} names no photo in line 3", ""),
        ("{blue},", "{path} has no label in line 3", ""),
    ],
)
def test_a_wrong_line_changes_nothing_at_all(colours, hashes, tmp_path, lines, said, hint):
    paint(tmp_path, images=1, seed=9, colours={"new": (1, 2, 3)})
    shutil.move(tmp_path / "new" / "0.png", tmp_path / "new.png")
    red, blue, first = hashes["red"][1], hashes["blue"][0], hashes["red"][0]
    words = {"red": red, "blue": blue, "near": blue[:7] + "zzzz".replace("z", "0" if blue[7] != "0" else "1")}
    words |= {"first": first, "path": tmp_path / "fixes.csv", "blue12": blue[:11]}
    path = written(tmp_path, f"hash,label\n{first},blue\n{lines.format(**words)}\n")
    with pytest.raises(DatasetError) as refused:
        commands.relabel("colours", path)
    assert str(refused.value).startswith(said.format(**words))
    assert (refused.value.hint or "").startswith(hint.format(**words))
    assert Store().numbers("colours") == (1,)


def test_a_start_that_several_photos_have_is_refused(colours, tmp_path):
    import dataclasses

    context = Store()["colours"]
    sha256 = context.shots.sha256.copy()
    sha256[:2, :5] = 7
    Store().save(
        "colours",
        dataclasses.replace(context, shots=dataclasses.replace(context.shots, sha256=sha256)).to_bytes(),
        new=False,
    )
    with pytest.raises(
        DatasetError, match="2 photos of colours@2 have a checksum that begins with '0707070707' in line 2"
    ):
        commands.relabel("colours", written(tmp_path, "hash,label\n0707070707,red\n"))


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "is empty"), ("hash\n12345678\n", "has no label column"), ("hash,when\n12345678,today\n", "in line 2")],
)
def test_a_list_that_is_none_is_refused(colours, tmp_path, text, said):
    with pytest.raises(DatasetError, match=said):
        commands.relabel("colours", written(tmp_path, text))
    assert Store().numbers("colours") == (1,)


def test_a_class_without_photos_answers_by_its_name_and_that_is_said(cli, colours, hashes, tmp_path):
    lines = "".join(f"{sha},blue\n" for sha in hashes["green"])
    done = cli("relabel", "colours", written(tmp_path, "hash,label\n" + lines), "--force", "--json")
    report = json.loads(done.out)
    assert done.code == 0 and report["empty"] == ["green"]
    assert "no photo of 'green' is left: it answers by its name alone" in done.err
    assert Store()["colours"].card.labels == ("blue", "green", "red")


def test_what_has_no_shots_says_so(first, tmp_path):
    Store().save("bare", Context.from_bytes(first, "it").without_shots().to_bytes(), new=True)
    with pytest.raises(
        NoShots, match="bare@1 cannot correct the classes of its photos: the features of its shots were"
    ):
        commands.relabel("bare", written(tmp_path, "hash,label\n12345678,red\n"))
    means = Context.from_bytes(first, "it").with_prototypes_only()
    Store().save("means", means.to_bytes(), new=True)
    with pytest.raises(NoShots, match="means@1 cannot correct the classes of its photos: it keeps means"):
        commands.relabel("means", written(tmp_path, "hash,label\n12345678,red\n"))


def test_a_photo_of_two_classes_becomes_one_of_one(cli, colours, hashes, tmp_path):
    import dataclasses

    context = Store()["colours"]
    shots = context.shots
    twice = shots.only(np.array([*range(len(shots)), 0]))
    ids = twice.class_ids.copy()
    ids[-1] = (ids[0] + 1) % 3
    held = int(twice.held_out.sum())
    counted = dataclasses.replace(context.card.shots, train=len(ids) - held, held_out=held)
    both = dataclasses.replace(
        context,
        card=dataclasses.replace(context.card, shots=counted),
        shots=dataclasses.replace(twice, class_ids=ids),
    )
    Store().save("colours", both.to_bytes(), new=False)
    label = context.card.labels[int(ids[0])]
    run(cli, "relabel", "colours", written(tmp_path, f"hash,label\n{shots.sha256[0].tobytes().hex()},{label}\n"))
    assert len(Store()["colours"].shots) == 30

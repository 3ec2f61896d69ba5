"""`diff`: what two contexts learned from, and what either sees in images that neither learned from."""

from __future__ import annotations

import dataclasses
import json

import pytest
from test_log import MIXED, NEW, OLD, folded, named, stored, version

from promptctl import commands
from promptctl.store.store import Store


def sha(number: int) -> str:
    return f"{number:02x}" * 32


@pytest.fixture
def pair():
    """@2 knows two more classes, has lost class 1 for 3, and sees half of class 0 as 2."""
    first = version([0, 1], images=MIXED)
    stored(first, version([0, 3, 2, 1], parent=first, images=[*MIXED, *NEW]))
    return commands.diff("birds@1", "birds@2")


def test_shots_that_came_and_went_are_named(pair, cli):
    assert [(shot.sha256, shot.label) for shot in pair.shots_added] == [
        (sha(n), f"class_{2 + (n > 11)}") for n in range(10, 14)
    ]
    assert (pair.shots_removed, pair.relabelled) == ((), ())
    back = commands.diff("birds@2", "birds@1")
    assert (back.shots_added, back.shots_removed) == ((), pair.shots_added)
    assert "shots:    4 added, 0 removed, 0 relabelled" in cli("diff", "birds@1", "birds@2").out


def test_flips_are_named_with_what_was_seen(pair):
    assert (pair.compared_on, pair.compared_images) == ("images held out", 8), "of classes both know"
    assert [(flip.sha256, flip.label, flip.before, flip.after) for flip in pair.worse] == [
        (sha(n), "class_1", "class_1", "class_3") for n in range(6, 10)
    ]
    assert pair.better == ()
    back = commands.diff("birds@2", "birds@1")
    assert [flip.sha256 for flip in back.better] == [flip.sha256 for flip in pair.worse]
    assert back.worse == ()


def test_only_confusions_that_were_none_before_are_new(pair):
    found = [(row.label, row.seen_as, row.images) for row in pair.confusions]
    assert found == [("class_1", "class_3", 4), ("class_0", "class_2", 2)]
    assert commands.diff("birds@2", "birds@2").confusions == ()


def test_a_corrected_label_is_shown_and_judged_as_it_is_now():
    first = version([1, 0], images=[(0, 1, 1, 0), (1, 1, 1, 0), (0, 1, 1, 1), (1, 1, 1, 1)])
    second = version([0, 1], parent=first, images=[(0, 0, 1, 0), (1, 1, 1, 0), (0, 0, 1, 1), (1, 1, 1, 1)])
    stored(first, second)
    found = commands.diff("birds@1", "birds@2")
    assert [(one.sha256, one.before, one.after) for one in found.relabelled] == [
        (sha(0), "class_1", "class_0"),
        (sha(2), "class_1", "class_0"),
    ]
    assert (found.shots_added, found.shots_removed, found.worse) == ((), (), ())
    assert [flip.sha256 for flip in found.better] == [sha(2), sha(3)]
    rows = {row.label: row for row in found.classes}
    assert (rows["class_0"].images, rows["class_0"].before, rows["class_0"].after) == (2, 0.0, 1.0), (
        "each image once, as it is now"
    )


def test_a_class_keeps_its_identity_under_another_label():
    first = named(version([0, 1], images=OLD), "emu", "ibis")
    second = named(version([0, 1], parent=first, images=OLD), "emu", "white ibis")
    stored(first, second)
    found = commands.diff("birds@1", "birds@2")
    assert (found.added, found.removed, found.renamed) == ((), (), (("ibis", "ibis", "white ibis"),))
    assert (found.shots_added, found.relabelled, found.worse) == ((), (), ())
    Store().save("emus", first.to_bytes(), new=True)
    Store().save("ibises", named(version([0, 1], images=OLD, seed=4), "emu", "white ibis").to_bytes(), new=True)
    found = commands.diff("emus", "ibises")
    assert (found.added, found.removed) == (("white ibis",), ("ibis",)), "of another line, ids say nothing"


def test_images_that_either_learned_from_are_not_compared():
    first = version([0, 1], images=[(0, 0, 1, 0), (1, 1, 1, 0), (0, 0, 1, 1), (1, 1, 1, 1)])
    other = version([0, 1], images=[(0, 0, 1, 1), (1, 1, 1, 0), (0, 0, 1, 0), (1, 1, 1, 1)])
    stored(first, other)
    assert commands.diff("birds@1", "birds@2").compared_images == 1


def test_without_images_held_out_folds_are_compared(cli):
    shots = [(c, c, 1, 0) for c in (0, 0, 1, 1)]
    first = folded(version([0, 1], images=shots), [0, 0, 1, 1])
    second = folded(version([0, 1], parent=first, images=[*shots, (0, 0, 2, 0)]), [0, 1, 1, -1, 0])
    stored(first, second)
    found = commands.diff("birds@1", "birds@2")
    assert (found.compared_on, found.compared_images) == ("shots, each without having learned from it", 3)
    assert [(flip.sha256, flip.after) for flip in found.worse] == [(sha(1), "class_1")]
    assert "answers:  of the 3 shots, each without having learned from it, 0 more are right, 1 more are wrong" in (
        cli("diff", "birds@1", "birds@2").out
    )


def test_a_candidate_can_be_compared(pair, cli):
    candidate = version([0, 1], images=[*MIXED, (1, 1, 3, 0)], seed=9)
    Store().save_candidate("birds", candidate.to_bytes())
    report = json.loads(cli("diff", "birds@1", "birds@candidate", "--json").out)
    assert (report["after"], [shot["sha256"] for shot in report["shots_added"]]) == ("birds@candidate", [sha(10)])


def test_answers_on_other_backbones_are_not_compared_but_shots_are():
    first = version([0, 1], images=MIXED)
    other = dataclasses.replace(first.card.backbone, fingerprint="e" * 64)
    stored(first, version([0, 1], parent=first, images=[*MIXED[:-1]], card={"backbone": other}))
    found = commands.diff("birds@1", "birds@2")
    assert (found.compared_on, found.worse, found.classes) == (None, (), ())
    assert [shot.sha256 for shot in found.shots_removed] == [sha(9)]
    assert found.warnings() == [
        "they were learned on different backbones, so neither answers nor features can be compared"
    ]


def test_a_context_without_shots_says_what_is_not_known(cli):
    first = version([0, 1], images=MIXED)
    stored(first, version([0, 1]))
    found = commands.diff("birds@1", "birds@2")
    assert "birds@2 carries no shots, so it is not known which came and went" in found.warnings()
    assert "removed" not in cli("diff", "birds@1", "birds@2").out.replace("\n", " ").partition("settings")[0]


def test_the_table_shows_the_first_images_and_json_all(cli):
    first = version([0, 1], images=MIXED)
    many = [*MIXED, *((c, c, 2, 0, 100 + n) for n, c in enumerate([0, 1] * 6))]
    stored(first, version([0, 1], parent=first, images=many))
    out = cli("diff", "birds@1", "birds@2").out
    assert out.count("\tadded\t") == 5
    assert commands.diff("birds@1", "birds@2").closing() == ["7 more lines of images and confusions in --json"]
    lines = cli("diff", "birds@1", "birds@2", "--format", "jsonl").out.splitlines()
    assert sum(json.loads(line)["type"] == "shot_added" for line in lines) == 12

from __future__ import annotations

import unicodedata

import pytest

from promptctl.context.card import ClassEntry
from promptctl.data.names import check_names, check_tokens, meant_by, prompt_form, readable, unread
from promptctl.errors import DatasetError

COMPOSED, APART = (unicodedata.normalize(form, "Émeu") for form in ("NFC", "NFD"))
GERMAN = "Gänseblümchen, Löwenzahn, Öl, Müll, Äpfel, Frühstücksbrötchen, Straßenbahn, Käse, Kühe, Größe, Tür, grün"
FRENCH = (
    "Émeu, Mésange bleue, Hêtre, Châtaignier, Épicéa, œillet, Pâquerette, été, âne, Île, Noël, fraîche, Héron cendré"
)
LATIN = "Threskiornis aethiopicus, Dromaius novaehollandiae, Columba livia, Quercus robur, Xylocopa violacea, Larus 2"
ENGLISH = "emu, ibis, cat, A320, 707-320, Boeing 737, BMW X5, bird (small), T-shirt, café, crème brûlée, B, 2023 model"
FOREIGN = "朱鹭, 鸸鹋, 猫, ديك, حمام, голубь, эму, κότα, חתול, मोर, ねこ, 고양이, แมว"


def entries(*names):
    return tuple(ClassEntry(i, name, readable(name)) for i, name in enumerate(names))


@pytest.mark.parametrize(
    "two", [("Emu", "emu"), (COMPOSED, APART), ("grey  emu", "grey emu"), ("grey_emu", "grey emu")]
)
def test_names_that_a_prompt_says_alike_are_refused(two):
    with pytest.raises(DatasetError) as refused:
        check_names(entries(*two))
    one, other = map(ascii, two)  # which tells apart what looks the same, and leaves the others as they are
    assert str(refused.value) == f"the prompt would call both {one} and {other} '{readable(two[1])}'"


@pytest.mark.parametrize("two", [("1", "１"), ("king's bird", "king’s bird"), ("bird1", "bird 1"), ("a&amp;b", "a&b")])
def test_names_that_become_the_same_tokens_are_refused(two, clip):
    check_names(entries(*two))
    with pytest.raises(DatasetError) as refused:
        check_tokens(entries(*two), clip[2])
    assert str(refused.value) == f"the prompt would call both '{two[0]}' and '{two[1]}' '{two[1]}'"
    check_tokens(entries("été", "ete", "king", "kings bird"), clip[2])


def test_a_name_that_is_no_text_is_refused():
    with pytest.raises(DatasetError) as refused:
        check_names(entries("caf\udce9", "ibis"))
    assert str(refused.value) == "the class 'caf\\udce9' is not called in UTF-8, so nobody could read it again"


def test_a_label_means_its_class_in_any_form(clip):
    classes = (
        ClassEntry(0, APART, APART),
        ClassEntry(1, "tshirt", "T-shirt", ("tee",)),
        ClassEntry(2, "king’s_bird", "x"),
    )
    labels = [COMPOSED, "émeu", "T-SHIRT", "tee", "tshirt", "cow"]
    assert meant_by(labels, classes) == {COMPOSED: 0, "émeu": 0, "T-SHIRT": 1, "tee": 1, "tshirt": 1}
    assert meant_by(["King's bird", "cow"], classes) == {}
    assert meant_by(["King's bird", "cow"], classes, clip[2]) == {"King's bird": 2}


def test_a_word_that_means_two_classes_means_none():
    assert meant_by(["EMU", "emu"], entries("Emu", "emu")) == {"emu": 1}


def test_names_that_look_the_same_are_told_apart_in_the_message():
    with pytest.raises(DatasetError) as refused:
        check_names([ClassEntry(0, "\u200bemu", "\u200bemu"), ClassEntry(1, "emu", "emu")])
    assert str(refused.value) == "the prompt would call both '\\u200bemu' and 'emu' 'emu'"


def test_the_form_in_a_prompt_is_one_without_case_and_double_blanks():
    assert prompt_form(" " + APART.upper() + "  x ") == prompt_form(COMPOSED + " x")


@pytest.mark.parametrize("names", [GERMAN, FRENCH, LATIN, ENGLISH])
def test_names_of_european_languages_are_read(names, clip):
    assert unread(entries(*names.split(", ")), clip[2]) == []


@pytest.mark.parametrize("name", [*FOREIGN.split(", "), "n01514668", "7", "12", "0.5", "1_2"])
def test_names_that_say_nothing_to_the_tower_are_told(name, clip):
    assert unread(entries(name, "emu"), clip[2]) == [readable(name)]

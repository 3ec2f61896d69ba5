from __future__ import annotations

import unicodedata

import pytest

from promptctl.context.card import ClassEntry
from promptctl.data.names import check_names, check_tokens, meant_by, near_names, prompt_form, readable, unread
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


NEAR = """Robin|robin, ROBIN|robin, Robins|robin, robin|Robins, tern|terns, gulls|Gull, bus|buses, glass|glasses
fox|Foxes, potato|potatoes, church|churches, berry|berries, Leaves|leaf, knife|knives, wolf|wolves
fireman|firemen, quiz|quizzes, goose|geese, mice|mouse, child|children, ox|oxen, cactus|cacti, larva|larvae
oasis|oases, chateau|châteaux, cheval|chevaux, sea gull|sea gulls, birds of prey|bird of prey, sea_gulls|seagull
house sparrows|House-Sparrow, light_green|light-green, light.green|light green, lightgreen|light green
Light  Green|light_green, T-shirt|tshirt, t_shirts|T-Shirt, king's bird|kings bird, king’s bird|king's bird
larus2|Larus 2, Larus_2|larus2, A 320|a320, 707-320|707.320, BMW X5|bmw-x-5, Émeu|emeu, émeu|Émeu, cafe|café
Gans|Gäns, ﬁnch|finch, ｅｍｕ|emu, ２|2, emu\u200b|emu, Straße|strasse, İbis|ibis, ガン|ｶﾞﾝ, e\u0301meu|EMEU
1 euro|1 euros, Tour–Eiffel|tour eiffel"""
APART_STILL = """robin|robin hood, robin|robinia, tern|stern, bus|bust, glass|grass, princes|princess, mars|mare
a|as, i|is, 1990|1990s, 15|1.5, 1-2|12, 747 400|747400, Larus 2|Larus 3, 2|20, cat|cart, owl|fowl, ant|aunt
ice|mice, ox|fox, ハハ|ババ, й|и, 猫|犬, …|—, ibis|ibes, A320|A321, red|red wine, wren|wrens nest, car|cares
one|ones self, emu|ému2"""


def pairs_of(text):
    return [tuple(pair.split("|")) for line in text.splitlines() for pair in line.split(", ")]


@pytest.mark.parametrize(("label", "known"), pairs_of(NEAR))
def test_nearly_the_same_name_is_near_either_way(label, known):
    assert near_names([label], [ClassEntry(0, known, "x")]) == {label: known}
    assert near_names([known], [ClassEntry(0, "x", label)]) == {known: "x"}, "a name counts as a label does"


@pytest.mark.parametrize(("label", "known"), pairs_of(APART_STILL))
def test_another_name_is_not_near(label, known):
    assert near_names([label], [ClassEntry(0, known, "x")]) == {}
    assert near_names([known], [ClassEntry(0, label, "x")]) == {}


def test_what_a_class_is_called_exactly_is_that_class():
    classes = [ClassEntry(0, "light_green", "light green", ("lime", "Limes")), ClassEntry(1, APART, "emu")]
    assert near_names(["light_green", "light green", "lime", "Limes", COMPOSED, "emu"], classes) == {}
    near = near_names(["light-green", "Lime", "emus", "cow"], classes)
    assert near == {"light-green": "light_green", "Lime": "light_green", "emus": APART}


def test_the_nearer_of_two_classes_is_meant():
    classes = [ClassEntry(0, "gulls", "gulls"), ClassEntry(1, "gull", "gull")]
    assert near_names(["Gull", "GULLS"], classes) == {"Gull": "gull", "GULLS": "gulls"}

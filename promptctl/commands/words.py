"""Words: a zero-shot classifier of class names that somebody types, which is not stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.clip import templates
from promptctl.commands.backbones import library_needed
from promptctl.context.card import ClassEntry
from promptctl.data import names, remarks
from promptctl.errors import BadSetting, DatasetError, TemplateTooLong, WrongOption

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.classification.classifier import Classifier
    from promptctl.clip.text_tower import TextTower
    from promptctl.encoding.encoder import ImageEncoder

_EXAMPLE = '--words "emu, ibis, flamingo"'


def class_words(words: str | Sequence[str]) -> tuple[ClassEntry, ...]:
    """The classes that are typed, in their order, labelled as they are called.

    words    with commas between them, or one by one
    raises   BadSetting for what is no text, WrongOption for a word that is missing or there twice, and for one alone
    """
    parts = words.split(",") if isinstance(words, str) else words
    if not isinstance(parts, (list, tuple)):
        raise BadSetting("words", words, "text, or a list of it", "emu, ibis")
    found = [" ".join(checks.text("words", word, "emu").split()) for word in parts]
    if "" in found:
        raise WrongOption(f"word {found.index('') + 1} of {len(found)} in --words is empty", _EXAMPLE)
    first: dict[str, str] = {}
    for word in found:
        if other := first.get(names.prompt_form(word)):
            twice = f"'{word}' twice" if other == word else f"'{other}' and '{word}', which are one to a prompt"
            raise WrongOption(f"--words has {twice}", "give every class a word of its own")
        first[names.prompt_form(word)] = word
    if len(found) < 2:
        raise WrongOption(f"--words has one class, '{found[0]}', and there is nothing to tell it from", _EXAMPLE)
    return tuple(ClassEntry(i, word, word) for i, word in enumerate(found))


def classifier_of(
    classes: tuple[ClassEntry, ...], template: str, model: str, device: str
) -> tuple[Classifier, ImageEncoder]:
    """What a backbone makes of the words, and the image side of it.

    raises   DatasetError and its kind for names or a template too long, BackboneError and its kind
    """
    from promptctl.classification.classifier import Classifier

    with library_needed(model):
        from promptctl.clip.registry import ensure_available

        ensure_available(model)
        from promptctl.clip.backbone import Backbone

    backbone = Backbone(model, device)
    _check_tokens(classes, backbone.tower)
    texts = _text_features([entry.name for entry in classes], template, backbone.tower)
    return Classifier(texts, backbone.logit_scale, classes, share=0.0), backbone.encoder


def _text_features(words: Sequence[str], template: str, tower: TextTower) -> NDArray[np.float32]:
    """(C, E) unit rows; TemplateTooLong for a word that does not fit."""
    try:
        return templates.text_features(tower, words, template)
    except TemplateTooLong as error:
        error.hint = "shorter --words, or a shorter --template"
        raise


def _check_tokens(classes: Sequence[ClassEntry], tower: TextTower) -> None:
    """DatasetError for words that are the same to the tower; those it can hardly read are warned of."""
    try:
        names.check_tokens(classes, tower)
    except DatasetError as error:
        error.hint = "leave one of them out of --words"
        raise
    if unread := names.unread(classes, tower):
        said = ", ".join(f"'{word}'" for word in unread[:5]) + (", …" if len(unread) > 5 else "")
        remarks.say([f"{said} {'says' if len(unread) == 1 else 'say'} little to the text tower"])

"""How reports phrase things: counts, sizes, shares, lists, a card in a few lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from pathlib import Path

from promptctl.context.card import Card, Chosen, Method
from promptctl.data.remarks import not_photos
from promptctl.report.base import Row, SkippedFile

_CHOICES_SHOWN = 3
_NOT_CHOSEN = ("zero-shot", "template", "parent")  # what a head is mixed with afterwards


def next_lines(*commands: str) -> list[str]:
    return [f"{'     ' if i else 'next:'} {command}" for i, command in enumerate(commands)]


def card_lines(context: str, card: Card, path: Path, n_bytes: int) -> list[str]:
    """What a context is, one fact per line."""
    return [
        f"{context}: {len(card.classes)} classes: {listed(card.names)}",
        f"backbone:  {card.backbone.name} (fingerprint {card.backbone.fingerprint[:12]})",
        f"vectors:   {_vectors(card)}",
        *([f"visual:    {visual_tokens(card.method)}"] if card.method.visual_tokens else []),
        *(["visual:    a projection of its own, which the image tower ends in"] if card.method.projection else []),
        f"learned:   {card.method.learner}, {_pace(card)}",
        *([f"head:      {_head(card)}"] if card.head else []),
        *([f"chosen:    {chosen_line(card.chosen, [part.kind for part in card.head])}"] if card.chosen else []),
        f"shots:     {_shots(card)}",
        f"template:  {card.zero_shot_template}",
        f"accuracy:  {_score_line(card)}",
        *([f"parent:    {card.parent[:12]}"] if card.parent else []),
        f"file:      {path} ({size(n_bytes)}, sha256 {card.sha256[:12]})",
    ]


def _vectors(card: Card) -> str:
    method = card.method
    if method.by_template:
        which = "classes without photos are, and a head the others" if card.head else "classes are, new ones too"
        return f"none: the template says what {which}"
    if not method.context_tokens:
        return "none: one weight vector per class, which does not generalise to new classes"
    kind = "class-specific" if method.class_specific else "shared by all classes"
    place = f"class name {name_place(method.position)}{_start(card)}"
    return f"{method.context_tokens} of text width {card.backbone.text_width}, {kind}, {place}"


def visual_tokens(method: Method) -> str:
    """How many are where."""
    tokens, depth = number_of(method.visual_tokens, "token"), method.visual_depth
    blocks = "the first block" if depth == 1 else f"each of the first {depth} blocks"
    return f"{tokens} in {blocks} of the image tower"


def _head(card: Card) -> str:
    return " + ".join(part.kind if part.share == 1 else f"{part.share:.3g} {part.kind}" for part in card.head)


def chosen_line(chosen: Chosen, parts: Sequence[str]) -> str:
    """What answers, how often folds found it and the best others right, and why it is none of these.

    parts   what its head is mixed of
    """
    own = [part for part in parts if part not in _NOT_CHOSEN]  # none where zero-shot answers in place of all of them
    name = " of ".join(filter(None, ("the mean", _and(own)))) if chosen.name == "mean" else chosen.name
    others = sorted((one for one in chosen.scores if one.name != chosen.name), key=lambda one: -one.accuracy)
    best = [f"{one.name} {percent(one.accuracy)}" for one in others[:_CHOICES_SHOWN]]
    more = ["…"] if len(others) > len(best) else []
    of_folds = f"{chosen.by} give it {', '.join([percent(chosen.score), *best, *more])}" if chosen.scores else ""
    because = "; ".join(filter(None, (of_folds, chosen.why)))
    return f"{name}: {because}" if because else name


def _and(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def _shots(card: Card) -> str:
    if card.is_imported:
        return "not known"
    asked = "all images" if card.shots.asked is None else f"{card.shots.asked} per class"
    return f"{asked}: {card.shots.train} images learned from, {card.shots.held_out} held out"


def name_place(position: str) -> str:
    return "in the middle" if position == "middle" else f"at the {position}"


def _start(card: Card) -> str:
    if card.is_imported:
        return ""
    return f", from '{card.method.init}'" if card.method.init else ", from noise"


def _pace(card: Card) -> str:
    method = card.method
    if card.is_imported:
        return (
            f"by the original code and imported, {f'{method.epochs} epochs' if method.epochs else 'epochs not known'}"
        )
    if method.by_template and card.head and not method.steps:
        return "in an earlier version; the head is of all photos"
    how = f"{method.recipe} recipe, " if method.learner == "coop" else ""
    extra = f", {method.views} crops per photo" if method.views else ""
    extra += f", anchor {method.anchor:g}" if method.anchor else ""
    extra += ", mean of the late epochs" if method.average else ""
    return f"{how}{method.epochs} epochs, {method.steps} steps, lr {method.lr:g}, seed {method.seed}{extra}"


def _score_line(card: Card) -> str:
    if card.is_imported:
        return "not measured here"
    if card.score is None:
        return "not measured, no image was left over"
    score = card.score
    on = counted_images(score.images, score.on)
    return f"{percent(score.accuracy)} on {on}, zero-shot {percent(score.zero_shot_accuracy)}"


def counted_images(count: int, which: str) -> str:
    """ "the 12 images held out", "the 1 image of test/"."""
    return f"the {count:,} {which.replace('images', 'image', 1) if count == 1 else which}"


def retokenised_lines(names: Sequence[str], shown: int = 5) -> list[str]:
    """For which class names the two programs use other tokens."""
    if not names:
        return []
    some = ", ".join(f"'{name}.'" for name in names[:shown]) + (", …" if len(names) > shown else "")
    return [
        f"the original code tokenises the full stop together with the end of {some}, promptctl apart: "
        "expect a difference"
    ]


def joined(names: Sequence[str]) -> str:
    """`coop, clap and zero-shot`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def number_of(count: int, thing: str) -> str:
    """ "1 photo", "2 photos", "1,279 photos"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def first_few(names: Sequence[str], shown: int = 3) -> str:
    """`emu, ibis, kiwi, …`, for a line of `log`, and for a header, which has room for the classes once."""
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")


def listed(names: Sequence[str], shown: int = 12) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def counted(counts: Sequence[tuple[str, int]], available: int = 100) -> str:
    """`120 emu, 90 ibis`, as many as two lines hold, and how many more there are."""
    said = [f"{count:,} {name}" for name, count in counts]
    shown = max(1, sum(total <= available for total in accumulate(len(part) + 2 for part in said)))
    more = len(said) - shown
    return ", ".join(said[:shown]) + (f" and {more} more class{'' if more == 1 else 'es'}" if more else "")


def error_records(skipped: Sequence[SkippedFile]) -> list[Row]:
    return [item.record() for item in skipped]


def skipped_lines(skipped: Sequence[SkippedFile], shown: int = 20) -> list[str]:
    """How many files were skipped, and the first few of them, one per line."""
    if not skipped:
        return []
    count = f"{len(skipped)} skipped:"
    more = [f"  and {len(skipped) - shown} more, all in --json"] if len(skipped) > shown else []
    return [count, *(f"  {item.path}: {item.reason}" for item in skipped[:shown]), *more]


def passed_over_lines(counts: Mapping[str, int]) -> list[str]:
    return [f"passed over: {not_photos(counts)}"] if counts else []


def blended(share: float, chosen: bool) -> str:
    if share == 1:
        return " without zero-shot, as cross-validation chose," if chosen else ""
    return f" blended with zero-shot ({share:g} learned{', as cross-validation chose' if chosen else ''})"


def local_time(iso: str) -> str:
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")


def spread(mean: float, std: float | None) -> str:
    return f"{100 * mean:.1f}" if std is None else f"{100 * mean:.1f} ± {100 * std:.1f}"


def short_origin(origin: str) -> str:
    """Where something was fetched from, with no more of the commit than tells it from others."""
    place, at, commit = origin.rpartition("@")
    return f"{place}{at}{commit[:12]}"


def percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.1f} %"


def ordinal(number: int) -> str:
    teen = 10 < number % 100 < 14
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def size(n_bytes: int) -> str:
    value = float(n_bytes)
    for unit in ("B", "KB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"

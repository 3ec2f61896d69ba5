"""The names of baselines, known before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from promptctl.errors import BadSetting

BASELINES = (
    "zero-shot",  # the context's own template
    "ensemble-7",  # CLIP's seven selected templates, and the context's own
    "ensemble-80",  # all of CLIP's
    "linear-probe",  # logistic regression on the stored shots
    "nearest-mean",  # the mean of the stored shots of each class
    "ridge",  # ridge regression on them
    "clap",  # CLAP on them
    "coop",  # the context without its head
)
ANOTHER = "coop:"  # and NAME, NAME@VERSION or a file


def checked(asked: object) -> tuple[str, ...]:
    """The names that were asked for, each once: a list, or a text with commas.

    raises   BadSetting for one that does not exist
    """
    parts = asked.split(",") if isinstance(asked, str) else asked
    if not isinstance(parts, Sequence) or not all(isinstance(part, str) for part in parts):
        raise BadSetting("baselines", asked, _wanted(), BASELINES[0])
    names = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    for name in names:
        if name not in BASELINES and (not name.startswith(ANOTHER) or name == ANOTHER):
            raise BadSetting("baselines", name, _wanted(), "zero-shot,linear-probe")
    return names


def _wanted() -> str:
    return f"some of {', '.join(BASELINES)} and {ANOTHER}CONTEXT"

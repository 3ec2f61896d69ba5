"""Models: which backbones are here, and fetching one."""

from __future__ import annotations

from promptctl.commands.backbones import library_needed
from promptctl.report import (
    ModelRow,
    ModelsReport,
    PulledReport,
)


def list_models(*, everything: bool = False) -> ModelsReport:
    """The embedded backbone, those on this machine, and a few worth knowing.

    everything   all pairs of architecture and weights that open_clip lists as well
    """
    from promptctl.clip.registry import MINI, RECOMMENDED, every_pair, on_this_machine

    here = {MINI, *on_this_machine()}
    known = [_row(r.name, here, r.joint_width, r.parameters, r.download_bytes, r.good_for) for r in RECOMMENDED]
    listed = every_pair() if everything else ()
    others = sorted({*here, *listed} - {row.name for row in known})
    return ModelsReport((*known, *(_row(name, here) for name in others)))


def _row(
    name: str,
    here: set[str],
    width: int | None = None,
    parameters: int | None = None,
    download: int | None = None,
    good_for: str | None = None,
) -> ModelRow:
    from promptctl.clip.registry import described
    from promptctl.clip.text_files import extra_for
    from promptctl.clip.towers import unsupported_reason

    about = described(name) or {}
    needs, refused = (extra_for(about), unsupported_reason(about)) if about else (None, None)
    return ModelRow(name, name in here, about.get("embed_dim", width), parameters, download, good_for, needs, refused)


def pull_model(name: str) -> PulledReport:
    """Download a backbone's weights, unless they are here."""
    from promptctl.clip.registry import ensure_available, locate

    with library_needed(name):
        ensure_available(name)
        found = locate(name)
    return PulledReport(found.name, found.place)

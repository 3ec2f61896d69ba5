"""Models: which backbones are here, and fetching one."""

from __future__ import annotations

from promptctl.commands.backbones import library_needed
from promptctl.report import (
    ModelRow,
    ModelsReport,
    PulledReport,
)


def list_models() -> ModelsReport:
    """The embedded backbone, those on this machine, and a few worth knowing."""
    from promptctl.clip.registry import MINI, RECOMMENDED, on_this_machine

    here = {MINI, *on_this_machine()}
    known = [
        ModelRow(r.name, r.name in here, r.joint_width, r.parameters, r.download_bytes, r.good_for) for r in RECOMMENDED
    ]
    others = sorted(here - {row.name for row in known})
    return ModelsReport((*known, *(ModelRow(name, True, None, None, None, None) for name in others)))


def pull_model(name: str) -> PulledReport:
    """Download a backbone's weights, unless they are here."""
    from promptctl.clip.registry import ensure_available, locate

    with library_needed(name):
        ensure_available(name)
        found = locate(name)
    return PulledReport(found.name, found.place)

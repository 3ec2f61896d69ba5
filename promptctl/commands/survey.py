"""Survey: what photos of camera traps do not say of where and when they were taken, as somebody says it."""

from __future__ import annotations

import re
from datetime import timedelta, timezone, tzinfo

from promptctl import checks
from promptctl.errors import BadSetting
from promptctl.report import Survey

_OFFSET = re.compile(r"([+-]?)(\d\d?):?([0-5]\d)", re.ASCII)


def survey(deployment: str | None = None, zone: str | None = None) -> Survey:
    """What a format wants to know beside photos.

    deployment   an identifier for all photos; None: of each its folder
    zone         of cameras that do not say theirs: +02:00, UTC or Europe/Brussels; None: UTC is written, and said
    raises       BadSetting
    """
    named = None if deployment is None else checks.text("deployment", deployment, "site-1").strip()
    if named == "":
        raise BadSetting("deployment", deployment, "an identifier", "site-1")
    return Survey(named, None if zone is None else _zone(zone))


def _zone(said: str) -> tzinfo:
    text = checks.text("timezone", said, "+02:00").strip()
    if found := _OFFSET.fullmatch(text):
        ahead = timedelta(hours=int(found[2]), minutes=int(found[3]))
        if ahead < timedelta(hours=24):
            return timezone(-ahead if found[1] == "-" else ahead)
    elif text.upper() in ("UTC", "Z"):
        return timezone.utc
    else:
        from zoneinfo import ZoneInfo

        try:
            return ZoneInfo(text)
        except (ValueError, OSError, KeyError):  # no such zone, a path, a machine without a table of them
            pass
    raise BadSetting("timezone", said, "an offset from UTC or a name such as Europe/Brussels", "+02:00")

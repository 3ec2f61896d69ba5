"""Agents: programs that drive the command line, known by what they set in the shells they open."""

from __future__ import annotations

import os
from collections.abc import Mapping

from promptctl import render

# the two that agents agreed on, then those of single ones; any value but an empty one says that an agent is there
VARIABLES = (
    "AI_AGENT",
    "AGENT",
    "ANTIGRAVITY_AGENT",
    "AUGMENT_AGENT",
    "CLAUDECODE",
    "CLAUDE_CODE",
    "CODEX_CI",
    "CODEX_SANDBOX",
    "CODEX_THREAD_ID",
    "COPILOT_CLI",
    "CURSOR_AGENT",
    "GEMINI_CLI",
    "OPENCODE",
)
SWITCH = "PROMPTCTL_AGENT"
_OFF = ("0", "no", "false", "off")


def is_driven(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether an agent drives: PROMPTCTL_AGENT decides where it is set, 0 says no; else an agent's own variable."""
    if switch := environment.get(SWITCH, "").strip():
        return switch.lower() not in _OFF
    return any(environment.get(name, "").strip() for name in VARIABLES)


def drives() -> None:
    """An agent reads from now on: no bars of ours, and none of the library that downloads."""
    render.a_program_reads(True)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # read when that library is imported

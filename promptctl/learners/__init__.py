"""The learners: name → what it is and where it lives. A new one is one file here and one line below."""

from __future__ import annotations

LEARNERS = {
    "coop": ("Context Optimization (Zhou et al., IJCV 2022)", "promptctl.learners.coop"),
}

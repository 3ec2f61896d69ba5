"""The learners: name → what it is and where it lives. A new one is one file here and one line below."""

from __future__ import annotations

LEARNERS = {
    "coop": ("Context Optimization (Zhou et al., IJCV 2022): a context", "promptctl.learners.coop"),
    "clap": ("CLAP (Silva-Rodriguez et al., CVPR 2024): weights of a fixed class list", "promptctl.learners.clap"),
    "linear-probe": ("logistic regression on image features, the baseline", "promptctl.learners.linear_probe"),
}

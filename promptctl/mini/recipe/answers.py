"""Write what mini needs for answering beside its weights, so that nobody's first answer waits for PyTorch: answers.zip.

To be run again when the weights, the preprocessing or `kept.LAYOUT` change; a test holds it to what is translated now.
"""

from __future__ import annotations

from promptctl.clip import kept
from promptctl.clip.backbone import Backbone
from promptctl.clip.keeping import Parts, described
from promptctl.clip.registry import MINI, MINI_FOLDER


def shipped() -> tuple[kept.Facts, Parts]:
    """As it is kept of any backbone, but believed by the content of its files, and by every OpenVINO."""
    facts, parts = described(Backbone(MINI, "cpu"))
    weights = str(facts["weights"]).rpartition("/")[2]
    return {**facts, "place": "", "weights": weights, "files": kept.digests(MINI_FOLDER), "openvino": None}, parts


if __name__ == "__main__":
    kept.write_archive(kept.SHIPPED, *shipped())
    print(f"{kept.SHIPPED}: {kept.SHIPPED.stat().st_size:,} bytes")

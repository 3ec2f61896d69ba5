"""Outgoing: a context as it leaves this machine, without what is nobody else's business."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

from promptctl.clip.registry import without_folder
from promptctl.errors import HubClash

if TYPE_CHECKING:
    from promptctl.context.card import Card
    from promptctl.context.context import Context

FILE = "context.safetensors"
LARGEST = 512 << 20  # bytes of a context that is fetched; a thousand classes with vectors of their own take a tenth


def check_size(data: bytes, context: str) -> None:
    """HubClash for a context that nobody could fetch."""
    if len(data) > LARGEST:
        raise HubClash(
            f"{context} has {len(data) >> 20} MB, and pull takes {LARGEST >> 20} MB", "fewer classes or shots"
        )


@dataclass(frozen=True, eq=False)
class Outgoing:
    """A context file for other people."""

    data: bytes
    card: Card
    shots: int  # photos whose features and checksums are in it

    @cached_property
    def sha256(self) -> str:
        return sha256(self.data).hexdigest()

    @staticmethod
    def of(context: Context, *, shots: bool) -> Outgoing:
        """A context without the path of its backbone, without what its changes were called, and without its shots.

        shots   leave them in, with the checksums of the photos
        """
        from promptctl.context.card import card_of, header_length

        kept = context if shots else context.without_shots()
        backbone = replace(kept.card.backbone, name=without_folder(kept.card.backbone.name))
        change = replace(kept.card.change, words="") if kept.card.change else None
        data = replace(kept, card=replace(kept.card, backbone=backbone, change=change)).to_bytes()
        card = card_of(data[8 : 8 + header_length(data[:8], len(data), FILE)], FILE)
        return Outgoing(data, card, len(kept.shots))

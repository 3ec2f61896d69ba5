"""Update: what a person wants of new photos for a context that exists, and how their features join the stored ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.context.card import Relabelled
from promptctl.context.guard import MAX_FORGETTING
from promptctl.errors import BadSetting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.context.context import ShotTable

CONFLICTS = ("relabel", "keep", "error")


@dataclass(frozen=True)
class UpdateSettings:
    """What to do with photos for a context that exists.

    into              store the version under another name, which it founds; None: the same name
    only_known        refuse folders that are no class of the context
    map               folder → class, for folders that are called something else
    on_conflict       of photos that are stored under another class: relabel, keep (as stored) or error; None: error
    force_new_class   folders that look like a known class are classes of their own
    polish            class-specific vectors learn a little more all together, those of classes without new photos too
    max_forgetting    share of the held-out images that may be lost before the version is refused, from 0 to 1
    force             store the version although the guard refuses it; the card says so
    shots_kept        images of each class that are kept to learn on from; None: all
    raises            BadSetting
    """

    into: str | None = None
    only_known: bool = False
    map: Mapping[str, str] = field(default_factory=dict)
    on_conflict: str | None = None
    force_new_class: bool = False
    polish: bool = False
    max_forgetting: float = MAX_FORGETTING
    force: bool = False
    shots_kept: int | None = None

    def __post_init__(self) -> None:
        for name in ("only_known", "force_new_class", "polish", "force"):
            checks.flag(name, getattr(self, name))
        if self.into is not None:
            checks.string("into", self.into, "birds2")
        words = [*self.map, *self.map.values()] if isinstance(self.map, Mapping) else [None]
        if not all(isinstance(word, str) for word in words):
            raise BadSetting("map", self.map, "the class of each folder, in text,", "robins=robin")
        if self.on_conflict is not None:
            checks.one_of("on_conflict", self.on_conflict, CONFLICTS)
        checks.number("max_forgetting", self.max_forgetting, 0, 1, MAX_FORGETTING)
        if self.shots_kept is not None:
            checks.whole("shots_kept", self.shots_kept, 1, checks.MOST, 16)


def joined(old: ShotTable, new: ShotTable) -> ShotTable:
    """Stored images and new ones."""
    import numpy as np

    columns = old.columns()
    return replace(old, **{name: np.concatenate([column, new.columns()[name]]) for name, column in columns.items()})


def relabelled(
    shots: ShotTable, target: Mapping[str, int], *, of: int | None = None
) -> tuple[ShotTable, tuple[Relabelled, ...]]:
    """The images with other classes, by sha256, each content once in a class; and which of them changed.

    target   sha256 → class id
    of       the only class whose images change; None: any
    """
    import numpy as np

    ids, changed = shots.class_ids.astype(np.int64), []
    for row, (sha, before) in enumerate(zip(shots.hashes, ids.tolist(), strict=True)):
        after = target.get(sha, before)
        if after != before and of in (None, before):
            changed.append(Relabelled(sha, before, after))
            ids[row] = after
    return moved(shots, ids), tuple(changed)


def moved(shots: ShotTable, ids: NDArray[np.int64], became: Mapping[int, int] | None = None) -> ShotTable:
    """The images with other classes, each content once in a class.

    ids      (N,) of the classes they are of now
    became   what classes that are no more are now, for what was seen in images; where that is not known: -1
    """
    import numpy as np

    seen: set[tuple[bytes, int]] = set()
    stays = np.ones(len(shots), bool)
    for i, (sha, id) in enumerate(zip(shots.sha256, ids.tolist(), strict=True)):
        stays[i] = (sha.tobytes(), id) not in seen
        seen.add((sha.tobytes(), id))
    predicted = [(became or {}).get(int(id), int(id)) for id in shots.predicted]
    table = replace(shots, class_ids=ids.astype(np.int32), predicted=np.array(predicted, np.int32))
    return table.only(stays)


def thinned(shots: ShotTable, limit: int | None) -> ShotTable:
    """No more than so many images of each class to learn from, chosen by herding; those held out stay.

    Herding (Welling, 2009; Rebuffi et al., iCaRL, CVPR 2017): each image brings the mean of those chosen as near as it
    can to the mean of all, so the same images are chosen on any machine.
    """
    import numpy as np

    if limit is None:
        return shots
    keep = np.ones(len(shots), bool)
    for id in np.unique(shots.class_ids):
        own = np.flatnonzero((shots.class_ids == id) & (shots.held_out == 0))
        if len(own) > limit:
            keep[own] = False
            keep[own[herded(shots.features[own].astype(np.float64), limit)]] = True
    return shots.only(keep)


def herded(rows: NDArray[np.float64], count: int) -> list[int]:
    """Which rows (N, E) to keep, in the order they are chosen."""
    import numpy as np

    mean, total = rows.mean(0), np.zeros(rows.shape[1])
    chosen: list[int] = []
    for n in range(1, count + 1):
        distance = np.linalg.norm(mean - (total + rows) / n, axis=1)
        distance[chosen] = np.inf
        chosen.append(int(np.argmin(np.round(distance, 9))))
        total += rows[chosen[-1]]
    return chosen

"""Feature files: image features with their paths and hashes, for other programs, as .npz or .parquet."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from promptctl.context.card import BackboneId
    from promptctl.encoding.pipeline import Features

Columns = Mapping[str, Sequence[str]]  # beside the features, one value for each image


def to_npz(features: Features, columns: Columns, backbone: BackboneId) -> bytes:
    """Arrays: features (N, E), paths, sha256 and the columns (N,), backbone and fingerprint; none needs pickle."""
    out = io.BytesIO()
    texts = {"paths": list(map(str, features.paths)), "sha256": features.sha256, **columns}
    facts = {"backbone": backbone.name, "fingerprint": backbone.fingerprint}
    arrays: dict[str, Any] = {name: np.array(values, dtype=np.str_) for name, values in {**texts, **facts}.items()}
    np.savez(out, features=features.vectors, **arrays)
    return out.getvalue()


def to_parquet(features: Features, columns: Columns, backbone: BackboneId) -> bytes:
    """Columns: path, sha256, features (a list of E float32) and the others; backbone and fingerprint as metadata."""
    import pyarrow as pa
    from pyarrow import parquet

    names = {"labels": "label", "splits": "split"}
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(features.vectors.ravel()), features.vectors.shape[1])
    table = pa.table(
        {
            "path": [in_utf8(os.fspath(path)) for path in features.paths],
            "sha256": list(features.sha256),
            **{names[name]: list(values) for name, values in columns.items()},
            "features": vectors,
        },
        metadata={"backbone": backbone.name, "fingerprint": backbone.fingerprint},
    )
    out = io.BytesIO()
    parquet.write_table(table, out)
    return out.getvalue()


def in_utf8(path: str) -> str:
    """A path may hold any bytes, and such a file holds text only."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


WRITERS: Mapping[str, Callable[[Features, Columns, BackboneId], bytes]] = {".npz": to_npz, ".parquet": to_parquet}

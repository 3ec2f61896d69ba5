"""Repository: what a hub has under an address, and the few things that are done there, in the calls of every
huggingface_hub since 0.23.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptctl import __version__
from promptctl.clip.network import offline_reason
from promptctl.errors import HubFailed, HubUnreachable, NoHubToken
from promptctl.hub.address import Address
from promptctl.hub.incoming import Incoming, Look, TooMuch
from promptctl.hub.refusals import has_token, in_words

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAIN = "main"
_PATIENCE = 30.0  # seconds, for an answer to a question; an upload may take its time


@dataclass(frozen=True)
class State:
    """What is there at a revision."""

    commit: str
    private: bool
    files: Mapping[str, str]  # path → sha256, or the hash that git has for what is not large

    def has(self, path: str, data: bytes) -> bool:
        """Whether a file is there, as it is here."""
        return self.files.get(path) in (hashlib.sha256(data).hexdigest(), _git_hash(data))


class Repository:
    """A repository of a hub, whether it is there or not; HF_ENDPOINT says which hub.

    address   OWNER/NAME, and the revision that is read or the branch that is written to
    command   what a person types to do this again
    raises    each method HubError and its kinds
    """

    def __init__(self, address: Address, command: str) -> None:
        self.address = address
        self._command = command

    @property
    def url(self) -> str:
        """Its page."""
        return f"{_api().endpoint}/{self.address.repository}"

    def check_reachable(self) -> None:
        """HubUnreachable where there is no network, or it is not to be used."""
        if reason := offline_reason():
            raise HubUnreachable(self.address.repository, reason, self._command)

    def check_token(self) -> None:
        """NoHubToken; whether the one there is may write, the hub says later."""
        if not has_token():
            raise NoHubToken(self.address.repository)

    # ---------------------------------------------------------------- reading

    def state(self) -> State:
        """What is there at the revision of the address."""
        return self._state(self.address.revision)

    def main_state(self) -> State:
        """What is in the main branch, with which a new one begins."""
        return self._state(None)

    def _state(self, revision: str | None) -> State:
        with self._asking():
            found = _api().model_info(
                self.address.repository, revision=revision, files_metadata=True, timeout=_PATIENCE
            )
        files = {one.rfilename: _hash_of(one) for one in found.siblings or ()}
        return State(str(found.sha), bool(found.private), files)

    def tags(self) -> Mapping[str, str]:
        """Tag → commit."""
        with self._asking():
            refs = _api().list_repo_refs(self.address.repository)
        return {tag.name: tag.target_commit for tag in refs.tags}

    def fetch(self, path: str, state: State, *, at_most: int, look: Look | None = None) -> bytes:
        """One file of a state, in memory and nowhere else, and checked against the hash that the hub has of it.

        at_most   bytes
        look      as in Incoming
        raises    NotShared where it is not there
        """
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.file_download import http_get

        repository = self.address.repository
        with self._asking(path):
            url = hf_hub_url(repository, path, revision=state.commit, endpoint=_api().endpoint)
            told = get_hf_file_metadata(url, timeout=_PATIENCE, **_us())
            if told.size is not None and told.size > at_most:
                raise self._too_large(path, at_most)
            incoming = Incoming(at_most, look)
            try:
                http_get(url, incoming, headers=_headers(), displayed_filename=path)
            except TooMuch:
                raise self._too_large(path, at_most) from None
        data = incoming.getvalue()
        if state.files.get(path) and not state.has(path, data):  # not every hub says what it has
            raise HubFailed(repository, f"{path} is not what the hub said it would be", "try again")
        return data

    def _too_large(self, path: str, at_most: int) -> HubFailed:
        hint = f"hf download {self.address.repository} {path}   (then promptctl import FILE, if you trust it)"
        return HubFailed(self.address.repository, f"{path} is larger than {at_most >> 20} MB", hint)

    # ---------------------------------------------------------------- writing

    def create(self, *, private: bool) -> None:
        """A new repository; HubChanged where there is one by now."""
        with self._asking():
            _api().create_repo(self.address.repository, private=private)

    def create_branch(self) -> None:
        """The branch of the address, from the main one, unless it is there."""
        with self._asking():
            _api().create_branch(self.address.repository, branch=self.address.revision or MAIN, exist_ok=True)

    def commit(self, files: Mapping[str, bytes], message: str, *, after: str | None) -> str:
        """Write files in one commit, all or none, and return its hash.

        after    the commit that was looked at; HubChanged where another has come since
        """
        from huggingface_hub import CommitOperationAdd

        # what comes out of a stream is sent over HTTP by every version, for which no further program is needed
        add = [CommitOperationAdd(path, io.BytesIO(data)) for path, data in files.items()]
        with self._asking():
            done = _api().create_commit(
                self.address.repository,
                add,
                commit_message=message,
                revision=self.address.revision,
                parent_commit=after,
            )
        return str(done.oid)

    def tag(self, tag: str, commit: str) -> None:
        with self._asking():
            _api().create_tag(self.address.repository, tag=tag, revision=commit)

    @contextmanager
    def _asking(self, file: str = "") -> Iterator[None]:
        with in_words(self.address, self._command, self.url, file=file), _quiet():
            yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and the messages of the library, which a program of somebody else's may want afterwards."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
        logging,
    )

    level, hidden = logging.get_verbosity(), are_progress_bars_disabled()
    disable_progress_bars()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if not hidden:
            enable_progress_bars()


def _api() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(**_us())


def _us() -> dict[str, Any]:
    return {"library_name": "promptctl", "library_version": __version__}


def _headers() -> dict[str, str]:
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    return {**build_hf_headers(**_us()), "Accept-Encoding": "identity"}


def _hash_of(sibling: Any) -> str:
    """Of a large file its sha256, else what git calls it; both versions of the library have them in these places."""
    return str(sibling.lfs["sha256"] if sibling.lfs else sibling.blob_id or "")


def _git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()

"""Reach: the file system that a URL lies on, and what is said where it cannot be reached."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl.errors import ExtraMissing, NotReached
from promptctl.remote.urls import ONE_BY_ONE, is_remote

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from promptctl.remote.path import RemotePath

AT_ONCE = 32  # requests in flight: an answer takes tens of milliseconds, and nearly all of it is waiting


def filesystem(url: str | os.PathLike[str]) -> tuple[AbstractFileSystem, str]:
    """The file system that a URL lies on, and what it is called there.

    raises   ExtraMissing
    """
    text = os.fspath(url)
    scheme = text.partition("://")[0]
    try:
        from fsspec import get_filesystem_class

        kind = get_filesystem_class(scheme)  # not `url_to_fs`, to which a name with :: in it is several
        settings = kind._get_kwargs_from_urls(text)
        if scheme == "s3":
            settings |= {"config_kwargs": {"max_pool_connections": AT_ONCE}, "use_listings_cache": False}
        return kind(**settings), str(kind._strip_protocol(text))
    except ImportError as error:
        library = _library(error, scheme)
        missing = ExtraMissing(f"reading {scheme}://", library, "remote")
        if library not in _IN_THE_EXTRA:
            missing.hint = f"pip install {library}"
        raise missing from error


_IN_THE_EXTRA = ("fsspec", "s3fs", "gcsfs", "aiohttp", "requests", "botocore", "aiobotocore")


def _library(error: ImportError, scheme: str) -> str:
    names = (getattr(one, "name", None) for one in _causes(error))  # fsspec's own sentence names none
    return next((str(name).partition(".")[0] for name in names if name), scheme)


@contextmanager
def reached(url: RemotePath) -> Iterator[tuple[AbstractFileSystem, str]]:
    """What is said of a URL that cannot be reached is an OSError, whichever library found out, or NotReached."""
    with told(url):
        yield filesystem(url)


@contextmanager
def told(url: RemotePath) -> Iterator[None]:
    try:
        yield
    except (ExtraMissing, NotReached):
        raise
    except Exception as error:  # each library has errors of its own
        chain = list(_causes(error))
        if any(_is_about_credentials(one) for one in chain):
            raise NotReached(str(url), _sentence(error), _how_to_log_in(url)) from error
        if lost := next((one for one in chain if type(one).__name__ in _NO_CONNECTION), None):
            raise NotReached(str(url), _sentence(lost), how_to_look(url.parent)) from error
        if isinstance(error, OSError):
            raise type(error)(error.errno or _NUMBERS.get(type(error), errno.EIO), _reason(error), str(url)) from error
        raise OSError(errno.EIO, _sentence(error), str(url)) from error


_NO_CONNECTION = {
    "EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError", "ProxyConnectionError", "SSLError",
    "ClientConnectorError", "ClientConnectorDNSError", "ConnectionRefusedError", "gaierror",
}  # fmt: skip
_NO_CREDENTIALS = {
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError",
    "SSOTokenLoadError", "UnauthorizedSSOTokenError", "ProfileNotFound", "DefaultCredentialsError", "RefreshError",
}  # fmt: skip
_REFUSED_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed"}
_NUMBERS: dict[type, int] = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES}


def _is_about_credentials(error: BaseException) -> bool:
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return type(error).__name__ in _NO_CREDENTIALS or code in _REFUSED_KEYS or getattr(error, "code", None) == 401


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _how_to_log_in(url: RemotePath) -> str | None:
    return {
        "s3:": "aws configure   (for a public bucket: export FSSPEC_S3_ANON=true)",
        "gs:": "gcloud auth application-default login   (for a public bucket: export FSSPEC_GS_TOKEN=anon)",
        "hf:": "hf auth login",
    }.get(url.parts[0])


def _reason(error: OSError) -> str:
    """What a library says of one file; of one that is not there it says the path, which is said anyway."""
    if isinstance(error, FileNotFoundError) and not error.strerror:
        return os.strerror(errno.ENOENT)
    return error.strerror or _sentence(error)


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def how_to_look(place: Path) -> str:
    """A command that shows what lies in a place."""
    if not is_remote(place):
        return f"ls {shlex.quote(str(place))}"
    kind = place.parts[0]
    if kind in ONE_BY_ONE:
        return f"curl -I {shlex.quote(str(place))}"
    command = {"s3:": "aws s3 ls", "gs:": "gcloud storage ls", "gcs:": "gcloud storage ls"}.get(kind)
    return f"{command} {shlex.quote(f'{place}/')}" if command else f"see what there is in {place}"


def how_to_copy(place: Path) -> str:
    """A command that copies what lies elsewhere to this machine."""
    kind = str(place).partition("://")[0]
    command = {"s3": "aws s3 cp --recursive", "gs": "gcloud storage cp -r", "gcs": "gcloud storage cp -r"}.get(kind)
    copy = f"{command} {shlex.quote(str(place))} photos" if command else "copy it to a folder here"
    return f"{copy}   (and name that folder)"

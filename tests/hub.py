"""A hub on this machine that answers what huggingface_hub asks: repositories in memory, commits, tokens, faults.

with Hub.running() as hub:
    hub.tokens["secret"] = "you"
    ...
    hub.repositories["you/birds-context"].files("main")
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LARGE = (".safetensors", ".bin")  # what .gitattributes of a hub keeps as large files


@dataclass
class Commit:
    oid: str
    title: str
    parent: str | None
    files: dict[str, bytes]


@dataclass
class Repository:
    owner: str
    private: bool
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, files: dict[str, bytes], title: str = "", branch: str = "main") -> Commit:
        """Files on top of those of a branch."""
        parent = self.branches.get(branch)
        before = self.commits[parent].files if parent else {}
        commit = Commit(secrets.token_hex(20), title, parent, {**before, **files})
        self.commits[commit.oid] = commit
        self.branches[branch] = commit.oid
        return commit

    def at(self, revision: str) -> Commit | None:
        return self.commits.get(self.branches.get(revision) or self.tags.get(revision) or revision)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        commit = self.at(revision)
        assert commit is not None
        return commit.files

    def titles(self, branch: str = "main") -> list[str]:
        """Of the commits of a branch, the newest first."""
        found, oid = [], self.branches.get(branch)
        while oid:
            found.append(self.commits[oid].title)
            oid = self.commits[oid].parent
        return found


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class Hub:
    url: str
    tokens: dict[str, str] = field(default_factory=dict)  # token → owner
    readers: set[str] = field(default_factory=set)  # tokens that may only read
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)  # by sha256, uploaded and perhaps not committed yet
    requests: list[str] = field(default_factory=list)  # METHOD path
    before: Callable[[str, str], None] | None = None  # METHOD, path: a test may raise Refused, or change something
    told_size: int | None = None  # what HEAD says of every file, where that is not the truth
    cut: int = 0  # so many of the next downloads end after half of their bytes
    swapped: bytes | None = None  # what is sent in place of every file

    @property
    def large_url(self) -> str:
        """Where large files are: at another host, which no token is sent to."""
        return f"{self.url.replace('127.0.0.1', 'localhost')}/large"

    @staticmethod
    @contextlib.contextmanager
    def running() -> Iterator[Hub]:
        server = _Server(("127.0.0.1", 0), _Handler)
        hub = Hub(f"http://127.0.0.1:{server.server_port}")
        server.hub = hub  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def repository(self, name: str, *, private: bool = False, gated: bool = False) -> Repository:
        """A new one, with what a hub puts into it."""
        made = Repository(name.partition("/")[0], private, gated)
        made.add({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}, "initial commit")
        self.repositories[name] = made
        return made


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client may leave at any time."""


class _Handler(BaseHTTPRequestHandler):
    """One request; paths are those of the hub's own API."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined,no-any-return]

    def log_message(self, *_: object) -> None:
        pass

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        parts = urlsplit(self.path)
        self.query, path = parse_qs(parts.query), parts.path
        self.hub.requests.append(f"{self.command} {path}")
        try:
            if self.hub.before:
                self.hub.before(self.command, path)
            for methods, pattern, answer in _ROUTES:
                if self.command in methods.split() and (found := re.fullmatch(pattern, path)):
                    answer(self, **{key: unquote(value) for key, value in found.groupdict().items()})
                    return
            raise Refused(404, "Not Found")
        except Refused as refused:
            self.send(refused.status, {"error": str(refused)}, {"X-Error-Message": str(refused)} | _code(refused.code))

    do_GET = do_POST = do_PUT = do_HEAD = handle_any

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None, size: int | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if size is None else size))
        if not isinstance(content, bytes):
            self.send_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    # ------------------------------------------------------------ who asks

    def user(self) -> str | None:
        said = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if said and said not in self.hub.tokens:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.hub.tokens.get(said)

    def seen(self, repo: str) -> Repository:
        """A repository as whoever asks may see it."""
        user, found = self.user(), self.hub.repositories.get(repo)
        if found is None or (found.private and found.owner != user):
            raise Refused(404 if user else 401, "Repository not found", "RepoNotFound")
        return found

    def opened(self, repo: str) -> Repository:
        found = self.seen(repo)
        if found.gated and found.owner != self.user():
            raise Refused(403, "Access to this model is restricted", "GatedRepo")
        return found

    def written(self, repo: str) -> Repository:
        found = self.seen(repo)
        self.check_writes(found.owner)
        return found

    def check_writes(self, owner: str) -> None:
        if self.user() is None:
            raise Refused(401, "Invalid username or password.")
        token = self.headers["Authorization"].removeprefix("Bearer ")
        if self.user() != owner or token in self.hub.readers:
            raise Refused(403, f"You don't have the rights to write under the namespace {owner}")

    def commit_of(self, found: Repository, revision: str) -> Commit:
        commit = found.at(revision)
        if commit is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    # ------------------------------------------------------------ what is asked

    def create(self) -> None:
        asked = json.loads(self.body)
        owner = asked.get("organization") or self.user() or ""
        self.check_writes(owner)
        name = f"{owner}/{asked['name']}"
        if name in self.hub.repositories:
            raise Refused(409, "You already created this model repo")
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repository(name, private=private)
        self.send(200, {"url": f"{self.hub.url}/{name}", "name": name})

    def info(self, repo: str, revision: str = "main") -> None:
        found = self.seen(repo)
        commit = self.commit_of(found, revision)
        siblings = [_described(path, data) for path, data in commit.files.items()]
        self.send(
            200,
            {"_id": "1", "id": repo, "modelId": repo, "sha": commit.oid, "private": found.private, "tags": []}
            | {"gated": "manual" if found.gated else False, "disabled": False, "downloads": 0, "likes": 0}
            | {"siblings": siblings},
        )

    def refs(self, repo: str) -> None:
        found = self.seen(repo)
        listed = {
            "branches": [
                {"name": n, "ref": f"refs/heads/{n}", "targetCommit": oid} for n, oid in found.branches.items()
            ],
            "tags": [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": oid} for n, oid in found.tags.items()],
            "converts": [],
        }
        self.send(200, listed)

    def branch(self, repo: str, branch: str) -> None:
        found = self.written(repo)
        if branch in found.branches:
            raise Refused(409, "Reference already exists")
        found.branches[branch] = found.branches["main"]
        self.send(200, {})

    def tag(self, repo: str, revision: str) -> None:
        found, name = self.written(repo), json.loads(self.body)["tag"]
        if name in found.tags:
            raise Refused(409, "Tag reference exists already")
        found.tags[name] = self.commit_of(found, revision).oid
        self.send(200, {})

    def validate(self) -> None:
        content = json.loads(self.body)["content"]
        block = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        try:
            metadata = yaml.safe_load(block[1]) if block else {}
        except yaml.YAMLError as error:
            self.send(400, {"error": "bad", "errors": [{"message": str(error)}], "warnings": []})
            return
        if metadata.get("license") == "no-such-license":
            errors = [{"message": '"license" must be one of apache-2.0, mit, …'}]
            self.send(400, {"error": "bad", "errors": errors, "warnings": []})
            return
        self.send(200, {"errors": [], "warnings": []})

    def preupload(self, repo: str, revision: str) -> None:
        found = self.written(repo)
        self.commit_of(found, revision)
        modes = [
            {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular", "shouldIgnore": False}
            for f in json.loads(self.body)["files"]
        ]
        self.send(200, {"files": modes})

    def batch(self, repo: str) -> None:
        self.written(repo)
        objects = []
        for one in json.loads(self.body)["objects"]:
            upload = {"upload": {"href": f"{self.hub.large_url}/{one['oid']}"}}
            verify = {"verify": {"href": f"{self.hub.url}/verify"}}
            actions = {} if one["oid"] in self.hub.large else {"actions": {**upload, **verify}}
            objects.append({**one, "authenticated": True, **actions})
        self.send(200, {"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refused(400, "the content is not what its hash says")
        self.hub.large[oid] = self.body
        self.send(200, {})

    def verify(self) -> None:
        asked = json.loads(self.body)
        if len(self.hub.large.get(asked["oid"], b"")) != asked["size"]:
            raise Refused(404, "there is no such object")
        self.send(200, {})

    def commit(self, repo: str, revision: str) -> None:
        found = self.written(repo)
        lines = [json.loads(line) for line in self.body.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        if revision not in found.branches:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if header.get("parentCommit") not in (None, found.branches[revision]):
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
        made = found.add(files, header["summary"], revision)
        url = f"{self.hub.url}/{repo}/commit/{made.oid}"
        self.send(200, {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""})

    def resolve(self, repo: str, revision: str, path: str) -> None:
        found = self.opened(repo)
        commit = self.commit_of(found, revision)
        if path not in commit.files:
            raise Refused(404, "Entry not found", "EntryNotFound")
        data = commit.files[path]
        size = len(data) if self.hub.told_size is None else self.hub.told_size
        headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        if path.endswith(LARGE):
            sha256 = hashlib.sha256(data).hexdigest()
            self.hub.large[sha256] = data
            headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(size)}
            self.send(302, b"", {**headers, "Location": f"{self.hub.large_url}/{sha256}"})
        else:
            self.send_file(data, {**headers, "ETag": f'"{_git_hash(data)}"'})

    def download(self, oid: str) -> None:
        if self.headers.get("Authorization"):
            raise Refused(400, "a token was sent to a stranger")
        self.send_file(self.hub.large[oid], {})

    def send_file(self, data: bytes, headers: dict[str, str]) -> None:
        data = data if self.hub.swapped is None else self.hub.swapped
        start = 0
        if found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(found[1])
            headers = {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        rest = data[start:]
        if self.hub.cut and self.command == "GET":
            self.hub.cut -= 1
            self.send(206 if start else 200, rest[: len(rest) // 2], headers, size=len(rest))
            self.close_connection = True
            return
        self.send(206 if start else 200, rest, headers)


def _code(code: str) -> dict[str, str]:
    return {"X-Error-Code": code} if code else {}


def _described(path: str, data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": _git_hash(data)}
    if path.endswith(LARGE):
        found["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 132}
    return found


def _git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"
_ROUTES: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.validate),
    ("GET", f"/api/models/{_REPO}", _Handler.info),
    ("GET", f"/api/models/{_REPO}/refs", _Handler.refs),
    ("GET", f"/api/models/{_REPO}/revision/{_REVISION}", _Handler.info),
    ("POST", f"/api/models/{_REPO}/branch/(?P<branch>[^/]+)", _Handler.branch),
    ("POST", f"/api/models/{_REPO}/tag/{_REVISION}", _Handler.tag),
    ("POST", f"/api/models/{_REPO}/preupload/{_REVISION}", _Handler.preupload),
    ("POST", f"/api/models/{_REPO}/commit/{_REVISION}", _Handler.commit),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", "/large/(?P<oid>[0-9a-f]{64})", _Handler.upload),
    ("GET HEAD", "/large/(?P<oid>[0-9a-f]{64})", _Handler.download),
    ("POST", "/verify", _Handler.verify),
    ("GET HEAD", f"/{_REPO}/resolve/{_REVISION}/(?P<path>.+)", _Handler.resolve),
)

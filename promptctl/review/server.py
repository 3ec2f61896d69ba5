"""Server: the page of a review, for the browser of this machine and whoever was given its address, and nobody else.

Bound to 127.0.0.1. Every path begins with a token that nobody can guess; a host or an origin that is not this server's
own is refused, so that no page of another site gets in by a name that leads here. A browser names photos by their
place in the list and classes by text; no path that comes from it is opened.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from promptctl.data.readers.decisions import UNDO
from promptctl.encoding.files import UnreadableImage
from promptctl.errors import ExtraMissing, WrongOption, reason_of
from promptctl.review.session import BadDecision, Question, Session
from promptctl.review.thumbnails import SIZES, Changed, Thumbnails

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = "127.0.0.1"
MOST_BYTES = 4096  # of what a browser sends
_STOPS_WITHIN = 1  # seconds that a request may still take when the server ends
_MOST_AT_ONCE = 64  # connections
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_PAGE = {
    "": ("index.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
_SENT_ONCE = (b"origin", b"sec-fetch-site")
_NUMBER = re.compile(r"[0-9]{1,9}")
_log = logging.getLogger("promptctl.review")


def check_library() -> None:
    """ExtraMissing where starlette or uvicorn is not installed."""
    for library in ("starlette", "uvicorn"):
        if find_spec(library) is None:
            raise ExtraMissing("a page to review photos on", library, "review")


# --------------------------------------------------------------------------- who is let in


class Guard:
    """Lets only the page of this run in; what it lets in and what it refuses goes out with the same headers."""

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = {f"{host}:{port}".encode() for host in (HOST, "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        respond = _with_headers(send)
        if refusal := self._refusal(scope):
            from starlette.responses import PlainTextResponse

            code, why = refusal
            await PlainTextResponse(why, code)(scope, receive, respond)
            return
        await self._app(scope, receive, respond)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """An HTTP status and why, where a request does not come from the page of this run."""
        sent = [(name.lower(), value) for name, value in scope["headers"]]
        names, headers = [name for name, _ in sent], dict(sent)
        host = headers.get(b"host", b"")
        if names.count(b"host") != 1 or host not in self._hosts:
            return 421, "not this host"
        if any(names.count(name) > 1 for name in _SENT_ONCE):  # no browser does
            return 400, "a header is there twice"
        if not self._has_token(scope["path"]):
            return 404, "nothing here"
        if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
            return 403, "not from another page"
        origin = headers.get(b"origin")
        if (scope["method"] == "POST" or origin is not None) and origin != b"http://" + host:
            return 403, "not from another origin"
        return None

    def _has_token(self, path: str) -> bool:
        """Whether a path begins with the token; it takes as long for every wrong one."""
        given = path.split("/", 2)[1] if path.count("/") > 1 else ""
        return secrets.compare_digest(given.encode("utf-8", "surrogateescape"), self._token)


def _with_headers(send: Send) -> Send:
    own = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]

    async def respond(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *own]
        await send(message)

    return respond


# --------------------------------------------------------------------------- what is answered


def application(session: Session, about: Mapping[str, Any], *, token: str, port: int) -> Guard:
    """The page and what it asks for.

    about   what the page is told beside the photos: the commands to type next
    """
    from starlette.applications import Starlette
    from starlette.routing import Route

    pictures = Thumbnails()
    # one path each, so that nothing else is there
    page = [Route(f"/{token}/{name}", _file(*file)) for name, file in _PAGE.items()]
    app: Starlette = Starlette(
        routes=[
            *page,
            Route(f"/{token}/queue", _queue(session, about)),
            Route(f"/{token}/photos/{{index}}/{{size}}", _photo(session, pictures)),
            Route(f"/{token}/decisions", _decide(session), methods=["POST"]),
        ]
    )
    app.router.redirect_slashes = False
    app.add_exception_handler(Exception, _failed)
    return Guard(app, token=token, port=port)


Endpoint = Callable[["Request"], "Awaitable[Response] | Response"]


def _failed(_: Request, error: Exception) -> Response:
    """What nobody thought of: a mistake of ours, which whoever waits at the terminal is to see."""
    from starlette.responses import PlainTextResponse

    _log.error("the page asked for something that failed: %r", error)
    return PlainTextResponse("failed", 500)


def _file(name: str, kind: str) -> Endpoint:
    data = files("promptctl.review").joinpath("page").joinpath(name).read_bytes()

    async def endpoint(_: Request) -> Response:
        from starlette.responses import Response

        return Response(data, media_type=kind)

    return endpoint


def _queue(session: Session, about: Mapping[str, Any]) -> Endpoint:
    def endpoint(_: Request) -> Response:
        return _json(
            {
                "context": session.context,
                "classes": [{"label": label, "name": name} for label, name in session.names.items()],
                "photos": [_told(question) for question in session.questions],
                **_state(session),
                **about,
            }
        )

    return endpoint


def _told(question: Question) -> dict[str, Any]:
    """What a page knows of a photo: what its file is called, and not where it lies."""
    return {
        "file": _readable(question.file.name),
        "label": question.label,
        "name": question.name,
        "probability": question.probability,
        "unknown": question.unknown,
        "likely": question.likely,
        "copies": len(question.copies),
    }


def _state(session: Session) -> dict[str, Any]:
    progress = session.progress()
    said = {place: [one.decision, one.name] for place, one in session.decisions().items()}
    return {"total": progress.total, "decided": progress.decided, "by_kind": progress.by_kind, "said": said}


def _photo(session: Session, pictures: Thumbnails) -> Endpoint:
    def endpoint(request: Request) -> Response:  # in a thread of its own
        from starlette.responses import PlainTextResponse, Response

        index, size = request.path_params["index"], request.path_params["size"]
        if not _NUMBER.fullmatch(index) or int(index) >= len(session.questions) or size not in SIZES:
            return PlainTextResponse("nothing here", 404)
        question = session.questions[int(index)]
        try:
            return Response(pictures.get(question.place, question.sha256, size), media_type="image/jpeg")
        except UnreadableImage as error:
            return PlainTextResponse(_readable(str(error)), 410 if isinstance(error, Changed) else 415)

    return endpoint


def _decide(session: Session) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import PlainTextResponse

        try:
            asked = await _body(request)
        except _TooLong:
            return PlainTextResponse(f"more than {MOST_BYTES} bytes", 413, {"Connection": "close"})
        try:
            return _json(await run_in_threadpool(_decided, session, asked))
        except BadDecision as error:
            return _json({"kept": False, "refused": True, "error": str(error)}, 400)

    return endpoint


class _TooLong(Exception):
    pass


async def _body(request: Request) -> Any:
    """What a browser sends; _TooLong before all of it is read, and None for what is no JSON."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        return None
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_BYTES:
            raise _TooLong
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _decided(session: Session, asked: Any) -> dict[str, Any]:
    """What comes of a decision: kept, or why it is not, and then nothing has changed."""
    if not isinstance(asked, dict) or not isinstance(asked.get("decision"), str):
        raise BadDecision("it says no decision")
    try:
        if asked["decision"] == UNDO:
            return {"kept": True, "index": session.undo(), **_state(session)}
        index = asked.get("index")
        if not isinstance(index, int) or isinstance(index, bool):
            raise BadDecision("it says no photo")
        decision = session.decide(index, asked["decision"], asked.get("label"))
    except OSError as error:
        _log.error("a decision was not kept: %s", reason_of(error))
        return {"kept": False, "error": reason_of(error)}
    return {"kept": True, "index": index, "decision": decision.decision, "label": decision.label, **_state(session)}


def _json(value: object, code: int = 200) -> Response:
    from starlette.responses import Response

    return Response(json.dumps(value), code, media_type="application/json")


def _readable(text: str) -> str:
    """Text that a page can show: the bytes of a file name may be anything."""
    return text.encode("utf-8", "replace").decode()


# --------------------------------------------------------------------------- while it runs


class Server:
    """A server that runs in a thread of its own, until it is left."""

    def __init__(self, url: str) -> None:
        self.url = url

    def wait(self) -> None:
        """For ever: until Ctrl-C."""
        threading.Event().wait()


@contextlib.contextmanager
def serving(session: Session, about: Mapping[str, Any], *, port: int = 0) -> Iterator[Server]:
    """The page, as long as this is not left; then within two seconds it is gone.

    port     0: one that is free
    raises   WrongOption where the port is taken or not for everyone
    """
    import uvicorn

    token = secrets.token_urlsafe(24)
    with _listening(port) as own:
        port = own.getsockname()[1]
        config = uvicorn.Config(
            application(session, about, token=token, port=port),
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_AT_ONCE,
            timeout_graceful_shutdown=_STOPS_WITHIN,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([own],), name="review", daemon=True)
        thread.start()
        try:
            yield Server(f"http://{HOST}:{port}/{token}/")
        finally:
            server.should_exit = True
            session.end()
            thread.join(_STOPS_WITHIN + 0.5)


def _listening(port: int) -> socket.socket:
    own = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows, where another program could take it as well
            own.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind((HOST, port))
        own.listen(128)
    except OSError as error:
        own.close()
        raise WrongOption(f"the page cannot be on port {port}: {reason_of(error)}", "leave out --port") from error
    return own

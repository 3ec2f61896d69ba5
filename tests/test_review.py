"""Review: every answer is kept or said not to be, and nobody but its own page gets in."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from conftest import full_disk, paint
from faults import killed_at, watched
from PIL import Image

from promptctl import commands
from promptctl.data.images import LabelledImage, hash_images
from promptctl.data.readers.decisions import in_force
from promptctl.errors import ExtraMissing, FileInUse, NotResults, WrongOption
from promptctl.review import decisions, server
from promptctl.review.decisions import Decision, opened
from promptctl.review.session import BadDecision, Question, Session
from promptctl.review.thumbnails import SIZES, Changed, Thumbnails, made
from promptctl.store.store import Store

NAMES = {"red": "red", "green": "green", "sea_blue": "sea blue"}


@pytest.fixture
def questions(tmp_path: Path) -> list[Question]:
    """Four pictures, the last of which shows what a fifth shows."""
    folder = paint(tmp_path / "unsorted", images=4, colours={"any": (200, 40, 40)})
    found, _ = hash_images([LabelledImage(path, "") for path in sorted(folder.rglob("*.png"))])
    likely = (("red", 0.6), ("green", 0.3), ("sea_blue", 0.1))
    first = [Question(one.path, one.path, one.sha256, "red", "red", 0.6, likely=likely) for one in found]
    return [*first[:3], dataclasses.replace(first[3], copies=(str(folder / "any" / "4.png"),))]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "review.jsonl"


@contextmanager
def session_of(questions: list[Question], output: Path) -> Iterator[Session]:
    with opened(output) as log:
        yield Session("colours@1", NAMES, questions, log)


def said(output: Path) -> list[tuple[str, str | None]]:
    return [(one.decision, one.label) for one in decisions.read(output).decisions]


def standing(session: Session) -> dict[int, tuple[str, str | None]]:
    return {place: (one.decision, one.label) for place, one in session.decisions().items()}


# --------------------------------------------------------------------------- the file


def test_a_line_says_what_was_guessed_what_was_said_and_what_was_shown_with_it(questions, output):
    with session_of(questions, output) as session:
        session.decide(3, "change", "sea_blue")
    (line,) = output.read_text().splitlines()
    record = json.loads(line)
    assert list(record) == [
        *("type", "schema_version", "context", "file", "sha256", "decision", "label", "name", "answer"),
        *("probability", "copies", "at"),
    ]
    assert (record["type"], record["decision"], record["label"], record["name"]) == (
        *("decision", "change", "sea_blue"),
        "sea blue",
    )
    assert (record["answer"], record["probability"], record["copies"]) == ("red", 0.6, list(questions[3].copies))
    assert Path(record["file"]).is_absolute() and record["sha256"] == questions[3].sha256


def test_a_review_goes_on_where_it_was_left(questions, output):
    with session_of(questions, output) as session:
        session.decide(0, "accept")
        session.decide(1, "unknown")
        session.decide(2, "skip")
        session.decide(2, "change", "heron")
    with session_of(questions, output) as session:
        assert standing(session) == {0: ("accept", "red"), 1: ("unknown", None), 2: ("change", "heron")}
        assert session.progress().decided == 3 and session.names["heron"] == "heron"
        assert session.undo() == 2
        assert standing(session)[2] == ("skip", None)
        session.undo(), session.undo()
    with session_of(questions, output) as session:
        assert standing(session) == {0: ("accept", "red")}
        assert session.undo() == 0 and session.undo() is None
    assert [kind for kind, _ in said(output)].count("undo") == 4


def test_a_photo_that_was_shown_with_another_is_not_asked_about_again(questions, output):
    with session_of(questions, output) as session:
        session.decide(3, "accept")
    other = dataclasses.replace(questions[3], file=Path(questions[3].copies[0]), sha256="f" * 64, copies=())
    with session_of([other], output) as session:
        assert standing(session) == {0: ("accept", "red")}
        assert session.undo() == 0 and standing(session) == {}


def test_of_one_photo_the_last_decision_counts_and_an_undo_takes_it_back():
    def decision(sha256: str, kind: str) -> Decision:
        return Decision("birds@1", "/a.jpg", sha256, kind, None, None, "emu", 0.5, (), "")

    lines = [decision("a", "accept"), decision("b", "skip"), decision("a", "undo"), decision("b", "undo")]
    assert in_force(lines) == []
    twice = [decision("a", "accept"), decision("a", "skip"), decision("a", "undo")]
    assert in_force(twice) == [decision("a", "accept")]
    assert in_force([*lines, decision("c", "undo"), decision("a", "unknown")]) == [decision("a", "unknown")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a program is forked and killed")
def test_killed_at_any_point_what_was_answered_is_kept(questions, output, tmp_path):
    answered = tmp_path / "answered"

    def answer(_: Store) -> None:
        with session_of(questions, output) as session:
            for place in range(3):
                session.decide(place, "accept")
                answered.write_text(str(place + 1))

    stopped = 0
    for point in range(1, 100, 3):
        output.unlink(missing_ok=True)
        answered.write_text("0")
        where = killed_at(tmp_path, answer, point)
        with session_of(questions, output) as session:
            assert session.progress().decided >= int(answered.read_text()), where
            session.decide(3, "skip")
        assert said(output)[-1] == ("skip", None)
        if where is None:
            break
        stopped += 1
    assert stopped > 3


def test_half_a_line_is_cut_off_and_gone_on_with(questions, output):
    with session_of(questions, output) as session:
        session.decide(0, "accept")
        session.decide(1, "skip")
    whole = output.read_bytes()
    output.write_bytes(whole[:-7])
    with session_of(questions, output) as session:
        assert standing(session) == {0: ("accept", "red")}
        session.decide(1, "unknown")
    assert said(output) == [("accept", "red"), ("unknown", None)]


def test_a_last_line_that_an_editor_left_without_its_end_counts_and_is_kept(questions, output):
    with session_of(questions, output) as session:
        session.decide(0, "accept")
        session.decide(1, "skip")
    whole = output.read_bytes()
    output.write_bytes(whole[:-1])
    with session_of(questions, output) as session:
        assert standing(session) == {0: ("accept", "red"), 1: ("skip", None)}
    assert output.read_bytes() == whole[:-1]
    with session_of(questions, output) as session:
        with full_disk(), pytest.raises(OSError):
            session.decide(2, "accept")
        session.decide(2, "unknown")
        session.decide(3, "skip")
    assert said(output) == [("accept", "red"), ("skip", None), ("unknown", None), ("skip", None)]


@pytest.mark.parametrize(
    "text", ["buy milk", "buy milk\n", '{"type": "result"}\n', '{"type": "decision", "decision": 1}\n']
)
def test_a_file_of_something_else_is_left_as_it_is(output, text):
    output.write_text(text)
    with (
        pytest.raises(NotResults, match=r"review.jsonl cannot be gone on with: line 1 is not a decision"),
        opened(output),
    ):
        pass
    assert output.read_text() == text


def test_two_reviews_do_not_write_one_file(questions, output):
    with session_of(questions, output) as session:
        with pytest.raises(FileInUse, match=r"another program is writing .*review.jsonl"), opened(output):
            pass
        session.decide(0, "accept")
    assert said(output) == [("accept", "red")]


def test_nothing_is_said_to_be_kept_in_a_file_that_was_moved_or_replaced(questions, output, tmp_path):
    with session_of(questions, output) as session:
        session.decide(0, "accept")
        output.rename(tmp_path / "moved.jsonl")
        with pytest.raises(OSError, match="moved, deleted or replaced"):
            session.decide(1, "accept")
        shutil.copy(tmp_path / "moved.jsonl", output)  # as an editor does
        with pytest.raises(OSError, match="moved, deleted or replaced"):
            session.undo()
        (tmp_path / "moved.jsonl").replace(output)
        session.decide(1, "skip")
    assert said(output) == [("accept", "red"), ("skip", None)]


def test_a_file_that_came_meanwhile_is_not_taken_away(questions, output, tmp_path):
    (tmp_path / "own").write_text("")
    with session_of(questions, output):
        (tmp_path / "own").replace(output)
    assert output.exists()


def test_without_a_decision_no_file_is_left(questions, output):
    with session_of(questions, output):
        assert output.exists()
    assert not output.exists()


def test_on_a_full_disk_an_answer_is_not_kept_and_the_next_one_is(questions, output):
    with session_of(questions, output) as session:
        session.decide(0, "accept")
        before = output.read_bytes()
        with full_disk(), pytest.raises(OSError):
            session.decide(1, "change", "green")
        assert output.read_bytes() == before and 1 not in standing(session)
        session.decide(1, "skip")
    assert said(output) == [("accept", "red"), ("skip", None)]


def test_an_answer_that_the_disk_does_not_confirm_is_taken_away_again(questions, output):
    with session_of(questions, output) as session:
        session.decide(0, "accept")
        before = output.read_bytes()

        def fail(name: str, when: str, _: object) -> None:
            if (name, when) == ("fsync", "before"):
                raise OSError(5, "Input/output error")

        with watched(fail), pytest.raises(OSError):
            session.decide(1, "accept")
        assert output.read_bytes() == before and 1 not in standing(session)


# --------------------------------------------------------------------------- what is said


def test_a_change_to_what_was_guessed_is_an_acceptance(questions, output):
    with session_of(questions, output) as session:
        assert session.decide(0, "change", "red").decision == "accept"
        assert session.decide(1, "change", "Sea  Blue").label == "sea_blue"
        assert session.decide(2, "change", "  Grey heron ").label == "Grey heron"


@pytest.mark.parametrize(
    "typed",
    ["", " ", "a\nb", "x\u202ey", "\x1b[2J", "a" * 81, "../etc", "a/b", "a|b", "-rf", ".git", "…", "\ud800", None, 7],
)
def test_what_is_no_name_of_a_class_is_not_kept(questions, output, typed):
    with session_of(questions, output) as session:
        with pytest.raises(BadDecision):
            session.decide(0, "change", typed)
        assert standing(session) == {}


# --------------------------------------------------------------------------- pictures


def photo(path: Path, size: tuple[int, int], **options: object) -> str:
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)
    from promptctl.encoding.decode import hash_image

    return hash_image(path)


def test_a_picture_is_small_upright_and_says_nothing_of_where_it_was_taken(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A camera"
    exif.get_ifd(0x8825)[1] = "N"
    path = tmp_path / "a.jpg"
    sha256 = photo(path, (1600, 800), exif=exif, comment=b"at home")
    data = Thumbnails().get(path, sha256, "large")
    shown = Image.open(io.BytesIO(data))
    assert (
        shown.size == (512, 1024)
        and not shown.getexif()
        and set(shown.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    )
    assert b"home" not in data and b"Exif" not in data


def test_a_picture_is_made_once_and_no_more_are_kept_than_there_is_room_for(questions, monkeypatch):
    count = []
    monkeypatch.setattr("promptctl.review.thumbnails.made", lambda *of: count.append(of) or made(*of))
    monkeypatch.setitem(SIZES, "small", dataclasses.replace(SIZES["small"], kept=3500))
    pictures = Thumbnails()
    first = questions[0]
    threads = [threading.Thread(target=pictures.get, args=(first.place, first.sha256, "small")) for _ in range(8)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert len(count) == 1
    for one in questions:
        assert len(pictures.get(one.place, one.sha256, "small")) > 1000
    pictures.get(first.place, first.sha256, "small")
    assert len(count) == 5


def test_what_was_put_in_the_place_of_a_photo_is_not_shown(questions, tmp_path):
    question, secret = questions[0], tmp_path / "secret.png"
    shutil.copy(questions[1].place, secret)
    question.place.unlink()
    question.place.symlink_to(secret)
    with pytest.raises(Changed):
        made(question.place, questions[1].sha256, SIZES["small"])  # a link, even to what is known
    question.place.unlink()
    shutil.copy(secret, question.place)
    with pytest.raises(Changed, match="it has changed, or was replaced, since the review began"):
        made(question.place, question.sha256, SIZES["small"])


# --------------------------------------------------------------------------- who is let in


@dataclasses.dataclass
class Page:
    """A page that is served, its address taken apart."""

    url: str
    origin: str
    token: str
    client: httpx.Client

    @property
    def port(self) -> int:
        return int(self.origin.rpartition(":")[2])

    def post(self, body: object, **headers: str) -> httpx.Response:
        return self.client.post(self.url + "decisions", json=body, headers={"Origin": self.origin, **headers})


@contextmanager
def served(session: Session) -> Iterator[Page]:
    about = {"output": "review.jsonl", "commands": {"learn": "", "relabel": ""}}
    with server.serving(session, about) as running, httpx.Client(trust_env=False) as client:
        origin, _, rest = running.url.rpartition("/")[0].rpartition("/")
        yield Page(running.url, origin, rest, client)


@pytest.fixture
def page(questions, output) -> Iterator[Page]:
    with session_of(questions, output) as session, served(session) as page:
        yield page


def test_the_page_gets_its_photos_and_keeps_what_is_said(page, output):
    queue = page.client.get(page.url + "queue").json()
    assert [one["file"] for one in queue["photos"]] == ["0.png", "1.png", "2.png", "3.png"]
    assert str(output.parent) not in json.dumps(queue["photos"])  # where photos lie is no page's business
    picture = page.client.get(page.url + "photos/0/large")
    assert picture.headers["content-type"] == "image/jpeg" and Image.open(io.BytesIO(picture.content)).size == (48, 40)
    answer = page.post({"index": 0, "decision": "change", "label": "green"}).json()
    assert (answer["kept"], answer["decided"], answer["by_kind"]["change"]) == (True, 1, 1)
    assert said(output) == [("change", "green")]
    assert page.post({"decision": "undo"}).json()["index"] == 0


def test_everything_comes_with_headers_that_keep_it_here(page):
    policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'"
    for path in ("", "page.js", "page.css", "icon.svg", "queue", "photos/0/small", "nothing"):
        headers = page.client.get(page.url + path).headers
        assert headers["content-security-policy"].startswith(policy), path
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store" and headers["x-frame-options"] == "DENY"
        assert "server" not in headers and "access-control-allow-origin" not in headers


def test_no_page_without_the_token(page):
    wrong = page.token[:-1] + ("A" if page.token[-1] != "A" else "B")
    for path in (
        "/",
        "",
        "/queue",
        f"/{wrong}/",
        f"/{wrong}/queue",
        f"/{page.token}",
        f"/x/{page.token}/queue",
        "//queue",
    ):
        answer = page.client.get(page.origin + path)
        assert (answer.status_code, answer.text) == (404, "nothing here"), path
    url = f"{page.origin}/{wrong}/decisions"
    assert page.client.post(url, json={}, headers={"Origin": page.origin}).status_code == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost:1", "127.0.0.1:{port}.evil.example", ""]
)
def test_a_name_that_somebody_led_here_is_refused(page, host):
    for path in ("", "queue", "photos/0/small"):
        assert page.client.get(page.url + path, headers={"Host": host.format(port=page.port)}).status_code in (400, 421)
    assert page.client.get(page.url, headers={"Host": f"localhost:{page.port}"}).status_code == 200


@pytest.mark.parametrize(
    "origin", [None, "null", "https://evil.example", "http://127.0.0.1", "http://127.0.0.1:1", "{own}.evil.example"]
)
def test_another_page_decides_nothing(page, output, origin):
    body = {"index": 0, "decision": "accept"}
    headers = {} if origin is None else {"Origin": origin.format(own=page.origin)}
    assert page.client.post(page.url + "decisions", json=body, headers=headers).status_code == 403
    assert page.post(body, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert said(output) == []


def test_of_two_origins_none_counts(page, output):
    body = b'{"index": 0, "decision": "accept"}'
    head = f"POST /{page.token}/decisions HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    for name, one, other in (
        ("Origin", "https://evil.example", page.origin),
        ("Origin", page.origin, "https://evil.example"),
        ("Sec-Fetch-Site", "cross-site", "none"),
    ):
        origin = f"Origin: {page.origin}\r\n" * (name != "Origin")
        assert raw(page, f"{head}{origin}{name}: {one}\r\n{name}: {other}\r\n\r\n{body.decode()}")[0] == 400
    assert said(output) == []


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "photos//etc/passwd/large", "photos/..%2f..%2fetc%2fpasswd/large", "../../../etc/passwd"),
        *("photos/0/../../server.py", "%2e%2e/server.py", "server.py", "page.js/../server.py", "photos/0/large.png"),
        *("photos/4/large", "photos/-1/large", "photos/0/huge", "photos/9999999999/large", "photos/²/large"),
        *("photos/" + "9" * 5000 + "/large", "photos/0x0/large", "photos/0%00/large", "photos/", "photos/0"),
    ],
)
def test_no_path_from_a_browser_is_opened(page, path):
    status, body = raw(
        page, f"GET /{page.token}/{path} HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nConnection: close\r\n\r\n"
    )
    assert status in (400, 404) and b"root:" not in body and b"import" not in body


def raw(page: Page, request: str) -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as connection:
        connection.sendall(request.encode("utf-8"))
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return int(answer.split()[1]), answer


def test_what_is_no_decision_changes_nothing(page, output):
    accept = {"index": 0, "decision": "accept"}
    wrong_places = [{**accept, "index": index} for index in (4, -1, True, "0", None, 10**400)]
    wrong_kinds = [{**accept, "decision": kind} for kind in ("learn", "change", ["accept"], None, "")]
    for body in (None, [], "x", {}, *wrong_places, *wrong_kinds, {"index": 0, "decision": "change", "label": {"a": 1}}):
        assert page.post(body).status_code == 400, body
    form = page.client.post(page.url + "decisions", data={"decision": "accept"}, headers={"Origin": page.origin})
    assert form.status_code == 400
    nested = page.client.post(
        page.url + "decisions", content=b"[" * 4000, headers={"Origin": page.origin, "Content-Type": "application/json"}
    )
    assert nested.status_code == 400
    assert said(output) == []
    assert page.client.put(page.url + "decisions", headers={"Origin": page.origin}).status_code == 405


def test_a_body_is_not_read_beyond_a_few_kilobytes(page, output):
    long = {"index": 0, "decision": "change", "label": "a" * 5000}
    assert page.post(long).status_code == 413
    head = f"POST /{page.token}/decisions HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nOrigin: {page.origin}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert (
        raw(page, head + "1000\r\n" + "[" * 4096 + "\r\n1000\r\n" + "[" * 4096 + "\r\n")[0] == 413
    )  # and more would come
    assert said(output) == []


def test_on_a_full_disk_the_page_hears_that_nothing_was_kept(page, output):
    with full_disk():
        answer = page.post({"index": 0, "decision": "accept"}).json()
    assert answer == {"kept": False, "error": "file too large"}
    assert page.post({"index": 0, "decision": "accept"}).json()["decided"] == 1
    assert len(said(output)) == 1


def test_a_photo_that_was_replaced_is_gone_for_the_page(page, questions, tmp_path):
    secret = paint(tmp_path / "elsewhere", images=1) / "red" / "0.png"
    place = questions[2].place
    place.unlink()
    for put in (place.symlink_to, lambda path: shutil.copy(path, place)):
        put(secret)
        assert page.client.get(page.url + "photos/2/large").status_code == 410
        place.unlink()
    assert page.client.get(page.url + "photos/2/large").status_code in (410, 415)


def test_it_is_on_this_machine_alone_and_ends_soon(questions, output):
    with session_of(questions, output) as session:
        with served(session) as page:
            others = {one[4][0] for one in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {
                "127.0.0.1"
            }
            for address in others:
                with pytest.raises(OSError):
                    socket.create_connection((address, page.port), timeout=1).close()
            with pytest.raises(WrongOption, match=rf"the page cannot be on port {page.port}: address already in use"):
                server._listening(page.port)
            lasting = socket.create_connection(("127.0.0.1", page.port))  # which says nothing
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", page.port), timeout=1)
        lasting.close()
        with pytest.raises(BadDecision, match="the review has ended"):
            session.decide(0, "accept")


# --------------------------------------------------------------------------- the command


@pytest.fixture
def learned(colours_bytes, answering) -> None:
    Store().save("colours", colours_bytes, new=True)


def test_a_link_that_leads_out_of_the_folder_is_passed_over_and_named(learned, tmp_path):
    folder, elsewhere = paint(tmp_path / "photos", images=1, seed=7), paint(tmp_path / "elsewhere", images=1, seed=8)
    (folder / "out.png").symlink_to(elsewhere / "red" / "0.png")
    (folder / "away").symlink_to(elsewhere / "blue")
    (folder / "in.png").symlink_to(paint(folder / "more", images=1, seed=9) / "green" / "0.png")
    asked = commands.review(folder, prompt="colours", output=tmp_path / "review.jsonl")
    assert {one.path.name: one.reason for one in asked.skipped} == dict.fromkeys(
        ("out.png", "0.png"), "a link that leads out of what is reviewed"
    )
    assert all(one.place.is_relative_to(folder) and not one.place.is_symlink() for one in asked.questions)
    assert len(asked.questions) == 6


def test_a_photo_is_asked_about_though_a_link_that_leads_out_shows_the_same(learned, tmp_path):
    folder, elsewhere = paint(tmp_path / "photos", images=1, seed=7), paint(tmp_path / "elsewhere", images=1, seed=7)
    (folder / "a.png").symlink_to(elsewhere / "red" / "0.png")
    (folder / "z.png").symlink_to(elsewhere / "blue" / "0.png")
    asked = commands.review(folder, prompt="colours", output=tmp_path / "review.jsonl")
    assert {one.path.name for one in asked.skipped} == {"a.png", "z.png"}
    assert {one.file: one.copies for one in asked.questions} == {
        folder / name / "0.png": () for name in ("red", "green", "blue")
    }
    hashed, _ = hash_images([LabelledImage(one.file, "") for one in asked.questions])
    assert [one.sha256 for one in asked.questions] == [one.sha256 for one in hashed]


def test_the_classes_of_a_photo_come_with_it_and_what_teaches_most_first(learned, tmp_path):
    folder = paint(tmp_path / "photos", images=2, seed=7)
    asked = commands.review(folder, prompt="colours")
    assert all({label for label, _ in one.likely} == {"red", "green", "blue"} for one in asked.questions)
    assert all(one.likely[0] == pytest.approx((one.label, one.probability)) for one in asked.questions)
    order = [one.file for one in commands.suggest(folder, prompt="colours").candidates]
    assert [str(one.file) for one in asked.questions] == order


def test_without_its_libraries_it_says_what_to_install(cli, monkeypatch, photos):
    monkeypatch.setattr("promptctl.review.server.find_spec", lambda name: None if name == "uvicorn" else name)
    outcome = cli("review", photos, "--prompt", "colours")
    assert outcome.err == (
        "error: a page to review photos on needs the library uvicorn, which is not installed\n"
        "hint:  pip install 'promptctl[review]'\n"
    )
    with pytest.raises(ExtraMissing):
        server.check_library()


def test_a_file_of_something_else_is_refused_before_photos_are_looked_at(cli, photos, output):
    output.write_text("dear diary\n")
    outcome = cli("review", photos, "--prompt", "nobody", "--output", output)
    assert (outcome.code, outcome.out) == (12, "")
    assert outcome.err.startswith(f"error: {output} cannot be gone on with: line 1 is not a decision\n")


def test_a_place_where_nothing_can_be_written_is_said_before_photos_are_looked_at(cli, learned, photos, home, tmp_path):
    missing = cli("review", photos, "--prompt", "nobody", "--output", tmp_path / "gone" / "review.jsonl")
    assert missing.err == (
        f"error: {tmp_path}/gone/review.jsonl cannot be written: there is no folder {tmp_path}/gone\n"
        f"hint:  mkdir -p {tmp_path}/gone\n"
    )
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    looping = cli("review", photos, "--prompt", "nobody", "--output", tmp_path / "loop.jsonl")
    assert "loop.jsonl cannot be written: too many levels of symbolic links\nhint:  give another" in looping.err
    stored = home / "contexts" / "colours" / "2.safetensors"
    inside = cli("review", photos, "--prompt", "nobody", "--output", stored)
    assert (inside.code, stored.exists()) == (1, False) and "it is inside the store" in inside.err


def test_a_file_that_nothing_can_be_added_to_is_said_before_photos_are_looked_at(
    cli, learned, photos, output, monkeypatch
):
    def refused(path: Path) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    output.write_bytes(b"")
    monkeypatch.setattr("promptctl.review.decisions.files.open_to_append", refused)  # root may write everywhere
    outcome = cli("review", photos, "--prompt", "nobody", "--output", output)
    assert outcome.err == (f"error: {output} cannot be written: permission denied\nhint:  give another --output\n")


def test_suggest_prints_the_photos_and_opens_no_page(cli, learned, tmp_path):
    folder = paint(tmp_path / "photos", images=2, seed=7)
    outcome = cli("review", folder, "--prompt", "colours", "--suggest", 2, "--quiet")
    assert outcome.code == 0 and len(outcome.out.splitlines()) == 2


def test_label_studio_gets_the_photos_in_their_order(cli, learned, tmp_path):
    folder, tasks = paint(tmp_path / "photos", images=2, seed=7), tmp_path / "tasks.json"
    asked = cli("review", folder, "--prompt", "colours", "--suggest", 3, "--label-studio", tasks)
    assert asked.code == 0 and len(json.loads(tasks.read_text())) == 3
    again = cli("review", folder, "--prompt", "colours", "--label-studio", tasks)
    assert again.code == 1 and len(json.loads(tasks.read_text())) == 3
    assert cli("review", folder, "--prompt", "colours", "--label-studio", tasks, "--force").code == 0
    assert len(json.loads(tasks.read_text())) == 6

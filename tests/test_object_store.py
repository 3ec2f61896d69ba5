"""Photos in an S3 bucket: a store on this machine, and a server that fails as stores do."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import copy_into_splits, paint

import promptctl
from promptctl.data.folder import ImageFolder
from promptctl.data.walk import every_file
from promptctl.encoding.files import UnreadableImage, read_file
from promptctl.errors import NotReached
from promptctl.remote import listing, look, path_of

pytest.importorskip("s3fs")


@pytest.fixture(scope="module")
def server():
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    yield "http://{}:{}".format(*running.get_host_and_port())
    running.stop()


@pytest.fixture
def account(monkeypatch, tmp_path):
    """Keys that a store on this machine takes, and no others."""
    import s3fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()  # which remembers the address
    yield monkeypatch
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(server, account):
    """An empty bucket, and what was asked of it."""
    import boto3

    account.setenv("AWS_ENDPOINT_URL", server)
    found = boto3.resource("s3", endpoint_url=server).Bucket(f"bucket-{time.monotonic_ns()}")
    found.create()
    return found


@pytest.fixture
def asked(monkeypatch):
    """How often each request was made."""
    import s3fs

    counts: Counter[str] = Counter()
    call, call_and_wait = s3fs.S3FileSystem._call_s3, s3fs.S3FileSystem.call_s3

    async def counted(self, method, *args, **more):
        counts[method] += 1
        return await call(self, method, *args, **more)

    def counted_and_waited_for(self, method, *args, **more):
        counts[method] += 1
        return call_and_wait(self, method, *args, **more)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", counted_and_waited_for)
    return counts


def uploaded(bucket, folder, prefix="photos"):
    for path in folder.rglob("*"):
        if path.is_file():
            bucket.put_object(Key=f"{prefix}/{path.relative_to(folder)}", Body=path.read_bytes())
    return f"s3://{bucket.name}/{prefix}"


def test_keys_that_no_folder_could_hold_are_listed_and_read_to_the_letter(bucket):
    keys = ["a", "a/1.jpg", "a//2.jpg", "/leads.jpg", "a b/#?%20é/鳥.jpg", "x::y.jpg", "marker/", "a-b/z.jpg", "e.jpg"]
    for key in keys:
        bucket.put_object(Key=key, Body=b"" if key in ("marker/", "e.jpg") else key.encode())
    root = path_of(f"s3://{bucket.name}")
    assert tuple(root.listed()[:3]) == (("", True), ("a", False), ("a", True)) and ("marker", True) in root.listed()
    found = list(every_file([root]))
    assert sorted(found) == sorted(f"{root}/{key}" for key in keys if key != "marker/")
    assert {path: path_of(path).read(0, 99).decode() for path in found} == {
        f"{root}/{key}": key if key != "e.jpg" else "" for key in keys if key != "marker/"
    }


def test_learning_from_a_bucket_takes_a_request_a_photo_and_gives_the_same_context(
    bucket, asked, photos, tmp_path, tiny
):
    local = copy_into_splits(photos, tmp_path / "split")
    url, kept = uploaded(bucket, local), promptctl.Store(tmp_path / "store")
    settings = promptctl.LearnSettings(epochs=1)
    promptctl.learn(url, "there", shots=2, settings=settings, model=tiny, store=kept)
    assert asked["get_object"] == 18 and asked["list_objects_v2"] <= 4 and asked["head_object"] <= 4
    promptctl.learn(local, "here", shots=2, settings=settings, model=tiny, store=kept)
    assert kept["here"].to_bytes() == kept["there"].to_bytes()
    asked.clear()
    assert promptctl.evaluate("there", url, store=kept).images == 6 and asked["get_object"] == 6


def test_a_list_in_a_bucket_costs_few_requests_besides_the_photos(bucket, asked, tmp_path):
    url = uploaded(bucket, paint(tmp_path, images=20))
    rows = "".join(f"{colour}/{i}.png,{colour}\n" for colour in ("red", "blue") for i in range(20))
    bucket.put_object(Key="photos/labels.csv", Body=f"path,label\n{rows}".encode())
    assert len(ImageFolder.scan(path_of(f"{url}/labels.csv")).images) == 40
    assert sum(asked.values()) < 25


def test_listings_are_read_page_by_page(bucket, asked, monkeypatch):
    for i in range(7):
        bucket.put_object(Key=f"photos/{i}.jpg", Body=b"x")
    call = listing.pages_in_s3
    monkeypatch.setattr(listing, "pages_in_s3", lambda files, url, **how: call(files, url, **how, MaxKeys=3))
    folder = path_of(f"s3://{bucket.name}/photos")
    assert len(folder.listed()) == 7 and asked["list_objects_v2"] == 3
    assert len(list(every_file([folder]))) == 7


def test_within_a_look_nothing_is_listed_twice_and_after_it_everything_is(bucket, asked):
    bucket.put_object(Key="a/1.jpg", Body=b"x")
    folder = path_of(f"s3://{bucket.name}/a")
    with look():
        assert folder.listed() == folder.listed() == [("1.jpg", False)]
        assert (folder / "1.jpg").is_file() and not (folder / "2.jpg").exists() and folder.is_dir()
        assert asked["list_objects_v2"] == 1 and asked["head_object"] == 0
    bucket.put_object(Key="a/2.jpg", Body=b"x")
    assert (folder / "2.jpg").is_file() and len(folder.listed()) == 2


def test_a_bucket_that_is_not_there_is_no_folder(bucket, cli):
    for command in (
        ("learn", "s3://no-such-bucket/x", "--name", "a"),
        ("classify", "s3://no-such-bucket/x", "--words", "a,b"),
    ):
        found = cli(*command)
        assert (
            found.code == 1
            and "s3://no-such-bucket/x" in found.err
            and "hint:  aws s3 ls s3://no-such-bucket/" in found.err
        )
        assert "Traceback" not in found.err


def test_the_commands_of_the_page_work(bucket, cli, photos, tmp_path, tiny, account, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "remote.md").read_text("utf-8")
    commands = re.findall(r"^promptctl (.+)$", page, re.M)
    assert len(commands) == 5
    uploaded(bucket, copy_into_splits(photos, tmp_path / "split"), "birds")
    uploaded(bucket, photos / "red", "unsorted")
    bucket.put_object(Key="unsorted/IMG_0159.jpg", Body=(photos / "blue" / "0.png").read_bytes())
    rows = "".join(f"test/{colour}/{i}.png,{colour}\n" for colour in ("red", "blue") for i in (4, 5))
    bucket.put_object(Key="birds/labels.csv", Body=f"path,label\n{rows}".encode())
    monkeypatch.setenv("PROMPTCTL_MODEL", tiny)
    monkeypatch.chdir(tmp_path)
    for command in commands:
        found = cli(*shlex.split(command.replace("s3://bucket", f"s3://{bucket.name}")))
        assert found.code == 0, (command, found.err)
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 5


# --------------------------------------------------------------------------- what goes wrong


class _Failing(BaseHTTPRequestHandler):
    """A store that denies, hangs, or cuts what it sends; how often, it is told."""

    cuts = 0
    body = b""
    hangs = threading.Event()

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()

    def do_GET(self):
        if "hang" in self.path:
            self.hangs.set()
            time.sleep(30)
        if "denied" in self.path:
            body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            self.send_response(403)
        else:
            body = self.body
            self.send_response(206)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if type(self).cuts:
            type(self).cuts -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def failing(account, tmp_path):
    _Failing.body, _Failing.cuts = (paint(tmp_path, images=1) / "red" / "0.png").read_bytes(), 0
    _Failing.hangs.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Failing)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    account.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
    yield _Failing
    server.shutdown()
    server.server_close()


def test_a_transfer_that_is_cut_is_tried_again(failing):
    failing.cuts = 2
    assert read_file(path_of("s3://bucket/1.png")) == failing.body and failing.cuts == 0


def test_a_photo_that_cannot_be_had_costs_that_photo(failing):
    with pytest.raises(UnreadableImage, match="access denied"):
        read_file(path_of("s3://bucket/denied.png"))
    failing.cuts = 99
    with pytest.raises(UnreadableImage, match=r"not enough data|payload"):
        read_file(path_of("s3://bucket/1.png"))


def test_no_credentials_are_said_in_one_sentence(account, server, cli):
    account.setenv("AWS_ENDPOINT_URL", server)
    account.delenv("AWS_ACCESS_KEY_ID")
    account.delenv("AWS_SECRET_ACCESS_KEY")
    for command in (
        "learn s3://bucket/x --name a",
        "classify s3://bucket/x --words a,b",
        "classify s3://bucket/1.png --words a,b",
    ):
        found = cli(*command.split())
        assert found.code == 1 and "cannot be reached: unable to locate credentials\n" in found.err, found.err
        assert "hint:  aws configure   (for a public bucket: export FSSPEC_S3_ANON=true)" in found.err


def test_a_store_that_is_not_there_ends_the_command_and_not_photo_after_photo(account, cli, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        account.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    account.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(NotReached, match=r"s3://bucket/1\.png cannot be reached: could not connect to the endpoint"):
        read_file(path_of("s3://bucket/1.png"))


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_at_once_while_a_photo_is_waited_for(failing, answering, colours_bytes, tmp_path):
    (tmp_path / "colours.safetensors").write_bytes(colours_bytes)
    command = [
        sys.executable,
        "-m",
        "promptctl",
        "classify",
        "s3://bucket/hang.png",
        "-p",
        tmp_path / "colours.safetensors",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert failing.hangs.wait(60)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 130 and time.monotonic() - start < 5

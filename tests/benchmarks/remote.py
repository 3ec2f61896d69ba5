"""Photos in a bucket against a copy of them on this machine: photos a second and requests, at several latencies.

    python tests/benchmarks/remote.py --photos FOLDER [--count 400] [--latency 0,20,50,100]

FOLDER is one of class folders, or of train/ and test/ with class folders inside. A store that speaks S3 is started in a
process of its own on this machine; it waits so many milliseconds before it answers, as a store far away does. Measured
are, each in a new home with an empty cache:

walk     seconds to list the folder
hash     photos a second, read and hashed as `learn` does first
encode   photos a second through the whole pipeline, with mini
again    the same from the cache
one by one   encode with a single request in flight: what there is to gain by asking ahead

The rows of the local copy are the baseline, in the same process and with the same code. Wall time: the machine must be
quiet. Then `learn` and `evaluate` on the folder: the requests of each, and whether the contexts are the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

BUCKET = "bucket"


# --------------------------------------------------------------------------- the store


class CountedStore:
    """A store of moto's that counts what it is asked, and waits before it answers."""

    def __init__(self, latency: float) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self.store = DomainDispatcherApplication(create_backend_app)
        self.latency = latency
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.now = 0

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> Any:
        if environment["PATH_INFO"] == "/counts":
            found, self.counts = self.counts, Counter()
            start("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(found).encode()]
        what = "LIST" if "list-type" in environment.get("QUERY_STRING", "") else environment["REQUEST_METHOD"]
        with self.lock:
            self.now += 1
            self.counts[what] += 1
            self.counts["at once"] = max(self.counts["at once"], self.now)
        if what != "PUT":
            time.sleep(self.latency)
        try:
            return list(self.store(environment, start))
        finally:
            with self.lock:
                self.now -= 1


def serve(latency: float) -> None:
    import logging

    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, CountedStore(latency), threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


@contextmanager
def store(latency: float, photos: list[tuple[str, Path]]) -> Iterator[str]:
    """The address of a store that holds the photos by their keys."""
    import boto3
    import s3fs

    program = [sys.executable, __file__, "--serve", str(latency)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        os.environ.update(AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret", AWS_DEFAULT_REGION="us-east-1")
        os.environ["AWS_ENDPOINT_URL"] = address
        s3fs.S3FileSystem.clear_instance_cache()
        client = boto3.client("s3", endpoint_url=address)
        client.create_bucket(Bucket=BUCKET)
        for key, path in photos:
            client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
        asked(address)
        try:
            yield address
        finally:
            process.terminate()


def asked(address: str) -> dict[str, int]:
    """What was asked of the store since the last time."""
    with urllib.request.urlopen(f"{address}/counts") as answer:
        found: dict[str, int] = json.load(answer)
    return dict(sorted(found.items()))


# --------------------------------------------------------------------------- what is measured


def seconds(work: Callable[[], object]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


@contextmanager
def new_home() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as home:
        os.environ["PROMPTCTL_HOME"] = home
        yield


def row(name: str, root: Path, encoder: Any) -> dict[str, float]:
    from promptctl.data.images import LabelledImage, hash_images
    from promptctl.data.walk import walk
    from promptctl.encoding import pipeline
    from promptctl.encoding.cache import FeatureCache

    took, tree = seconds(lambda: walk([root]))
    found = {"walk": took}
    count = len(tree.files)
    took, _ = seconds(lambda: hash_images([LabelledImage(path, "") for path in tree.files]))
    found["hash"] = count / took

    def encode() -> object:
        with FeatureCache() as cache:
            return pipeline.encode_files(tree.files, encoder, cache)

    with new_home():
        found["encode"] = count / seconds(encode)[0]
        found["again"] = count / seconds(encode)[0]
    if name != "copy":
        before, pipeline.AT_ONCE = pipeline.AT_ONCE, 1
        with new_home():
            found["one by one"] = count / seconds(encode)[0]
        pipeline.AT_ONCE = before
    figures = "  ".join(
        f"{what} {value:8.3f} s" if what == "walk" else f"{what} {value:7.1f}/s" for what, value in found.items()
    )
    print(f"{name:>8}  {figures}", flush=True)
    return found


def learned(root: str, address: str | None) -> bytes:
    import promptctl

    with new_home():
        if address:
            asked(address)
        took, _ = seconds(lambda: promptctl.learn(root, "x", settings=promptctl.LearnSettings(epochs=1), model="mini"))
        print(f"learn {root}: {took:.1f} s", asked(address) if address else "", flush=True)
        took, _ = seconds(lambda: promptctl.evaluate("x", root))
        print(f"evaluate {root}: {took:.1f} s", asked(address) if address else "", flush=True)
        return promptctl.Store()["x"].to_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--latency", default="0,20,50,100")
    parser.add_argument("--serve", type=float)
    asked_for = parser.parse_args()
    if asked_for.serve is not None:
        return serve(asked_for.serve)

    from promptctl.clip.backbone import Backbone
    from promptctl.remote import path_of

    files = sorted(path for path in asked_for.photos.rglob("*") if path.is_file())
    files = files[:: -(-len(files) // asked_for.count)]
    photos = [(path.relative_to(asked_for.photos).as_posix(), path) for path in files]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    print(f"{len(photos)} photos, {megabytes:.1f} MB")
    encoder = Backbone("mini", "cpu").encoder
    with tempfile.TemporaryDirectory() as folder:
        for key, path in photos:
            (Path(folder) / key).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / key).write_bytes(path.read_bytes())
        row("copy", Path(folder), encoder)
        row("copy", Path(folder), encoder)  # the first time warms the tower up
        for latency in map(float, asked_for.latency.split(",")):
            with store(latency / 1000, photos) as address:
                row(f"{latency:.0f} ms", path_of(f"s3://{BUCKET}"), encoder)
                print(f"{'':8}  {asked(address)}")
        with store(0.05, photos) as address:
            there = learned(f"s3://{BUCKET}", address)
        print("the same bytes:", there == learned(folder, None))
    return None


if __name__ == "__main__":
    main()

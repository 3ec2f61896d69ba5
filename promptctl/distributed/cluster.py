"""Cluster: Ray as it is started for one command on this machine, or found where it runs."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from promptctl.errors import ExtraMissing, Interrupted, PromptctlError

_SHORT = "/tmp"  # where there is one: the name of a socket below it may have a hundred characters
_PREFIX = "promptctl-ray-"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # or it would send word of its use
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class NoCluster(PromptctlError):
    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"no Ray cluster answers at {address}: {reason}",
            "ray start --head   (on one machine), or leave out --address to start one for this command",
        )


def ray_library() -> Any:
    """Ray and Ray Data; ExtraMissing."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ExtraMissing("--engine ray", (error.name or "ray").partition(".")[0], "ray") from error
    return ray


@contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """Ray, running; what is started here ends with the block, and what ran before goes on.

    address   of a cluster, "auto" for the one of this machine; None: RAY_ADDRESS, or one that is started here
    raises    NoCluster
    """
    ray = ray_library()
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS")
    with _quiet_stderr(), nullcontext("") if address else _short_folder() as folder:
        try:
            with _own_signals():
                _join(ray, address) if address else _start(ray, folder)
            yield ray
        except Interrupted:
            _leave_at_once()
            raise
        except BaseException:
            ray.shutdown()
            raise
        ray.shutdown()


def _leave_at_once() -> None:
    """Let `signals.leave` end this process without Ray's own end, and Ray's processes with it.

    A thread of Ray Data's may be waiting inside of Ray, and where Ray ends under it, it ends the process with 1.
    """
    threading.Thread(target=threading.Event().wait, name="waits for the end").start()


def _start(ray: Any, folder: str) -> None:
    # one more than there are: the filter of a run that goes on has a whole one on paper, and next to nothing to do
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ray.init(
        num_cpus=cores + 1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
        _temp_dir=folder,
    )


def _join(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:  # ConnectionError, ValueError, RuntimeError, as it failed
        raise NoCluster(address, (str(error).strip() or type(error).__name__).splitlines()[0][:200]) from error


@contextmanager
def _short_folder() -> Iterator[str]:
    """Where Ray keeps its sockets and logs; gone at the end, or at the next start where this process is killed."""
    place = Path(_SHORT if Path(_SHORT).is_dir() else tempfile.gettempdir())
    _sweep(place)
    # a process of Ray's may still write a last line
    with tempfile.TemporaryDirectory(
        prefix=f"{_PREFIX}{os.getpid()}-", dir=place, ignore_cleanup_errors=True
    ) as folder:
        yield folder


def _sweep(place: Path) -> None:
    for folder in place.glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        try:
            if owner.isascii() and owner.isdigit():
                os.kill(int(owner), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (OSError, OverflowError):  # somebody else's
            continue


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """What Ray's libraries write to file 2 goes nowhere; what we say there goes on."""
    ours = sys.stderr
    real = os.dup(2)
    try:
        if _is_second(ours):
            ours.flush()
            sys.stderr = os.fdopen(os.dup(2), "w", 1, ours.encoding, ours.errors)
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        if sys.stderr is not ours:
            sys.stderr.close()
        sys.stderr = ours
        os.dup2(real, 2)
        os.close(real)


def _is_second(stream: Any) -> bool:
    try:
        return bool(stream.fileno() == 2)
    except (OSError, ValueError, AttributeError):
        return False


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM stay what they were, whatever Ray makes of them when it starts."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _SIGNALS} if is_main else {}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)

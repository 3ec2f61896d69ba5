"""Run: photos listed, decoded, encoded, answered and written by Ray Data, each step as wide as it needs to be."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.data._internal.execution.streaming_executor import StreamingExecutor
from ray.data.checkpoint import CheckpointConfig

from promptctl.distributed.filesystem import for_arrow
from promptctl.distributed.folder import AnswerFolder
from promptctl.distributed.sink import Answers
from promptctl.distributed.source import Photos, Wanted
from promptctl.distributed.stages import BATCH, Answering, decode
from promptctl.distributed.work import Work
from promptctl.errors import OutputFailed, PromptctlError
from promptctl.progress import OnProgress
from promptctl.report.distributed import Tally

_ROWS = 1024  # of a file of answers; as many are lost at most where a run is killed, and what is on its way there
_BLOCK = 128  # photos of a task that decodes
_BLOCK_BYTES = 8_000_000  # of what is on its way
_FILTER_BYTES = 100_000_000  # that Ray keeps free for the filter, where what is known takes less
_THREADS = 4  # of a tower on a CPU
_GPU_BATCH = 128  # pictures
_DECODER_CPUS, _TOWER_CPUS = 0.5, 0.4  # on paper; of what has the same Ray makes one step
_SECONDS = 0.5  # between two looks at how far it is
_LONGEST_END = 60.0  # seconds
_PATIENCE = 2.0  # seconds for an answer to that


class ClusterFailed(PromptctlError):
    """Ray, or a machine of its, gave up."""


@dataclass(frozen=True)
class Found:
    """What a run has answered."""

    tally: Tally
    passed_over: Mapping[str, int]  # how files end that are no photos → how many
    listed: int  # photos that there are


@dataclass(frozen=True)
class Towers:
    """How many actors encode, and what each of them has."""

    count: int
    threads: int
    batch: int
    resources: Mapping[str, float]

    @staticmethod
    def of(resources: Mapping[str, float], *, on_gpu: bool) -> Towers:
        """One to a GPU; or one to four cores, which is given half a core on paper, so that decoding has the others.

        The cores do not go by what is on paper: whichever of the two is behind takes what the other leaves.
        """
        if on_gpu:
            return Towers(int(resources["GPU"]), 1, _GPU_BATCH, {"num_gpus": 1})
        cores = max(1, int(resources.get("CPU", 1)))
        threads = min(_THREADS, cores)
        return Towers(max(1, cores // threads), threads, BATCH, {"num_cpus": _TOWER_CPUS})


class _Counts:
    """How far it is, and what was passed over."""

    def __init__(self) -> None:
        self._found = self._done = 0
        self._beside: Counter[str] = Counter()

    def add(self, found: int, done: int, beside: Counter[str]) -> None:
        self._found, self._done = self._found + found, self._done + done
        self._beside.update(beside)

    def said(self) -> tuple[int, int, Counter[str]]:
        return self._found, self._done, self._beside


@dataclass(frozen=True)
class _Telling:
    """What the stages tell, from wherever they run."""

    counts: Any

    def listed(self, found: int, beside: Counter[str]) -> None:
        ray.get(self.counts.add.remote(found, 0, beside))  # known before the run can end

    def beside(self, beside: Counter[str]) -> None:
        ray.get(self.counts.add.remote(0, beside.total(), beside))

    def done(self, photos: int) -> None:
        self.counts.add.remote(0, photos, Counter())


def run(
    work: Work, wanted: Wanted, folder: AnswerFolder, known: int, *, on_gpu: bool, on_progress: OnProgress | None
) -> Found:
    """Answer all photos that the folder has no row for.

    known    rows that it has
    raises   OutputFailed, ClusterFailed, PromptctlError of a machine that lacks the weights
    """
    counts: Any = ray.remote(num_cpus=0)(_Counts)
    counts = counts.remote()
    towers, sink = Towers.of(ray.cluster_resources(), on_gpu=on_gpu), _sink(folder)
    with _settings(folder), _watched(counts, known, on_progress):
        try:
            _answers(work, wanted, towers, _Telling(counts)).write_datasink(sink, ray_remote_args={"num_cpus": 0.25})
        except Exception as error:  # whatever Ray makes of what was raised elsewhere
            raise _in_words(error) from error
        except KeyboardInterrupt:
            _stop()
            raise
    listed, _, beside = ray.get(counts.said.remote())
    return Found(sink.tally, beside, listed)


def _stop() -> None:
    """End what still hands out work: a thread that waits for Ray beyond its end ends the process, here a notebook's."""
    for thread in threading.enumerate():
        if isinstance(thread, StreamingExecutor):
            with suppress(Exception):
                thread.shutdown(force=True)
            thread.join(timeout=_LONGEST_END)


def _sink(folder: AnswerFolder) -> Answers:
    files = for_arrow(folder.filesystem, is_local=folder.is_local)
    return Answers(folder.place, files, suffix=folder.suffix, rows=_ROWS, is_local=folder.is_local)


def _answers(work: Work, wanted: Wanted, towers: Towers, telling: _Telling) -> Any:
    """Lines for all photos, as they come."""
    # next to nothing on paper, or a listing that waits for its photos to be answered would keep a core from them
    paths = ray.data.read_datasource(Photos(wanted, telling.listed), override_num_blocks=1, num_cpus=0.01)
    blocks = paths.repartition(target_num_rows_per_block=_BLOCK)
    pictures = blocks.map_batches(
        decode,
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=_DECODER_CPUS,
        fn_kwargs={"crop": work.crop, "meant": work.meant, "cwd": wanted.cwd, "on_beside": telling.beside},
    )
    return pictures.map_batches(
        Answering,
        batch_size=towers.batch,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=towers.count),
        fn_constructor_kwargs={
            "work": work,
            "threads": towers.threads,
            "batch": towers.batch,
            "on_done": telling.done,
        },
        **towers.resources,
    )


@contextmanager
def _settings(folder: AnswerFolder) -> Iterator[None]:
    """Ray Data, quiet and with the checkpoint of a folder, for as long as it runs."""
    context = DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.target_max_block_size = _BLOCK_BYTES
    context.checkpoint_config = _checkpoint(folder)
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with DataContext.current(context):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _checkpoint(folder: AnswerFolder) -> CheckpointConfig:
    config = CheckpointConfig(
        "path",
        folder.done,
        override_filesystem=for_arrow(folder.filesystem, is_local=folder.is_local),
        delete_checkpoint_on_success=False,  # what comes later is answered by the same command
    )
    config.checkpoint_actor_pool_max_size = 1
    config.checkpoint_actor_memory_bytes = _FILTER_BYTES
    return config


@contextmanager
def _watched(counts: Any, known: int, on_progress: OnProgress | None) -> Iterator[None]:
    """Tell how far it is, from a thread of its own."""
    over = threading.Event()

    def watch() -> None:
        while on_progress and not over.wait(_SECONDS):
            with suppress(ray.exceptions.RayError):
                found, done, _ = ray.get(counts.said.remote(), timeout=_PATIENCE)
                on_progress("classifying", min(known + done, found), found)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()  # whoever asks Ray something after its end ends the process


def _in_words(error: BaseException) -> PromptctlError:
    """What was raised on another machine, as it would have been said here."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, PromptctlError):
            return cause
        if isinstance(cause, OSError) and cause.errno:
            return OutputFailed(OSError(cause.errno, cause.strerror))
    said = next((line for line in str(causes[-1]).splitlines()[::-1] if line.strip()), type(causes[-1]).__name__)
    return ClusterFailed(f"Ray gave up: {said.strip()[:200]}", "the same command goes on from what is answered")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = getattr(error, "cause", None) or error.__cause__

"""Distributed: `classify --engine ray`, for more photos than one machine answers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptctl import checks, signals
from promptctl.commands.answers import (
    UNKNOWN,
    Answering,
    Taking,
    answering_by_words,
    answerings_by_contexts,
    check_words_alone,
    of_one_backbone,
    several,
)
from promptctl.commands.backbones import fetched_backbone, load_encoder_for
from promptctl.commands.classify import told_by
from promptctl.commands.gather import check_there, listed_in, no_photo
from promptctl.commands.places import check_places
from promptctl.commands.results import check_same, plain
from promptctl.commands.sources import locate
from promptctl.errors import WrongOption
from promptctl.progress import OnProgress
from promptctl.remote import path_of
from promptctl.report import Classified, ClassifyReport
from promptctl.report.distributed import DistributedReport
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.classification.classifier import Answer
    from promptctl.distributed.folder import AnswerFolder
    from promptctl.distributed.run import Found
    from promptctl.distributed.source import Wanted
    from promptctl.distributed.work import Work
    from promptctl.encoding.encoder import ImageEncoder

Load = partial["ImageEncoder"]


def classify_distributed(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    ref: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    output: str | os.PathLike[str] | None,
    address: str | None = None,
    words: str | Sequence[str] | None = None,
    template: str | None = None,
    files_from: str | os.PathLike[str] | None = None,
    null: bool = False,
    exclude: str | Sequence[str] = (),
    top: int = 3,
    burst: float | None = None,
    unknown: float | None = UNKNOWN,
    min_confidence: float = 0.0,
    accept_error: float | None = None,
    together: bool = False,
    detections: object = None,
    blend: float | None = 1.0,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> DistributedReport:
    """What `classify` says of every image, by Ray Data on one machine or many, in a folder of files.

    An output that was begun with the same settings is gone on with: photos that have a row in it are not answered
    again. Photos are also read from .tar files, as WebDataset writes them, and from Parquet files with image bytes.

    inputs          files and folders, here or in an object store; each machine reads them by these names
    ref             NAME, NAME@VERSION or a context file; or several of one backbone
    output          a folder of .jsonl files, or of .parquet files where its name ends so; here or in an object store
    address         of a Ray cluster, or "auto"; None: RAY_ADDRESS, or one is started on this machine while it is needed
    words           instead of a context: class names with commas between them or one by one, told apart zero-shot
    template        of words: a sentence with {}, or a name that clip.templates knows; None: "a photo of a {}."
    files_from      a list of more files and folders, one a line; "-": stdin
    null            its paths end in a NUL instead
    exclude         files and folders to leave out, as in a .gitignore: one pattern or several
    top             classes per image, from 1
    burst           refused, as photos of a burst are answered by one another
    unknown         of a context: share of one's own photos that may be called unknown; None: no photo is
    min_confidence  probability from which on an answer is taken, the others are doubtful
    accept_error    of a context: share of wrong ones among the answers that are taken; None: any
    together        refused, as all photos would be answered by one another
    detections      refused: boxes are looked into on one machine
    blend           of a context: share of the learned text features, 0 to 1, the rest zero-shot's; None: by folds
    model           of a context: where to find its own backbone, if not under its name; of words: backbone, None: mini
    device          auto, cpu, cuda or mps
    store           where names are looked up; None: the store of PROMPTCTL_HOME
    on_progress     called with what is being done, how much is done, and of how much
    returns         a report of what was written
    raises          what `classify` raises, and ExtraMissing, NoCluster, NotResults, OtherResults, FileInUse,
                    OutputFailed, ClusterFailed
    """
    paths, top = checks.paths("inputs", inputs), checks.whole("top", top, 1, checks.MOST, 3)
    blend, model, device = checks.share(blend), checks.model(model), checks.one_of("device", device, checks.DEVICES)
    _check_one_by_one(burst, checks.flag("together", together), detections)
    taking = Taking(unknown, min_confidence, accept_error)
    folder = _folder(output)
    wanted = _wanted(paths, files_from, checks.flag("null", null), checks.texts("exclude", exclude), folder)
    answerings, load, model_name = _answerings(
        several(ref), paths, words, template, blend, model, device, taking, store, on_progress
    )
    about = _about(answerings, blend, top, _settings(taking, top, words, template, wanted, files_from))
    before = folder.head()
    if before is not None and folder.has_rows():
        check_same(folder.path, before, about)
    found, known = _run(
        _work(answerings, load, model_name, top, paths), wanted, folder, about, address, device, on_progress
    )
    if not found.listed:
        folder.abandon()
        raise no_photo(paths, Counter(found.passed_over), excluding=bool(exclude))
    head = {key: about[key] for key in about if key not in _SETTINGS}
    return DistributedReport(
        about=head,
        output=str(folder.path),
        known=known,
        tally=found.tally,
        passed_over=found.passed_over,
        taken=answerings[0].taken,
    )


def _check_one_by_one(burst: float | None, together: bool, detections: object) -> None:
    """WrongOption for what answers a photo by others."""
    asked = {"--together": together, "--burst": burst is not None, "--detections": detections is not None}
    if option := next((name for name, is_asked in asked.items() if is_asked), None):
        raise WrongOption(f"--engine ray answers every photo by itself, and {option} does not", f"leave out {option}")


def _folder(output: str | os.PathLike[str] | None) -> AnswerFolder:
    from promptctl.distributed.cluster import ray_library

    if output is None:
        raise WrongOption("--engine ray writes its answers to a folder", "add --output FOLDER, or s3://bucket/folder")
    ray_library()
    from promptctl.distributed.folder import AnswerFolder, absolute

    path = path_of(checks.path("output", output))
    if str(path).startswith("memory:"):
        raise WrongOption("no other process sees memory://", "give a folder, or s3://bucket/folder")
    return AnswerFolder(absolute(path))


def _wanted(
    paths: Sequence[Path],
    files_from: str | os.PathLike[str] | None,
    null: bool,
    exclude: Sequence[str],
    folder: AnswerFolder,
) -> Wanted:
    """Which photos; whatever a path is relative to here, it is whole elsewhere."""
    from promptctl.distributed.source import Wanted

    if files_from is None and not paths:
        raise WrongOption("there is nothing to classify", "give photos or folders, or a list with --files-from")
    listed = listed_in(checks.path("files_from", files_from), null=null) if files_from is not None else []
    check_there(paths)
    apart = (str(folder.path),) if folder.is_local else ()
    return Wanted(tuple(map(str, paths)), tuple(listed), tuple(exclude), apart, str(Path.cwd()))


def _answerings(
    refs: Sequence[str | os.PathLike[str]],
    paths: Sequence[Path],
    words: str | Sequence[str] | None,
    template: str | None,
    blend: float | None,
    model: str | None,
    device: str,
    taking: Taking,
    store: Store | None,
    on_progress: OnProgress | None,
) -> tuple[list[Answering], Load, str]:
    """What photos are answered by, what loads its tower elsewhere, and the name of its backbone."""
    from promptctl.clip.registry import MINI

    if words is not None:
        check_words_alone(refs, blend, taking)
        answering = answering_by_words(words, template, model or MINI, device, taking, False)
        return [answering], partial(_tower_of, model or MINI, device), model or MINI
    if not refs:
        raise WrongOption("a context or words are needed to classify with", 'add --prompt NAME, or --words "emu, ibis"')
    if template is not None:
        raise WrongOption("a context has a template of its own, --template has no effect", "leave out --template")
    for one in refs:
        check_places(one, paths, store, "promptctl classify {photos} --prompt {context}")
    contexts = of_one_backbone([locate(one, store) for one in refs])
    name, context = next(iter(contexts.items()))
    answerings = answerings_by_contexts(contexts, blend, model, device, on_progress, taking, False)
    return answerings, partial(load_encoder_for, context, name, model, device), context.card.backbone.name


def _tower_of(model: str, device: str) -> ImageEncoder:
    return fetched_backbone(model, device).encoder


def _work(answerings: Sequence[Answering], load: Load, backbone: str, top: int, paths: Sequence[Path]) -> Work:
    from promptctl.clip.registry import MINI
    from promptctl.distributed.work import Crop, Work

    first, *others = answerings
    return Work(
        Crop.by(first.encoder),
        load,
        first.encoder.fingerprint,
        tuple(one.classifier for one in answerings),
        partial(_described, contexts=[str(one.context) for one in others], top=top),
        backbone == MINI,
        frozenset(os.fsencode(str(path)) for path in paths),
    )


def _described(answers: tuple[Answer, ...], contexts: Sequence[str], top: int) -> Classified:
    """What several contexts say of one photo, as the report has it."""
    image, (first, *others) = answers[0], [told_by(one, top) for one in answers]
    assert image.path is not None  # it came from one
    gate = (first.unknown, first.doubtful, first.likeness)
    return Classified(
        image.path, first.top, *gate, sha256=image.sha256, others=dict(zip(contexts, others, strict=True))
    )


_SETTINGS = (
    *("answers", "backbone", "decoder", "unknown", "min_confidence", "accept_error", "top"),
    *("words", "template", "inputs", "files_from", "exclude"),
)


def _settings(
    taking: Taking,
    top: int,
    words: str | Sequence[str] | None,
    template: str | None,
    wanted: Wanted,
    files_from: str | os.PathLike[str] | None,
) -> dict[str, object]:
    """What somebody typed, as far as it decides the answers."""
    return {
        **asdict(taking),
        "top": top,
        "words": words,
        "template": template,
        "inputs": list(wanted.inputs),
        "files_from": None if files_from is None else os.fspath(files_from),
        "exclude": list(wanted.exclude),
    }


def _about(
    answerings: Sequence[Answering], blend: float | None, top: int, asked: Mapping[str, object]
) -> dict[str, Any]:
    """What is said of all answers and decides them, as `classify --output` has it in its first line."""
    from promptctl.encoding.decode import DECODER

    first, *others = answerings
    decided = {
        "backbone": first.encoder.fingerprint,
        "decoder": DECODER,
        "answers": [by.classifier.sha256() for by in answerings],
    }
    report = ClassifyReport(
        context=first.context,
        blend=first.classifier.share,
        blend_chosen=blend is None,
        others={str(other.context): other.classifier.share for other in others},
        class_names=first.classifier.names,
        top=top,
        files=(),
        found=(),
        taken=first.taken,
    )
    return plain({**asked, **report.head(), **decided})


def _run(
    work: Work,
    wanted: Wanted,
    folder: AnswerFolder,
    about: Mapping[str, Any],
    address: str | None,
    device: str,
    on_progress: OnProgress | None,
) -> tuple[Found, int]:
    """What is found, and how many rows were there before."""
    from promptctl.distributed.cluster import cluster

    with cluster(address) as ray, folder.alone():
        on_gpu = _on_gpu(device, ray.cluster_resources(), work.is_small)
        known = folder.clean()
        folder.begin(about)
        signals.say(f"what is answered is in {folder.path}, and the same command goes on from there")
        from promptctl.distributed.run import run

        found = run(work, wanted, folder, known, on_gpu=on_gpu, on_progress=on_progress)
        folder.sweep()
        return found, known


def _on_gpu(device: str, resources: Mapping[str, float], is_small: bool) -> bool:
    """Whether the towers run on GPUs; WrongOption where somebody wants that and there are none."""
    has_any = resources.get("GPU", 0) >= 1
    if device == "cuda" and not has_any:
        raise WrongOption("no machine of the cluster has a GPU", "--device cpu")
    return device == "cuda" or (device == "auto" and has_any and not is_small)

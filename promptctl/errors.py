"""Every error of promptctl: a sentence, a hint and an exit code.

```
PromptctlError                 exit 1
├── NotInStore (10)            ContextNotFound  VersionNotFound  CandidateNotFound  NotInTrash
│                              NoSuchFile  NotAFile  NotAContext  NoSuchOperation
├── StoreLocked (11)           OperationRuns  FileInUse  WatchedAlready
├── ResultsExist  OtherResults  NotResults (12)
├── ContextExists  NewestVersion  Outdated
├── InvalidName
├── BadContextFile (12)        CorruptContext  NewerFormat  BadCheckpoint
├── BackboneError              UnknownBackbone  UnsupportedBackbone  WeightsUnavailable (13)  BackboneMismatch
│                              SameBackbone  CheckpointMismatch  LibraryMissing  WeightsDoNotFit  BackboneNeeds
│                              NoVisualTokens
├── NoShots
├── DatasetError               NoImages  NoLabelColumn  OneClass  TooFewShots  UnknownClasses  NameTooLong
│                              ClassNotFound  ClassNameTaken  NearlyNamed  TooFewClasses  PhotosMissing
│                              ContextTooLong  BadTemplate  TemplateTooLong  TooManyClasses  CorruptTokens
│                              NotReached
├── StorageFailed  NotDurable  InTheWay  NoLocks  LearnedButNotStored  OutputFailed  ExportFailed  CacheBusy
├── BadPlan (12)  BadResults (12)  BadTarget
├── BadJournal (12)            JournalDamaged  NewerJournal  BadStep
├── CannotTakeBack  TakenBackAlready
├── BadSetting (2)  WrongArgument  OnlyHere (2)
├── HubError                   HubUnreachable (13)  NoHubToken  HubTokenRefused  HubForbids  GatedRepository
│                              NoRepository (10)  NoRevision (10)  NotShared (10)  HubFailed  HubChanged  HubClash
│                              InvalidRepository (2)
├── NeedsAnswer  InvalidSetting  HomeUnknown  UnknownLearner  SettingsClash  SettingUnheeded  UnknownSort  WrongOption
│                              OneContextForAll  NotComparable  ExtraMissing
└── LearningFailed
```
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Sequence
from pathlib import Path


def reason_of(error: OSError) -> str:
    """What the system says of a failure, in small letters: "no space left on device"."""
    return (error.strerror or str(error)).lower()


_LONGEST_REASON = 200  # characters
_LONGEST_NAME = 400  # characters
_OF_THE_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EEXIST, errno.ENOTDIR)


class PromptctlError(Exception):
    """An error a person can act on: `str()` is the sentence, `.hint` the next command or None."""

    exit_code = 1

    def __init__(self, sentence: str, hint: str | None = None) -> None:
        super().__init__(sentence)
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """To another process as it is; a class below takes something else than the sentence."""
        return _error_again, (type(self), self.args), self.__dict__


def _error_again(kind: type[PromptctlError], args: tuple[object, ...]) -> PromptctlError:
    return kind.__new__(kind, *args)


class Interrupted(BaseException):
    """Ctrl-C was pressed, or the system asked the program to end."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("interrupted")
        self.exit_code = exit_code


class ReaderLeft(BaseException):
    """The reader of our output closed the pipe."""


class NotInStore(PromptctlError, LookupError):
    """What was asked for is not in the store."""

    exit_code = 10


class ContextNotFound(NotInStore):
    def __init__(self, name: str, *, near: str | None = None, removed: bool = False) -> None:
        hint = f"did you mean '{near}'?" if near else "promptctl list"
        super().__init__(f"no context named '{name}'", f"promptctl restore {name}" if removed else hint)


class NotAContext(NotInStore):
    def __init__(self, path: str, hint: str = "promptctl list") -> None:
        is_folder = Path(path).is_dir()
        what = "a folder, and a context was expected" if is_folder else "not a context file"
        super().__init__(f"{path} is {what}", hint)


class LearnedButNotStored(PromptctlError):
    """What was learned is in a file, because the store could not keep it."""

    def __init__(self, error: PromptctlError, file: Path, name: str) -> None:
        super().__init__(
            f"{error}; what was learned is in {file}", f"promptctl import {shlex.quote(str(file))} --name {name}"
        )
        self.exit_code = error.exit_code


class NoSuchFile(NotInStore):
    def __init__(self, path: Path) -> None:
        super().__init__(f"there is no context file {path}", f"ls {shlex.quote(str(path.parent))}")


class NotAFile(NoSuchFile):
    """A pipe or a device, which may never end."""

    def __init__(self, path: Path) -> None:
        NotInStore.__init__(self, f"{path} is a pipe or a device, and a file was expected", "save it as a file first")


class NotInTrash(NotInStore):
    def __init__(self, name: str, *, stored: bool) -> None:
        where = ", it is in the store" if stored else ""
        hint = f"promptctl show {name}" if stored else "promptctl list --trash"
        super().__init__(f"no removed context named '{name}'{where}", hint)


class VersionNotFound(NotInStore):
    def __init__(self, name: str, version: int, *, newest: int, removed: bool = False) -> None:
        super().__init__(
            f"'{name}' has no version {version}, the newest is {newest}",
            f"promptctl restore {name}@{version}" if removed else f"promptctl log {name}",
        )


class CandidateNotFound(NotInStore):
    def __init__(self, name: str, *, removed: bool = False) -> None:
        super().__init__(
            f"'{name}' has no candidate, which is an update that the guard refused",
            f"promptctl restore {name}@candidate" if removed else f"promptctl log {name}",
        )


class NewestVersion(PromptctlError):
    """The newest version cannot be removed alone, or its number would be used again."""

    def __init__(self, ref: str, older: str) -> None:
        super().__init__(
            f"{ref} is the newest version", f"promptctl restore {older}   (an older one becomes the newest)"
        )


class ContextExists(PromptctlError):
    def __init__(self, name: str, hint: str | None = None) -> None:
        learning = "add --fresh to learn its next version from scratch (old versions stay), or choose another --name"
        super().__init__(f"a context named '{name}' already exists", hint or learning)


class Outdated(PromptctlError):
    """A context was changed by another program while this one was working on it."""

    def __init__(self, name: str, version: int, newest: int) -> None:
        super().__init__(
            f"{name}@{newest} is newer than {name}@{version}, which this update started from", "run the command again"
        )


class InvalidName(PromptctlError):
    def __init__(self, name: str, reason: str, *, suggestion: str | None = None, option: str = "") -> None:
        self.reason, self.suggestion = reason, suggestion
        hint = "use letters, digits, '-' and '_'"
        if suggestion:
            hint = f"{option}{suggestion}" if option else f"try '{suggestion}'"
        super().__init__(f"{name!r} is not a context name: {reason}", hint)


class BadContextFile(PromptctlError):
    """A file that should hold a context does not."""

    exit_code = 12


class CorruptContext(BadContextFile):
    def __init__(self, path: Path | str, reason: str) -> None:
        # what a reader quotes of a hostile file may be long
        short = " ".join(reason[:_LONGEST_REASON].split())
        super().__init__(f"{path} is not an intact context: {short}", "restore the file from a copy, or learn again")


class NewerFormat(BadContextFile):
    def __init__(self, path: Path | str, found: int, known: int) -> None:
        super().__init__(f"{path} has format {found}, this promptctl reads up to {known}", "update promptctl")


class BadCheckpoint(BadContextFile):
    def __init__(self, path: Path, reason: str, hint: str | None = None) -> None:
        super().__init__(f"{path} is not a CoOp checkpoint: {reason}", hint)


class BackboneError(PromptctlError):
    """The backbone cannot be used."""


class UnknownBackbone(BackboneError):
    def __init__(self, name: str, *, near: Sequence[str] = (), reason: str = "", hint: str | None = None) -> None:
        like = "did you mean " + " or ".join(f"'{other}'" for other in near) + "?" if near else "promptctl models list"
        super().__init__(f"no backbone named '{name}'" + (f": {reason}" if reason else ""), hint or like)


class UnsupportedBackbone(BackboneError):
    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"'{name}' cannot learn a context: {reason}", "promptctl models list")


class NoVisualTokens(UnsupportedBackbone):
    """An image tower that takes no learned tokens."""

    def __init__(self, name: str, reason: str) -> None:
        PromptctlError.__init__(
            self, f"'{name}' cannot learn visual tokens: {reason}", "--model ViT-B-32/laion2b_s34b_b79k"
        )


class WeightsUnavailable(BackboneError):
    exit_code = 13

    def __init__(self, name: str, reason: str, what: str = "weights") -> None:
        self.what = what
        is_not = "are not" if what.endswith("s") else "is not"
        super().__init__(
            f"the {what} of '{name}' {is_not} on this machine and {reason}",
            f"where there is a network: promptctl models pull {shlex.quote(name)}",
        )


class LibraryMissing(BackboneError):
    def __init__(self, name: str, library: str) -> None:
        super().__init__(
            f"'{name}' cannot be loaded: {library} is not installed", "pip install torch torchvision open_clip_torch"
        )


class BackboneNeeds(BackboneError):
    """A backbone needs a library of one of promptctl's extras."""

    def __init__(self, name: str, library: str, extra: str) -> None:
        super().__init__(
            f"'{name}' needs the library {library}, which is not installed", f"pip install 'promptctl[{extra}]'"
        )


class WeightsDoNotFit(BackboneError):
    """A file of weights is of another architecture than the one it is named with.

    lacking, foreign   names of tensors     shapes   what is said of a tensor in another shape
    """

    def __init__(
        self,
        path: Path,
        model: str,
        *,
        total: int,
        lacking: Sequence[str] = (),
        shapes: Sequence[str] = (),
        foreign: Sequence[str] = (),
    ) -> None:
        said = (
            f"it lacks {_some(lacking, f' of {total} tensors')}" if lacking else "",
            _some(shapes, f" tensor{'s' if len(shapes) > 1 else ''} in another shape") if shapes else "",
            f"{_some(foreign)} that '{model}' has not" if foreign else "",
        )
        super().__init__(
            f"{path} does not fit '{model}': {'; '.join(filter(None, said))}",
            f"promptctl models list --all   (with another architecture: --model ARCHITECTURE:{shlex.quote(str(path))})",
        )


def _some(names: Sequence[str], what: str = "") -> str:
    """How many there are, and the first of them; names that a file chose are cut."""
    shown = ", ".join(name[:100] for name in names[:2])
    return f"{len(names)}{what} ({shown}{', …' if len(names) > 2 else ''})"


class BackboneMismatch(BackboneError):
    def __init__(self, context: str, expected: str, found: str) -> None:
        super().__init__(
            f"'{context}' was learned on other weights or preprocessing ({expected}) than this backbone has ({found})",
            f"promptctl show {context}",
        )


class OtherBackbone(BackboneError):
    """A context is to learn on with another backbone than its own."""

    def __init__(self, ref: str, own: str, asked: str) -> None:
        name = ref.partition("@")[0]
        super().__init__(
            f"{ref} was learned on {own}, its shots mean nothing to {asked}",
            f"promptctl rebase {name} --model {shlex.quote(asked)} PHOTOS   (learns it again there)",
        )


class SameBackbone(BackboneError):
    """A context is to be learned again on the backbone that it has."""

    def __init__(self, ref: str, model: str) -> None:
        name = ref.partition("@")[0]
        super().__init__(
            f"{ref} was learned on {model} already", f"promptctl learn PHOTOS --name {name}   (more photos, or --fresh)"
        )


class CheckpointMismatch(BackboneError):
    def __init__(self, path: Path, model: str, reason: str, *, others: Sequence[str]) -> None:
        named = "--model " + " or ".join(others) if others else "--model with the one it was learned on"
        super().__init__(
            f"{path} was not learned on '{model}': {reason}", f"{named} (a CoOp checkpoint does not name its backbone)"
        )


class CannotLearnOn(PromptctlError):
    """A context that classifies and has nothing to learn on from."""

    def __init__(self, ref: str, name: str, because: str) -> None:
        super().__init__(
            f"{ref} can classify but not learn on: {because}",
            f"--fresh learns the next version of '{name}' from these photos alone; old versions stay",
        )


class NoShots(PromptctlError):
    """A context that keeps nothing of its images is to do what needs them."""

    def __init__(self, ref: str, doing: str, because: str, hint: str) -> None:
        super().__init__(f"{ref} cannot {doing}: {because}", hint)


class DatasetError(PromptctlError):
    """The labelled images cannot be used as they are."""


class NoImages(DatasetError):
    pass


class NotReached(DatasetError):
    """A store or host that gives nothing at all: no credentials, no connection."""

    def __init__(self, url: str, reason: str, hint: str | None) -> None:
        super().__init__(f"{url} cannot be reached: {reason[:1].lower()}{reason[1:]}", hint)


class PhotosMissing(DatasetError):
    """Classes none of whose photos were found again."""

    def __init__(self, labels: Sequence[str], ref: str, photos: Path, command: str) -> None:
        shown = ", ".join(f"'{label}'" for label in labels[:5]) + (", …" if len(labels) > 5 else "")
        super().__init__(
            f"none of the photos that {ref} learned {shown} from are in {photos}",
            f"give the folder they are in, or leave the class{'' if len(labels) == 1 else 'es'} out: {command}",
        )


class NoLabelColumn(DatasetError):
    """A list of images without labels."""


class OneClass(DatasetError):
    """There is nothing to tell apart.

    own       the folder of the class, where it has one
    instead   what was probably meant
    lost      what could not be used, and why
    """

    def __init__(
        self, folder: Path, label: str, *, own: Path | None = None, instead: Path | None = None, lost: str | None = None
    ) -> None:
        more = f"add a folder of something else beside {own}" if own else "list images of something else too"
        super().__init__(
            f"{folder} has one class only, '{label}', and learning needs at least two",
            f"did you mean {instead}?" if instead else f"{lost} was skipped; or {more}" if lost else more,
        )


class LooksKnown(DatasetError):
    """A folder whose name, or what --map calls it, is nearly that of a class."""

    def __init__(self, folder: str, word: str, label: str, more: int, command: str) -> None:
        others = f", and {more} more like this" if more else ""
        called = f"the folder '{folder}'" if word == folder else f"'{word}', which the folder '{folder}' is to be,"
        super().__init__(
            f"{called} is called nearly like the class '{label}'{others}",
            f"{command}   (it is that class), or --force-new-class   (it is another)",
        )


class ClassNotFound(DatasetError):
    """A word that is no class of a context."""

    def __init__(self, word: str, ref: str, *, near: str | None = None, where: str = "") -> None:
        name = ref.partition("@")[0]
        super().__init__(
            f"'{word}'{where} is no class of {ref}",
            f"did you mean '{near}'?" if near else f"promptctl class list {name}",
        )


class ClassNameTaken(DatasetError):
    """A name that is to be given to a class, and that another has: as its label, its name or an alias."""

    def __init__(self, name: str, label: str, ref: str) -> None:
        context = ref.partition("@")[0]
        what = "is a class of" if name == label else f"is what the class '{label}' is called too in"
        hint = f"promptctl class list {context}   (choose another name, or merge the two)"
        super().__init__(f"'{name}' {what} {ref} already", hint)


class NearlyNamed(DatasetError):
    """A name that is to be given to a class, and nearly that of another."""

    def __init__(self, name: str, label: str, ref: str) -> None:
        super().__init__(
            f"'{name}' is nearly the name of the class '{label}' of {ref}",
            f"use '{label}', or add --force-new-class   (it is another class)",
        )


class TooFewClasses(DatasetError):
    """What is left would be nothing to tell apart."""

    def __init__(self, ref: str, left: int) -> None:
        name = ref.partition("@")[0]
        super().__init__(
            f"{ref} would keep {'one class' if left == 1 else 'no class'}, and two are the fewest",
            f"promptctl remove {name}   (all of it, to the trash)",
        )


class UnknownFolders(DatasetError):
    """Folders that are no class of a context, where only those were asked for."""

    def __init__(self, folders: Sequence[str], ref: str) -> None:
        shown = ", ".join(f"'{one}'" for one in folders[:5]) + (", …" if len(folders) > 5 else "")
        super().__init__(
            f"{shown} {'is no class' if len(folders) == 1 else 'are no classes'} of {ref}",
            "leave out --only-known to add them, or --map FOLDER=CLASS",
        )


class NothingToMap(DatasetError):
    """A folder that is to be called otherwise and is not there."""

    def __init__(self, folder: str, photos: Path, found: Sequence[str], near: str | None, of: str) -> None:
        shown = ", ".join(f"'{one}'" for one in found[:12]) + (", …" if len(found) > 12 else "")
        super().__init__(
            f"{photos} has no class folder '{folder}' to take for '{of}': it has {shown}",
            f"--map {shlex.quote(f'{near}={of}')}" if near else "--map FOLDER=CLASS with one of these, or leave it out",
        )


class Relabels(DatasetError):
    """Photos that are stored under another class than their folder's."""

    def __init__(self, count: int, first: str, stored: str, folder: str, ref: str) -> None:
        photos = "1 photo is" if count == 1 else f"{count} photos are"
        super().__init__(
            f"{photos} stored in {ref} under another class: {first} as '{stored}', its folder says '{folder}'",
            "--on-conflict relabel   (the folder is right), or --on-conflict keep   (what is stored is)",
        )


class TooFewShots(DatasetError):
    def __init__(self, label: str, found: int, asked: int | None, *, because: str = "") -> None:
        why = f" ({because})" if because else ""
        if found:
            sentence = (
                f"class '{label}' has {found} usable image{'' if found == 1 else 's'}{why}, {asked} were asked for"
            )
            super().__init__(sentence, f"--shots {found}, or more images of '{label}'")
        else:
            sentence = f"class '{label}' has no usable image{why}"
            super().__init__(sentence, f"add images of '{label}', or move its folder away")


class UnknownClasses(DatasetError):
    def __init__(self, labels: Sequence[str], context: str) -> None:
        shown = ", ".join(f"'{label}'" for label in labels[:5]) + (", …" if len(labels) > 5 else "")
        verb = "is not a class" if len(labels) == 1 else "are not classes"
        super().__init__(f"{shown} {verb} of '{context}'", f"promptctl show {context}")


class TooManyClasses(DatasetError):
    def __init__(self, classes: int, about: int) -> None:
        super().__init__(
            f"{classes} classes with names as long as these do not fit into a context file, about {about} do",
            "divide them into several contexts",
        )


def _shortened(text: str) -> str:
    """In quotes, and no more of it than a person reads."""
    return f"'{text}'" if len(text) <= _LONGEST_NAME else f"'{text[:_LONGEST_NAME]} …'"


class NameTooLong(DatasetError):
    def __init__(self, name: str, tokens: int, available: int) -> None:
        super().__init__(
            f"the class name {_shortened(name)} is {tokens} tokens long, {available} fit beside the context",
            "give it a shorter name with --classes names.csv, or fewer --context-tokens",
        )


class CorruptTokens(DatasetError):
    def __init__(self, name: str, known: int) -> None:
        super().__init__(
            f"class '{name}' has tokens outside the vocabulary of its backbone, which has {known}",
            "restore the file from a copy, or import it again",
        )


class ContextTooLong(DatasetError):
    def __init__(self, tokens: int, longest: int) -> None:
        super().__init__(
            f"{tokens} context tokens leave no room for a class name",
            f"--context-tokens {min(16, longest)}, or any number up to {longest}",
        )


class BadTemplate(DatasetError):
    def __init__(self, template: str, known: Sequence[str]) -> None:
        super().__init__(
            f"'{template}' is neither a sentence with {{}} for the class name nor a known template",
            f'for example --template "a photo of a {{}}, a type of bird."; known are {", ".join(known)}',
        )


class TemplateTooLong(DatasetError):
    def __init__(self, sentence: str, tokens: int, available: int) -> None:
        super().__init__(
            f"the template says {_shortened(sentence)}, which is {tokens} tokens long, and {available} fit",
            "a shorter --template, or shorter names with --classes names.csv",
        )


class StorageFailed(PromptctlError):
    """The disk refused a change of the store."""

    def __init__(self, error: OSError, doing: str, store: Path) -> None:
        place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else store
        elsewhere = "PROMPTCTL_HOME moves the store elsewhere" if error.errno in _OF_THE_PLACE else None
        super().__init__(f"cannot {doing}: {place}: {reason_of(error)}", elsewhere)


class NotDurable(StorageFailed):
    """The change has happened, but the disk did not confirm that it will stay."""

    def __init__(self, error: OSError, folder: Path) -> None:
        PromptctlError.__init__(
            self,
            f"done, but it may not survive a power cut: {folder}: {reason_of(error)}",
            "check the disk, then run promptctl check",
        )


class InTheWay(StorageFailed):
    """A link, a pipe or a folder where the store keeps a file."""

    def __init__(self, path: Path) -> None:
        PromptctlError.__init__(
            self, f"{path} is not a regular file, and the store needs one there", f"ls -l {shlex.quote(str(path))}"
        )


class NoLocks(StorageFailed):
    """A drive without file locks, where two programs could change a store at once."""

    def __init__(self, error: OSError, store: Path) -> None:
        PromptctlError.__init__(
            self,
            f"{store} is on a drive without file locks ({reason_of(error)}), and the store is not changed without them",
            "PROMPTCTL_HOME moves the store to a drive of this machine; reading still works",
        )


class StoreLocked(PromptctlError):
    """Another program is changing the store and does not finish."""

    exit_code = 11

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            f"{holder} has held {path} too long", "end it, or wait longer with PROMPTCTL_LOCK_TIMEOUT=SECONDS"
        )


class NoSuchOperation(NotInStore):
    """A number that no operation of the journal has, or no operation at all."""

    def __init__(self, number: int | None = None) -> None:
        what = "nothing is recorded that could be taken back" if number is None else f"there is no operation {number}"
        super().__init__(what, "promptctl operations")


class OperationRuns(PromptctlError):
    """Another program is at an operation this moment."""

    exit_code = 11

    def __init__(self, number: int) -> None:
        super().__init__(f"operation {number} is still running in another program", "wait for it, or end it")


class CannotTakeBack(PromptctlError):
    """An operation that no other can take back."""

    def __init__(self, number: int, reason: str, hint: str) -> None:
        super().__init__(f"operation {number} cannot be taken back: {reason}", hint)


class BadPlan(PromptctlError):
    """A file that is no plan of a sort, or one that leads elsewhere than it says."""

    exit_code = 12

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is not a plan that can be applied: {reason}", "promptctl sort PHOTOS --plan FILE")


class BadResults(PromptctlError):
    """A file that is none of what `classify --format jsonl` prints."""

    exit_code = 12

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} is not what classify found: {reason}",
            "promptctl classify PHOTOS --prompt NAME --output results.jsonl",
        )


class BadTarget(PromptctlError):
    """A folder that nothing is sorted into."""

    def __init__(self, into: Path, reason: str) -> None:
        super().__init__(f"nothing is sorted into {into}: {reason}", "name another folder with --into")


class BadJournal(PromptctlError):
    """A file of the journal that cannot be acted on."""

    exit_code = 12


class JournalDamaged(BadJournal):
    def __init__(self, path: Path, how: str = "it does not begin as an operation does") -> None:
        quoted = shlex.quote(str(path))
        aside = shlex.quote(f"{path}.damaged")
        super().__init__(f"{path} is damaged: {how}", f"mv {quoted} {aside}   (what it did is not taken back then)")


class NewerJournal(BadJournal):
    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} was written by a newer promptctl", "update promptctl")


class BadStep(BadJournal):
    """An operation of a kind that is not known here."""

    def __init__(self, number: int, kind: str) -> None:
        super().__init__(f"operation {number} has steps that are not known here: '{kind}'", "update promptctl")


class TakenBackAlready(PromptctlError):
    def __init__(self, number: int, by: int) -> None:
        super().__init__(
            f"operation {number} was taken back by operation {by}", f"promptctl undo {by}   (to have it back)"
        )


class FileInUse(PromptctlError):
    """Two programs that would write one file."""

    exit_code = 11

    def __init__(self, path: Path) -> None:
        super().__init__(f"another program is writing {path}", "wait for it, or give another --output")


class WatchedAlready(PromptctlError):
    """Two programs that would sort one folder into one other."""

    exit_code = 11

    def __init__(self, inbox: Path, into: Path) -> None:
        super().__init__(f"another program sorts what arrives in {inbox} into {into}", "wait for it, or end it")


class ResultsExist(PromptctlError):
    """A file in the place of results, which are never written over anything."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists already", "add --resume to go on with it, or give another --output")


class OtherResults(PromptctlError):
    """Results that were begun with other settings, or by another version of a context."""

    def __init__(self, path: Path, setting: str, before: object, now: object) -> None:
        super().__init__(
            f"{path} was begun with {setting} {_short(before)}, and {_short(now)} is asked",
            "the same settings as then, or another --output",
        )


class NotResults(PromptctlError):
    """A file that cannot be gone on with."""

    exit_code = 12

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be gone on with: {reason}", "give another --output")


def _short(value: object) -> str:
    return "none" if value is None else f"{value!r:.80}"


class OutputFailed(PromptctlError):
    def __init__(self, error: OSError) -> None:
        super().__init__(f"the result cannot be written: {reason_of(error)}")


class ExportFailed(PromptctlError):
    def __init__(self, path: Path, reason: str, hint: str | None = None) -> None:
        super().__init__(f"{path} cannot be written: {reason}", hint)


class CacheBusy(PromptctlError):
    """A cache that cannot be emptied; `reason` is the database's, where another program is not what keeps it."""

    def __init__(self, path: Path, reason: str = "") -> None:
        if not reason or "locked" in reason or "busy" in reason:
            super().__init__(f"{path} is in use by another program", "try again when it has finished")
        else:
            super().__init__(f"{path} cannot be emptied: {reason}", f"rm {shlex.quote(str(path))}*")


class InvalidSetting(PromptctlError):
    def __init__(self, variable: str, found: str, expected: str, example: str) -> None:
        super().__init__(f"{variable} is {found!r}, {expected} was expected", example)


class HomeUnknown(PromptctlError):
    """A process without HOME whose user the system does not know, as in some containers."""

    def __init__(self, variable: str) -> None:
        super().__init__(
            "no home folder is known to keep contexts in: HOME is not set, and the system does not know this user",
            f"export {variable}=/a/folder",
        )


class NeedsAnswer(PromptctlError):
    def __init__(self, doing: str, command: str, *, is_program: bool = False) -> None:
        why = "an agent is asked nothing" if is_program else "there is no terminal to ask on"
        super().__init__(f"{doing} asks first, and {why}", command)


class UnknownSort(PromptctlError):
    def __init__(self, asked: str, known: Sequence[str]) -> None:
        super().__init__(f"contexts cannot be sorted by '{asked}'", f"--sort {', '.join(known)}")


class WrongOption(PromptctlError):
    """An option that means nothing for this kind of file."""


class OneContextForAll(WrongOption):
    """The vectors of one class are asked for where all classes share them."""

    exit_code = 2

    def __init__(self, ref: str, label: str, *, has_vectors: bool) -> None:
        of_class = shlex.join(["promptctl", "inspect", ref, "--classes", "--class", label])
        what = "has one context for all classes" if has_vectors else "has no context, only weights of its classes"
        super().__init__(f"{ref} {what}", f"{of_class}   (what is near the class)")


class NotComparable(PromptctlError):
    """The vectors of two contexts that have nothing to do with each other."""

    def __init__(self, a: str, b: str, because: str) -> None:
        super().__init__(
            f"the vectors of {a} and {b} cannot be compared: {because}", shlex.join(["promptctl", "diff", b, a])
        )


class ExtraMissing(PromptctlError):
    """A library that only this needs is not installed; `extra` is the one of promptctl's that brings it."""

    def __init__(self, what: str, library: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the library {library}, which is not installed", f"pip install 'promptctl[{extra}]'"
        )


class RowsTaken(PromptctlError):
    """A data frame is asked for of rows that came one at a time, and went elsewhere."""

    def __init__(self, command: str) -> None:
        super().__init__(
            f"the rows of this report were taken before: {command} again for a data frame",
            f"report = promptctl.{command}(…); report.to_pandas()",
        )


class UnknownLearner(PromptctlError):
    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(
            f"no learner is called '{name}'" if name else "no learner is named", f"the learners are {', '.join(known)}"
        )


class BadSetting(PromptctlError, ValueError):
    """A setting that nothing could be done by, from the command line or from Python.

    setting   as Python calls it: context_tokens
    example   a value that would do
    """

    exit_code = 2

    def __init__(self, setting: str, found: object, expected: str, example: object = None) -> None:
        self.setting = setting
        value = "" if example is None else f" {shlex.quote(str(example))}"
        super().__init__(f"{setting} is {found!r:.80}, {expected} was expected", f"{option_of(setting)}{value}")


class OnlyHere(PromptctlError):
    """A URL where files are written or moved, which is done on this machine alone."""

    exit_code = 2

    def __init__(self, url: str, doing: str, hint: str) -> None:
        super().__init__(f"{doing} on this machine, and {url} is on another", hint)


class WrongArgument(PromptctlError, ValueError):
    """Something that only a Python program can give, and that is not what is expected."""

    def __init__(self, what: str, found: str, expected: str) -> None:
        super().__init__(f"{what} is {found}, {expected} was expected")


def option_of(setting: str) -> str:
    """What the command line calls a setting."""
    return "--" + setting.replace("_", "-")


class SettingsClash(PromptctlError):
    def __init__(self, learner: str, because: str, option: str, takers: Sequence[str]) -> None:
        super().__init__(
            f"{learner} {because}, so {option} has no effect",
            f"leave out {option}, or --learner {_any_of(takers)}",
        )


class TokensClash(SettingsClash):
    """What visual tokens do not go with."""

    def __init__(self, sentence: str, hint: str) -> None:
        PromptctlError.__init__(self, sentence, hint)


class SettingUnheeded(SettingsClash):
    """A setting that none of the learners takes."""

    def __init__(self, option: str, learners: Sequence[str], *, add: Sequence[str]) -> None:
        PromptctlError.__init__(
            self,
            f"{option} has no effect on {_any_of(learners)}",
            f"leave out {option}, or add {_any_of(add)} to --learners",
        )


def _any_of(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


class LearningFailed(PromptctlError):
    def __init__(self, step: int, lr: float) -> None:
        super().__init__(f"the loss was no longer finite at step {step}", f"a smaller --lr, for example {lr / 10:g}")


class HubError(PromptctlError):
    """What stands between this machine and a repository of a hub."""


class HubUnreachable(HubError):
    exit_code = 13

    def __init__(self, repository: str, reason: str, command: str) -> None:
        super().__init__(f"{repository} cannot be reached: {reason}", f"where there is a network: {command}")


class NoHubToken(HubError):
    def __init__(self, repository: str) -> None:
        super().__init__(
            f"nothing is written to {repository} without a token of the hub, and none is set",
            "hf auth login   (or export HF_TOKEN=…, a token that may write)",
        )


class HubTokenRefused(HubError):
    """A token that has expired, or was mistyped."""

    def __init__(self, *, of_variable: bool) -> None:
        where, hint = ("HF_TOKEN", "unset HF_TOKEN, or ") if of_variable else ("`hf auth login`", "")
        super().__init__(f"the hub does not accept the token of {where}", f"{hint}hf auth login   (with a new one)")


class HubForbids(HubError):
    def __init__(self, repository: str, reason: str) -> None:
        told = f": {reason}" if reason else ""
        super().__init__(
            f"the hub does not let this token do that with {repository}{told}",
            "hf auth login   (with a token that may write there)",
        )


class GatedRepository(HubError):
    def __init__(self, repository: str, url: str) -> None:
        super().__init__(f"{repository} is open only to those whom its owner lets in", f"ask for access at {url}")


class NoRepository(HubError):
    exit_code = 10

    def __init__(self, repository: str, *, has_token: bool) -> None:
        who = "this token may see" if has_token else "can be seen without a token"
        hint = "check the name" if has_token else "check the name, or hf auth login   (if it is private)"
        super().__init__(f"there is no repository {repository} that {who}", hint)


class NoRevision(HubError):
    exit_code = 10

    def __init__(self, repository: str, revision: str) -> None:
        super().__init__(f"{repository} has no revision '{revision}'", f"promptctl pull {repository}   (the newest)")


class NotShared(HubError):
    """A repository without a context."""

    exit_code = 10

    def __init__(self, repository: str, file: str) -> None:
        super().__init__(f"{repository} has no {file}, so it holds no context", "promptctl push makes one that does")


class HubFailed(HubError):
    def __init__(self, repository: str, reason: str, hint: str | None = "try again later") -> None:
        super().__init__(f"{repository}: {reason}", hint)


class HubChanged(HubError):
    """Somebody else wrote to a repository meanwhile."""

    def __init__(self, repository: str) -> None:
        super().__init__(f"{repository} was changed by somebody else meanwhile", "run the command again")


class HubClash(HubError):
    """What was asked does not fit what is there; nothing was written."""


class InvalidRepository(HubError):
    exit_code = 2

    def __init__(self, text: str, example: str) -> None:
        super().__init__(f"{text!r:.120} is no repository of a hub, which is called OWNER/NAME", example)

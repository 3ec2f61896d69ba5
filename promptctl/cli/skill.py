"""The page of `skill`: all that a program needs to know of promptctl before it drives it, the usual way first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from promptctl import __version__
from promptctl.report import CommandFacts, ParameterFacts

_SHARED = 0.9  # of the commands: what so many of them take is said once

_OPENING = """\
---
name: promptctl
description: "{description}"
---

# promptctl {version}

What is learned from a few labelled photos is a *context*: a small file under a name, with versions (`birds@2`).
Photos stay on this machine. The network is used by what names something there, and by nothing else: `models pull`, a
`--model` that is not here yet, `push`, `pull`, a URL.

## The usual way

```sh
# a folder for each class, with 4 photos or more: ./photos/CLASS/*.jpg; ./test the same, with other photos
promptctl learn ./photos --name birds
promptctl evaluate birds ./test
promptctl classify ./unsorted --prompt birds
promptctl sort ./unsorted --prompt birds --into ./sorted --dry-run
promptctl sort ./unsorted --prompt birds --into ./sorted
promptctl undo
```

- learn: a name that exists learns more, as its next version. `--model mini`, the default, is inside the package: quick,
  but weak on real photos. Better is `--model ViT-B-16/openai` (600 MB, once: `models pull`; `models list` says what is
  here). A context keeps its model.
- evaluate: a row for each class; the first sentence on stderr is of all. `--fail-under 90` ends with 4 below 90 %.
- classify: a row for each photo: `label`, `probability`, the next guesses, and `unknown`, true where it is unlike all
  that was learned (`--no-unknown` where there is no such photo). `doubtful` is true below `--min-confidence 0.8`.
  Very many photos: `--output answers.jsonl` (`--resume` goes on), then `sort --from answers.jsonl`. Without a context:
  `--words cat,dog`.
- sort: copies to ./sorted/CLASS, ./sorted/unknown and ./sorted/doubtful; `--move` and `--link` instead. `--dry-run`
  prints where each photo would go, as JSON lines; `--plan FILE` writes it, `apply FILE` does it.
- tag: writes the classes as keywords into XMP files beside the photos, which stay where they are.
- undo: takes back the last sort or change of a context; `operations` lists them, `undo NUMBER` takes back that one.
- Where answers are bad: `doctor birds` looks for wrong labels, `inspect birds --classes` for classes that are alike,
  `review ./unsorted --prompt birds --suggest 20` for photos whose label would teach most.

## What comes back

stdout is data. stderr is talk: sentences, `warning:`, `next:` with what to type next, and where something failed

```
error: no context named 'brids'
hint:  did you mean 'birds'?
```

A wrong option or argument is told as `Usage:` and `Error:` instead.

- `--format agent`, the default where AI_AGENT, AGENT or the variable of a known agent is set: one table between tabs,
  headings first, nothing cut, shares from 0 to 1. No colours, no bars, no questions. `--format csv`, `jsonl` or `table`
  and `-q` (names or paths alone) win over the variable; PROMPTCTL_AGENT=0 turns it off.
- `--json`: one object with all there is, `schema_version` and `type` (the command) first. Keys are only ever added: run
  a command once to see them. Of the usual way:
{keys}

| exit code | |
|---|---|
{codes}

## What is never done unless asked for

- No photo is changed or deleted, no file replaced: `sort` copies unless told to `--move`, a file that exists needs
  `--force`.
- No version of a context is rewritten: a change makes the next one, `restore NAME@1` goes back, `remove` moves to a
  trash.
- {asking} (with `--purge`) ask a person, and need `--yes` where there is none: else they exit
  with 1, and the hint is the command. What `gc` and `--purge` delete cannot be brought back.
- `learn` relabels no stored photo without `--on-conflict relabel`. A version that forgets too much is kept beside the
  others as `NAME@candidate`, with exit code 4; `promote NAME` takes it all the same.
- `watch` and `review` go on until Ctrl-C: use `watch --once` and `review --suggest N`.

## Commands

`promptctl skill COMMAND` says what the options of one mean.

"""
_DESCRIPTION = (
    "Teach CLIP classes of photos from a few labelled ones, then classify and sort photos by them, on this machine. "
    "Use it to classify or tag photos, to sort them into folders, to learn, measure or repair an image classifier from "
    "small folders of examples, or to take back a sort."
)
KEYS = {  # of --json, as jq names them
    "learn": (".context", ".accuracy", ".measured_on", ".per_class[].label"),
    "evaluate": (".learned.top1", ".zero_shot.top1", ".per_class[].accuracy", ".per_class[].mistaken_for"),
    "classify": (".images[].path", ".images[].top[].label", ".images[].top[].probability", ".images[].unknown"),
    "sort": (".operation", ".photos[].source", ".photos[].target"),
}
EXIT_CODES = {
    "0": "done",
    "1": "failed; stderr says why, and what to do",
    "2": "a wrong option or argument",
    "3": "done, but not for files that could not be read or carried: stderr names them",
    "4": "`--fail-under` was not met, or a version that forgets was kept as a candidate",
    "10": "no such context",
    "11": "the store is locked by another program: try again",
    "12": "a file of a context is damaged, or newer than this promptctl",
    "13": "offline, and the weights are not on this machine",
    "130, 143": "interrupted: the same command goes on from what was finished",
    "141": "the reader of the pipe left",
}


def page_of(commands: Sequence[CommandFacts], *, whole: bool) -> str:
    """Of all commands the whole page, with every option by name; of some, what each of their options means."""
    return _whole(commands) if whole else "\n".join(map(_in_full, commands))


def _whole(commands: Sequence[CommandFacts]) -> str:
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    shared = _shared(commands)
    keys = "\n".join(f"  - {command}: {', '.join(f'`{key}`' for key in those)}" for command, those in KEYS.items())
    entries = [_said_once(commands, shared), *(_entry(one, shared) for one in commands)]
    asking = _listed([f"`{_short(one)}`" for one in commands if any("--yes" in option.names for option in one.options)])
    opening = _OPENING.format(description=_DESCRIPTION, version=__version__, codes=codes, keys=keys, asking=asking)
    return "\n".join([opening + entries[0], *entries[1:], ""])


def _shared(commands: Sequence[CommandFacts]) -> tuple[str, ...]:
    counts = Counter(option.spelled for one in commands for option in one.options)
    return tuple(spelled for spelled, count in counts.items() if count > _SHARED * len(commands))


def _said_once(commands: Sequence[CommandFacts], shared: Iterable[str]) -> str:
    lines = []
    for spelled in shared:
        without = [_short(one) for one in commands if spelled not in {option.spelled for option in one.options}]
        lines.append(f"All{f' but {_listed(without)}' if without else ''} take `{spelled}`.")
    return "\n".join([*lines, ""])


def _entry(one: CommandFacts, shared: Sequence[str]) -> str:
    options = [option.spelled for option in one.options if option.spelled not in shared]
    head = f"- `{one.usage.removeprefix('promptctl ')}`: {one.said.splitlines()[0]}"
    return "\n".join([head, f"  `{'  '.join(options)}`"] if options else [head])


def _in_full(one: CommandFacts) -> str:
    rows = map(_row, (*one.arguments, *one.options))
    examples = [f"    {line}" for line in one.examples]
    return "\n".join([f"## {one.title}", "", f"    {one.usage}", "", one.said, "", *rows, "", *examples, ""])


def _row(one: ParameterFacts) -> str:
    return f"- `{one.spelled}`: {one.explained}"


def _short(one: CommandFacts) -> str:
    return one.title.removeprefix("promptctl ")


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)

"""The two dialects of the command line, and the right line for someone who used the wrong one.

People verbs take flags and file names; lab verbs take Hydra overrides, `key=value`.
"""

from __future__ import annotations

import difflib
import re
import shlex
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

PEOPLE_VERBS = {
    "predict": "analyse clips or pictures and write a report on each",
    "demo": "make a portrait clip and a forged twin, and analyse both",
    "models": "list the detectors and what the bundled one was trained on",
    "verify": "check a report against the clip, the weights and its own files",
    "doctor": "say whether this installation can work, without changing anything",
}
LAB_VERBS = {
    "index": "list a dataset's videos in a manifest",
    "extract": "cut the faces out of a manifest's videos",
    "train": "train a detector on extracted faces",
    "evaluate": "measure a detector on extracted faces, or anybody's scores",
    "calibrate": "say what a detector's scores are worth, by stored evaluations",
    "strangeness": "say which faces are unlike all that a detector learned from",
    "benchmark": "tables, figures and a page from several evaluations",
    "export": "write a detector as ONNX and check that it agrees",
}
# second words of lab verbs, and what each does
SECOND_WORDS = {
    "evaluate": {"diagnose": "say what makes a number differ from another"},
    "benchmark": {
        "compare": "test whether detectors differ on the same videos",
        "robustness": "measure what platforms and editing make of a detector",
    },
}
_SECOND_NAMES = {
    second: (verb, second) for verb, seconds in SECOND_WORDS.items() for second in seconds
}
_TAKE_RUNS = ("diagnose", "compare")
# what a user who tried flags should have typed
LAB_EXAMPLES = {
    "index": ("dataset=folder", "data_root=/path/to/folder", "out=mine.parquet"),
    "extract": ("manifest=mine.parquet", "data_root=/path/to/folder", "out=mine"),
    "train": ("trainer.steps=3",),
    "evaluate": ("crops=[mine]", "protocol=strict"),
    "diagnose": ("ours", "theirs"),
    "calibrate": (
        "checkpoint=mine.safetensors",
        "scores=[results/a,results/b]",
        "out=calibrated.safetensors",
    ),
    "strangeness": ("checkpoint=mine.safetensors", "crops=[mine]", "out=strange.safetensors"),
    "benchmark": ("runs=[results/a,results/b]", "out=table"),
    "compare": ("results/a", "results/b", "out=compared"),
    "robustness": ("manifest=mine.parquet", "data_root=/path/to/folder", "out=mine"),
    "export": ("checkpoint=mine.safetensors", "out=mine.onnx"),
}
# flags that Hydra itself understands, and whether a value follows
_HYDRA_FLAGS = {
    "--cfg": True,
    "-c": True,
    "--config-dir": True,
    "-cd": True,
    "--config-name": True,
    "-cn": True,
    "--config-path": True,
    "-cp": True,
    "--package": True,
    "-p": True,
    "--info": False,
    "-i": False,
    "--multirun": False,
    "-m": False,
    "--resolve": False,
    "--help": False,
    "-h": False,
    "--hydra-help": False,
}
# the flags of lab verbs, and what they are in the verb's own dialect
_LAB_FLAGS = {("extract", "--dry-run"): "dry_run=true"}
_OVERRIDE = re.compile(r"(?P<key>[A-Za-z_][\w.]*)=(?P<value>.*)", re.DOTALL)
_CLIP_KEYS = frozenset({"clip", "clips", "file", "image", "input", "path", "report", "video"})


def unknown_verb(words: Sequence[str]) -> str:
    """Return the sentence for a first word that is no verb.

    Example:
        >>> unknown_verb(["predcit", "clip.mp4"])
        "unknown verb 'predcit'; did you mean: dfdetect predict clip.mp4"
    """
    first = words[0]
    names = {**{verb: (verb,) for verb in (*PEOPLE_VERBS, *LAB_VERBS)}, **_SECOND_NAMES}
    near = difflib.get_close_matches(first.lstrip("-"), names, n=1)
    if near:
        return f"unknown verb {first!r}; did you mean: {_line(*names[near[0]], *words[1:])}"
    if Path(first).exists() or Path(first).suffix:
        return f"{first!r} is no verb; to analyse a clip: {_line('predict', *words)}"
    known = ", ".join([*PEOPLE_VERBS, *LAB_VERBS])
    return f"unknown verb {first!r}; the verbs are {known}; see: dfdetect --help"


def refuse_overrides(verb: str, words: Sequence[str], parser: ArgumentParser) -> str | None:
    """Return the right line where a people verb was given `key=value`; None where it was not.

    A file whose name really looks like that is taken for a file.
    """
    found = [_OVERRIDE.fullmatch(word) for word in words]
    wrong = [
        bool(match) and not Path(word).exists() for word, match in zip(words, found, strict=True)
    ]
    if "--" in words or not any(wrong):
        return None
    right: list[str] = []
    for word, match, is_wrong in zip(words, found, wrong, strict=True):
        right.extend(
            _as_flag(match["key"], match["value"], parser) if match and is_wrong else [word]
        )
    return f"{verb} takes flags: {_line(verb, *right)}"


def lab_verb(verb: str, words: Sequence[str]) -> tuple[str, list[str]]:
    """Return which lab task is meant, and its words in its own dialect.

    Some tasks are named by a second word; those that take results folders take them bare.

    Example:
        >>> lab_verb("benchmark", ["compare", "a", "my b", "out=c", "--cfg", "job"])
        ('compare', ["runs=['a','my b']", 'out=c', '--cfg', 'job'])
        >>> lab_verb("evaluate", ["crops=[a]"])
        ('evaluate', ['crops=[a]'])
    """
    if not words or words[0] not in SECOND_WORDS.get(verb, ()):
        return verb, list(words)
    task, rest = words[0], list(words[1:])
    if task not in _TAKE_RUNS:
        return task, rest
    bare, others = [], []
    while rest:
        word = rest.pop(0)
        is_key = _OVERRIDE.fullmatch(word.lstrip("+")) and not Path(word).exists()
        if is_key or word.startswith(("-", "~")):
            others.append(word)
            if _HYDRA_FLAGS.get(word) and rest:
                others.append(rest.pop(0))
        else:
            bare.append(word)
    if not bare:
        return task, others
    return task, [f"runs=[{','.join(map(quoted, bare))}]", *others]


def quoted(text: str) -> str:
    r"""Return a text between single quotes as Hydra's grammar has it.

    Backslashes mean themselves there, but for those before a quote.

    Example:
        >>> print(quoted("a dataset's"), quoted("a\\b"))
        'a dataset\'s' 'a\b'
    """
    inner = re.sub(r"(\\*)('|\Z)", lambda each: 2 * each[1] + each[2].replace("'", "\\'"), text)
    return f"'{inner}'"


def spoken(task: str) -> tuple[str, ...]:
    """Return the words after `dfdetect` that name a lab task.

    Example:
        >>> spoken("compare"), spoken("train")
        (('benchmark', 'compare'), ('train',))
    """
    return _SECOND_NAMES.get(task, (task,))


def described(task: str) -> str:
    """Return what a lab task does."""
    verb, *seconds = spoken(task)
    return SECOND_WORDS[verb][seconds[0]] if seconds else LAB_VERBS[verb]


def example(task: str) -> str:
    """Return a line that calls a lab task."""
    return _line(*spoken(task), *LAB_EXAMPLES[task])


def refuse_flags(verb: str, words: Sequence[str]) -> str | None:
    """Return the right line where a lab verb was given flags or bare words; None otherwise.

    Hydra's own flags (`--cfg job`, `--multirun` …) are let through.

    Example:
        >>> refuse_flags("train", ["--epochs", "3"])
        'train takes key=value: dfdetect train trainer.steps=3'
        >>> refuse_flags("train", ["--trainer.lr=0.1", "seed=1"])
        'train takes key=value: dfdetect train trainer.lr=0.1 seed=1'
    """
    if words and "=" not in words[0] and words[0] not in _HYDRA_FLAGS:
        near = difflib.get_close_matches(words[0].lstrip("-"), SECOND_WORDS.get(verb, ()), n=1)
        if near and not Path(words[0]).exists():
            line = _line(verb, near[0], *words[1:])
            return f"{verb} has no second word {words[0]!r}; did you mean: {line}"
    right: list[str] = []
    understood = wrong = False
    rest = list(words)
    while rest:
        word = rest.pop(0)
        flag, _, value = word.partition("=")
        if (verb, word) in _LAB_FLAGS:
            right.append(_LAB_FLAGS[verb, word])
        elif flag in _HYDRA_FLAGS:
            right.append(word)
            if _HYDRA_FLAGS[flag] and not value and rest:
                right.append(rest.pop(0))
        elif word.startswith("--") and "." in flag:
            wrong = understood = True
            value = value or (rest.pop(0) if rest else "VALUE")
            right.append(f"{flag.lstrip('-').replace('-', '_')}={value}")
        elif word.startswith("~") or ("=" in word and not word.startswith("-")):
            right.append(word)
        else:
            wrong = True
    if not wrong:
        return None
    example = right if understood else LAB_EXAMPLES[verb]
    return f"{' '.join(spoken(verb))} takes key=value: {_line(*spoken(verb), *example)}"


def as_overrides(verb: str, words: Sequence[str]) -> list[str]:
    """Return the words of a lab verb with its few flags in the verb's own dialect.

    Example:
        >>> as_overrides("extract", ["manifest=m.parquet", "--dry-run"])
        ['manifest=m.parquet', 'dry_run=true']
    """
    return [_LAB_FLAGS.get((verb, word), word) for word in words]


def flags_first(words: Sequence[str]) -> list[str]:
    """Return a lab verb's words with Hydra's flags before the keys, the only order that it takes.

    Example:
        >>> flags_first(["seed=1,2", "--cfg", "job", "-m", "out=a"])
        ['--cfg', 'job', '-m', 'seed=1,2', 'out=a']
    """
    flags, keys, rest = [], [], list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            flags.append(word)
            if _HYDRA_FLAGS.get(word) and rest:
                flags.append(rest.pop(0))
        else:
            keys.append(word)
    return [*flags, *keys]


def unknown_words(words: Sequence[str], parser: ArgumentParser) -> str:
    """Return the sentence for flags that a people verb does not have."""
    flags = [flag for action in parser._actions for flag in action.option_strings]
    near = difflib.get_close_matches(words[0].partition("=")[0], flags, n=1)
    hint = f"; did you mean {near[0]}" if near else f"; see: {parser.prog} --help"
    return f"{parser.prog} has no {words[0]!r}{hint}"


def _as_flag(key: str, value: str, parser: ArgumentParser) -> list[str]:
    flag = f"--{key.replace('_', '-')}"
    for action in parser._actions:
        if flag in action.option_strings:
            if action.nargs == 0:
                return [flag] if value.lower() in ("true", "1", "yes", "on") else []
            return [flag, value]
    return [value] if key in _CLIP_KEYS else []


def _line(*words: str) -> str:
    return shlex.join(["dfdetect", *words])

"""The command `dfdetect`: find the verb, answer the wrong dialect, keep the exit codes.

Exit codes: 0 analysed, 1 a fault in dfdetect itself, 2 usage, 3 inconclusive, 4 no face,
5 unreadable, 6 too few videos with a score, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, Protocol, cast

from dfdetect.cli import dialect
from dfdetect.cli.terminal import EXIT_FAULT, note, report_error, say
from dfdetect.errors import UsageError

EXIT_INTERRUPTED = 130


class Verb(Protocol):
    """What the module of a people verb offers."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the verb's arguments; `--debug` is the same everywhere and already there."""

    def run(self, arguments: Namespace) -> int:
        """Do the work and return the exit code."""


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see: {self.prog} --help")


def entry() -> NoReturn:
    """Run the command line and exit; the console script."""
    for stream in (sys.stdout, sys.stderr):
        # a terminal that knows only ASCII shows '?' rather than ending the run
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # `dfdetect models | head`: the reader has left; keep the interpreter from complaining
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAULT
    sys.exit(code)


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; errors become one sentence on stderr.

    Args:
        argv: The words after `dfdetect`. `--debug` anywhere among them (before `--`) adds the
            traceback to the sentence.

    Example:
        >>> main(["predict", "video=clip.mp4"])  # says on stderr which line is right
        2
    """
    words, debug = _without_debug(argv)
    try:
        return _dispatch(words, debug)
    except SystemExit as leaving:  # argparse leaves this way after --help
        return leaving.code if isinstance(leaving.code, int) else 0
    except KeyboardInterrupt:
        note("dfdetect: interrupted; nothing half-written is left behind")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # the last line of defence: one sentence, never silence
        return report_error(error, debug=debug)


def _without_debug(argv: Sequence[str]) -> tuple[list[str], bool]:
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"]
    return kept + words[end:], len(kept) < end


def _dispatch(words: Sequence[str], debug: bool) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return 0 if words else UsageError.exit_code
    verb, rest = words[0], words[1:]
    if verb in ("--version", "-V"):
        from dfdetect.provenance import code_version

        say(f"dfdetect {code_version()}")
        return 0
    if verb in dialect.PEOPLE_VERBS:
        return _run_people_verb(verb, rest, debug)
    if verb in dialect.LAB_VERBS:
        return _run_lab_verb(verb, rest)
    raise UsageError(dialect.unknown_verb(words))


def _run_people_verb(verb: str, words: Sequence[str], debug: bool) -> int:
    module = cast(Verb, import_module(f"dfdetect.cli.{verb}"))
    parser = _Parser(
        prog=f"dfdetect {verb}",
        description=module.__doc__,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    if answer := dialect.refuse_overrides(verb, words, parser):
        raise UsageError(answer)
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        raise UsageError(dialect.unknown_words(unknown, parser))
    arguments.debug = debug
    return module.run(arguments)


def _run_lab_verb(verb: str, words: Sequence[str]) -> int:
    task, rest = dialect.lab_verb(verb, words)
    if answer := dialect.refuse_flags(task, rest):
        raise UsageError(answer)
    # Hydra is for lab verbs only; people verbs must start without it
    from dfdetect.cli import hydra_app

    return hydra_app.run(task, rest, [verb, *words])


def _help() -> str:
    people = "\n".join(f"  {verb:10}{what}" for verb, what in dialect.PEOPLE_VERBS.items())
    lab = "\n".join(
        f"  {verb:10}{what}" + "".join(f"\n    {second}: {does}" for second, does in more.items())
        for verb, what in dialect.LAB_VERBS.items()
        for more in [dialect.SECOND_WORDS.get(verb, {})]
    )
    return f"""usage: dfdetect VERB …

Verbs that take flags (dfdetect predict clip.mp4 --out report):
{people}

Verbs that take key=value (dfdetect train {dialect.LAB_EXAMPLES["train"][0]}):
{lab}

dfdetect VERB --help says more. Nothing is uploaded: predict and demo run with the network off.
Exit codes: 0 analysed, 2 usage, 3 inconclusive, 4 no face, 5 unreadable, 6 too few videos scored.
"""

"""What the command line says: results on stdout, everything else on stderr."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dfdetect.errors import DfdetectError, UsageError

Progress = Callable[[int, int], None]

EXIT_FAULT = 1


def printable(text: str) -> str:
    r"""Return one line that is safe in a terminal: control characters appear as escapes.

    A file name may hold newlines, escape sequences or bytes that are no text.

    Example:
        >>> printable("a\nb\x1b[31m “c”")
        'a\\nb\\x1b[31m “c”'
    """
    return "".join(
        letter
        if letter.isprintable()
        else letter.encode("unicode_escape", "backslashreplace").decode("ascii")
        for letter in text
    )


def say(line: str) -> None:
    """Write one line of the result to stdout."""
    sys.stdout.write(printable(line) + "\n")


def note(line: str) -> None:
    """Write one line about the run to stderr, at once."""
    sys.stderr.write(printable(line) + "\n")
    sys.stderr.flush()


def report_error(error: Exception, *, debug: bool) -> int:
    """Say what went wrong in one line on stderr and return the exit code that belongs to it."""
    if debug:
        traceback.print_exception(type(error), error, error.__traceback__)
    if isinstance(error, DfdetectError):
        note(f"dfdetect: {error}")
        return error.exit_code
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        # a full disk, a name that is too long, a folder that may not be entered
        place = str(error.filename)
        note(f"dfdetect: {place!r} cannot be used ({error.strerror}); check it and its permissions")
        return UsageError.exit_code
    detail = str(error).strip().partition("\n")[0][:300]
    hint = "" if debug else "; run the command again with --debug to see where"
    note(f"dfdetect: a fault in dfdetect itself ({type(error).__name__}: {detail}){hint}")
    return EXIT_FAULT


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """Yield a callback `(done, total)` that draws a bar on stderr, where stderr is a terminal.

    Elsewhere (a pipe, a log) nothing is drawn: the plain line before it has said what is read.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    # rich costs a few hundredths of a second, which a log does not need to wait for
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(printable(what)), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

"""What the command line says: results on stdout, everything else on stderr."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dfdetect.errors import DfdetectError, UsageError

if TYPE_CHECKING:
    from dfdetect.data.crops import ExtractProgress

Progress = Callable[[int, int], None]

EXIT_FAULT = 1

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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


def say_lines(lines: Iterable[str]) -> None:
    """Write lines of the result to stdout."""
    for line in lines:
        say(line)


def say_table(header: Sequence[str], rows: Iterable[Sequence[str | int]]) -> None:
    """Write a table to stdout, numbers to the right.

    A terminal gets one that fits its width; a pipe or file gets aligned columns, one row a line.
    """
    cells = [tuple(header), *(tuple(row) for row in rows)]
    right = [any(isinstance(row[n], int) for row in cells) for n in range(len(header))]
    texts = [[printable(str(cell)) for cell in row] for row in cells]
    if sys.stdout.isatty():
        # rich costs a few hundredths of a second, which a pipe does not need to wait for
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD)
        for name, is_right in zip(texts[0], right, strict=True):
            table.add_column(Text(name), justify="right" if is_right else "left", overflow="fold")
        for row in texts[1:]:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        aligned = (
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, right, strict=True)
        )
        sys.stdout.write("  ".join(aligned).rstrip() + "\n")


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
    if isinstance(error, OSError) and error.filename is None and error.errno in _NO_ROOM:
        # told by a write, which knows no name
        note(
            f"dfdetect: nothing more can be written ({error.strerror}); make room and run it again"
        )
        return UsageError.exit_code
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        # a name that is too long, a folder that may not be entered
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


@contextmanager
def extraction_bar(what: str) -> Iterator[Callable[[ExtractProgress], None] | None]:
    """Yield a callback that draws videos done, their rate, the time left and rows by status.

    Where stderr is no terminal there is nothing to call, and nothing is drawn.
    """
    if not sys.stderr.isatty():
        yield None
        return
    # as above
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[counts]}"),
    )
    # a video takes seconds, so the rate of the last half minute would say little
    with Progress(
        *columns, console=Console(stderr=True), transient=True, speed_estimate_period=600
    ) as bar:
        task = bar.add_task(escape(printable(what)), total=None, rate="", counts="")
        n_kept: int | None = None

        def show(progress: ExtractProgress) -> None:
            nonlocal n_kept
            if n_kept is None:
                # what an earlier run did is no speed of this one
                n_kept = progress.n_done
                bar.reset(task, total=progress.n_all, completed=n_kept)
            elapsed = bar.tasks[0].elapsed
            n_new = progress.n_done - n_kept
            bar.update(
                task,
                completed=progress.n_done,
                rate=f"{60 * n_new / elapsed:.1f} videos/min" if elapsed and n_new else "",
                counts=", ".join(f"{status} {number}" for status, number in progress.n_by_status),
            )

        yield show

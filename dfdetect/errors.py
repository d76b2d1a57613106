"""Errors that a user can act on; each carries the exit code of the command line.

Exit codes: 0 analysed, 1 altered or faulty, 2 usage, 3 inconclusive, 4 no face, 5 unreadable,
6 too few videos with a score.
"""

from __future__ import annotations

from typing import ClassVar


class DfdetectError(Exception):
    """An expected failure: one sentence that names the file, what was wanted and the repair.

    The command line prints the sentence and exits with `exit_code`; a traceback appears only
    with `--debug`.

    Example:
        >>> DfdetectError("clip.mp4 is missing; check the path").exit_code
        2
    """

    exit_code: ClassVar[int] = 2


class UsageError(DfdetectError):
    """The request itself cannot be met: an unknown name, a wrong option, a missing input."""


class UnreadableVideo(DfdetectError):
    """The file is not a video or image that can be decoded, or it breaks a decoding limit."""

    exit_code = 5


class UntrustedCheckpoint(DfdetectError):
    """A checkpoint is incomplete, altered, of another format or without a trained state."""


class ContractError(DfdetectError):
    """A table or file on disk does not follow the contract it claims to follow."""


class FaultyCopy(DfdetectError):
    """A copy of a dataset was verified, and something about it is wrong."""

    exit_code = 1


class LowCoverage(DfdetectError):
    """Fewer videos have a score than the protocol asks for; what there is has been measured."""

    exit_code = 6

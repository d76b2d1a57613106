"""A clip becomes frames: what a file holds (`probe`) and pictures out of it (`FrameSampler`).

Videos, single pictures and folders of pictures are all clips. A clip is read front to back, never
by seeking: with key frames hundreds of frames apart a seek costs more than decoding what lies
between. Before decoding, its packets are read once without decoding them, which takes some
thousandths of the time and yields the true presentation times; sampling rests on those and never
on the header's claims.

Colours: frames become RGB by libswscale as PyAV sets it up, which follows the matrix and range
that the stream is tagged with and takes BT.601, limited range, where it has no tag. Anamorphic
pixels stay as they are stored; a stream that changes its size gives frames of different sizes.
"""

from __future__ import annotations

from dfdetect.media.sampler import FrameSampler, FrameStream, probe
from dfdetect.media.source import DecodeLimits, printable
from dfdetect.media.video import decoding_threads

__all__ = [
    "DecodeLimits",
    "FrameSampler",
    "FrameStream",
    "decoding_threads",
    "printable",
    "probe",
]

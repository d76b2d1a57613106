"""How libx264 is told to give equal bytes for equal pictures."""

from __future__ import annotations

import cv2

# CV_CPU_AVX_512F, which OpenCV's Python module gives no name
_AVX_512 = 13


def repeatable_x264() -> dict[str, str]:
    """Return codec options that make libx264, with one thread, a function of its pictures.

    With AVX-512 its look-ahead (macroblock tree) depends on what memory held before: equal
    pictures give other bytes from run to run. Whoever has AVX-512 has AVX2.
    """
    return {"x264-params": "asm=AVX2"} if cv2.checkHardwareSupport(_AVX_512) else {}

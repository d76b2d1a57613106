"""An analysis → `report.html` for people and `report.json` for machines, in one folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import jinja2

from dfdetect.inference.document import (
    HTML_NAME,
    JSON_NAME,
    Json,
    build_document,
    content_hash,
)
from dfdetect.inference.page import Page, build_page
from dfdetect.provenance import sha256_bytes, written_whole
from dfdetect.types import Analysis


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The files of one report."""

    html: Path
    json: Path


def write_report(analysis: Analysis, out_dir: Path | str, *, reveal: bool = False) -> ReportFiles:
    """Write the report of one clip into a folder, which is made if it is missing.

    Args:
        analysis: What was found.
        out_dir: The folder; a report that is there already is replaced.
        reveal: Show faces as filmed. By default they are obscured beyond recovery.

    Raises:
        OSError: The folder cannot be written to.

    Example:
        >>> write_report(analyze("clip.mp4"), "clip-report").html  # doctest: +SKIP
        PosixPath('clip-report/report.html')
    """
    files = ReportFiles(Path(out_dir) / HTML_NAME, Path(out_dir) / JSON_NAME)
    document = build_document(analysis, reveal=reveal)
    content = content_hash(document)
    page = build_page(analysis, reveal=reveal, content_sha256=content)
    html = render_html(page).encode("utf-8")
    document["content_sha256"] = content
    document["time"] = _time(analysis, sha256_bytes(html))
    # the page first: whoever finds report.json finds the page whose hash it holds
    with written_whole(files.html) as part:
        part.write_bytes(html)
    with written_whole(files.json) as part:
        part.write_bytes(encode_document(document))
    return files


def render_html(page: Page) -> str:
    """Return the page as one HTML document without scripts or remote assets; all text escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dfdetect.inference"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["units"] = _units
    return environment.get_template("report.html.j2").render(page=page)


def encode_document(document: dict[str, Json]) -> bytes:
    r"""Return a report's data as readable ASCII JSON with sorted keys.

    Example:
        >>> encode_document({"b": 1, "a": "é"})
        b'{\n  "a": "\\u00e9",\n  "b": 1\n}\n'
    """
    text = json.dumps(document, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=True)
    return (text + "\n").encode("ascii")


def _time(analysis: Analysis, html_sha256: str) -> dict[str, Json]:
    # the page prints the date, so its hash belongs to what differs from run to run
    return {
        "analysed_at": analysis.timing.started_at,
        "seconds": {name: round(seconds, 3) for name, seconds in analysis.timing.stages},
        "artefacts": [{"path": HTML_NAME, "sha256": html_sha256}],
    }


def _units(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")

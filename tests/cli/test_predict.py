"""`dfdetect predict` on whole, odd and broken clips: reports, three lines, exit codes."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

Command = Callable[..., Any]
Predict = Callable[..., Any]


@pytest.fixture
def predict(dfdetect: Command, detectors: Any, tmp_path: Path) -> Predict:
    """Run predict with a tiny detector, reports going to tmp_path/out."""

    def run(*words: str | Path, detector: str = "strong") -> Any:
        chosen = ("--detector", getattr(detectors, detector), "--out", tmp_path / "out")
        return dfdetect("predict", *chosen, *words)

    return run


def reports(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "out").rglob("report.json"))


@pytest.mark.parametrize(
    ("detector", "code", "headline"),
    [
        ("strong", 0, "clip.mp4: Strong signs of face manipulation."),
        ("clear", 0, "clip.mp4: No signs found (this is not proof of authenticity)."),
        ("undecided", 3, "clip.mp4: Inconclusive because the score lies near the threshold"),
    ],
)
def test_three_lines_and_the_path(
    predict: Predict, tmp_path: Path, film: Path, detector: str, code: int, headline: str
) -> None:
    answer = predict(film, detector=detector)
    assert answer.code == code
    verdict, why, examined, path = answer.lines
    assert verdict.startswith(headline)
    assert why.startswith(("Why: ", "Scope: "))
    assert "not sound, captions or context" in why
    assert examined.startswith(
        "Examined: 20 frames out of 0:04; 1 person followed, a face in 20 of 20"
    )
    assert "%" not in "".join(answer.lines)
    (report,) = reports(tmp_path)
    assert path == f"Report: {report.with_suffix('.html')}"
    assert answer.err == "Reading clip.mp4 …\n"
    assert sorted(path.name for path in report.parent.iterdir()) == ["report.html", "report.json"]


def test_json_is_the_report(predict: Predict, tmp_path: Path, film: Path) -> None:
    answer = predict(film, "--json")
    (report,) = reports(tmp_path)
    assert answer.out == report.read_text()
    assert json.loads(answer.out)["verdict"]["band"] == "strong"
    assert str(report.with_suffix(".html")) in answer.err


def test_same_clip_same_report(predict: Predict, tmp_path: Path, film: Path) -> None:
    contents = []
    for _ in range(2):
        predict(film)
        (report,) = reports(tmp_path)
        contents.append(report.read_bytes())
    documents = [json.loads(content) for content in contents]
    for document in documents:
        document.pop("time")
    assert documents[0] == documents[1]
    # byte for byte: whatever differs stands in the block of times
    first, second = (content.splitlines() for content in contents)
    assert len(first) == len(second)
    times = json.dumps({"time": json.loads(contents[0])["time"]}, indent=2, sort_keys=True)
    allowed = {line.strip().partition(":")[0] for line in times.splitlines()}
    differing = [a for a, b in zip(first, second, strict=True) if a != b]
    assert all(line.decode().strip().partition(":")[0] in allowed for line in differing)


def test_several_clips_keep_apart(predict: Predict, tmp_path: Path, clips: ModuleType) -> None:
    places = [tmp_path / name for name in ("a", "b", "c")]
    for number, place in enumerate(places):
        place.mkdir()
        # a and b are equal, c is another clip of the same name
        clips.write_clip(place / "clip.mp4", 5 if number < 2 else 6)
    answer = predict(*(place / "clip.mp4" for place in places))
    assert answer.code == 4
    assert len(reports(tmp_path)) == len(set(answer.lines[3::4])) == 3
    assert answer.err.count("Reading clip.mp4 …") == 3


def test_a_later_clip_leaves_an_earlier_report(
    predict: Predict, tmp_path: Path, clips: ModuleType
) -> None:
    clip = clips.write_clip(tmp_path / "clip.mp4", 5)
    predict(clip)
    (first,) = reports(tmp_path)
    before = first.read_bytes()
    clips.write_clip(clip, 6)
    predict(clip)
    assert len(reports(tmp_path)) == 2
    assert first.read_bytes() == before


def test_every_readable_clip_is_analysed(
    predict: Predict, tmp_path: Path, film: Path, clips: ModuleType
) -> None:
    text = clips.write_text(tmp_path / "text.mp4")
    faceless = clips.write_clip(tmp_path / "faceless.mp4", 5)
    answer = predict(text, tmp_path / "missing.mp4", film, faceless)
    assert answer.code == 5
    assert [line.partition(":")[0] for line in answer.lines[::4]] == ["clip.mp4", "faceless.mp4"]
    assert len([line for line in answer.err.splitlines() if line.startswith("dfdetect: ")]) == 2


# the clips show patterns, so that a readable one holds no face
HOSTILE = {
    "empty": 5,
    "text": 5,
    "playlist": 5,
    "headless": 5,
    "audio_only": 5,
    "no_frames": 5,
    "undecodable": 5,
    "truncated": 4,
    "corrupt": 4,
    "one_frame": 4,
    "tiny": 4,
    "rotated": 4,
    "vfr": 4,
    "ten_bit": 4,
    "odd_sides": 4,
    "edited": 4,
    "lying_duration": 4,
    "no_header_count": 4,
    "odd_name": 4,
}


def test_every_hostile_clip_has_its_code(clips: ModuleType) -> None:
    assert set(HOSTILE) == set(clips.HOSTILE)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_clips(predict: Predict, tmp_path: Path, clips: ModuleType, hostile: str) -> None:
    kind = clips.HOSTILE[hostile]
    answer = predict(kind.make(tmp_path / kind.file_name))
    assert answer.code == HOSTILE[hostile], answer.err
    if answer.code == 4:
        assert len(answer.lines) == 4
        assert "No face found" in answer.lines[0]
        assert len(answer.err.splitlines()) == 1
    else:
        assert answer.lines == []
        assert kind.file_name in answer.complaint
        assert len(answer.err.splitlines()) == 2


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    """A dozen frames of the demo's film."""
    from dfdetect.inference.demo import filmed, portrait

    return list(filmed(portrait(), 12))


def turned(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """As a phone stores what it filmed upright."""
    return [np.ascontiguousarray(np.rot90(picture)) for picture in pictures]


@pytest.mark.parametrize("form", ["rotated", "vfr", "ten_bit", "odd_sides", "one", "corrupt"])
def test_odd_forms_of_a_clip_with_a_face(
    predict: Predict, tmp_path: Path, clips: ModuleType, pictures: list[np.ndarray], form: str
) -> None:
    path = tmp_path / "clip.mp4"
    if form == "rotated":
        clips.write_clip(path, turned(pictures), fps=4, rotation=90)
    elif form == "vfr":
        clips.write_clip(path, pictures, fps=4, variable_frame_rate=True)
    elif form == "ten_bit":
        clips.write_clip(path, pictures, fps=4, pix_fmt="yuv420p10le")
    elif form == "odd_sides":
        odd = [picture[:479, :639] for picture in pictures]
        clips.write_clip(path, odd, fps=4, pix_fmt="yuv444p")
    elif form == "one":
        clips.write_clip(path, pictures[:1], fps=4)
    else:
        clips.write_clip(path, pictures, fps=4, options={"g": "3", "bf": "0"})
        _break_middle(path)
    answer = predict(path)
    assert answer.code == 0, answer.err
    assert "1 person" in answer.lines[2]
    strength = "Moderate" if form == "one" else "Strong"
    assert answer.lines[0] == f"clip.mp4: {strength} signs of face manipulation."


def _break_middle(path: Path) -> None:
    import av

    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for start, size in packets[4:6]:
        assert start is not None
        content[start + 4 : start + size] = np.random.default_rng(0).bytes(size - 4)
    path.write_bytes(content)


def write_picture(path: Path, picture: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), picture[..., ::-1])
    return path


def test_pictures(
    predict: Predict, tmp_path: Path, pictures: list[np.ndarray], portrait: np.ndarray
) -> None:
    huge = cv2.resize(portrait, (4320, 4320), interpolation=cv2.INTER_LINEAR)
    huge = cv2.copyMakeBorder(huge, 0, 0, 1680, 1680, cv2.BORDER_REFLECT)
    assert huge.shape == (4320, 7680, 3)
    answer = predict(write_picture(tmp_path / "8k.jpg", huge))
    assert answer.code == 0
    assert "1 picture" in answer.lines[2]
    folder = tmp_path / "folder of pictures"
    folder.mkdir()
    for number, picture in enumerate(pictures):
        write_picture(folder / f"{number:03}.png", picture)
    answer = predict(folder)
    assert answer.code == 0, answer.err
    assert "12 pictures" in answer.lines[2]


def test_too_many_pixels_are_refused(predict: Predict, tmp_path: Path) -> None:
    path = write_picture(tmp_path / "wall.png", np.zeros((7000, 7000, 3), np.uint8))
    answer = predict(path)
    assert answer.code == 5
    assert "limit of 40 megapixels" in answer.complaint


@pytest.mark.parametrize("name", ["empty folder", "missing.mp4", "."])
def test_places_without_a_clip(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "empty folder").mkdir()
    monkeypatch.chdir(tmp_path / "empty folder")
    answer = predict(name if name == "." else tmp_path / name)
    assert answer.code == 5
    assert ("empty folder" if name == "." else name) in answer.complaint


NO_SUCH_LIMIT = 77


def _obey_permissions() -> None:
    """Take from root, in a process about to start, the right to read whatever it likes."""
    drop_from_bounding_set, override, read_search = 24, 1, 2
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    for capability in (override, read_search):
        if prctl is None or prctl(drop_from_bounding_set, capability, 0, 0, 0) != 0:
            os._exit(NO_SUCH_LIMIT)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no such permissions here")
def test_no_permission(installed: Command, tmp_path: Path, film: Path, detectors: Any) -> None:
    locked = Path(shutil.copy(film, tmp_path / "locked.mp4"))
    locked.chmod(0)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    before = _obey_permissions if os.getuid() == 0 else None
    words = ("predict", "--detector", detectors.clear)
    answer = installed(*words, locked, "--out", tmp_path / "out", before=before)
    if answer.code == NO_SUCH_LIMIT:
        pytest.skip("root ignores permissions here and cannot be made to obey them")
    assert answer.code == 5
    assert "locked.mp4 may not be read by this user" in answer.complaint
    assert "Traceback" not in answer.err
    answer = installed(*words, film, "--out", closed / "out", before=before)
    assert answer.code == 2
    assert "may not be written to; name another folder with --out" in answer.complaint


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_out_that_is_a_file(dfdetect: Command, tmp_path: Path, film: Path, out: str) -> None:
    (tmp_path / "file").write_text("mine")
    answer = dfdetect("predict", film, "--out", tmp_path / out)
    assert answer.code == 2
    assert "is a file, not a folder; name a folder with --out" in answer.complaint
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("kind", ["uncalibrated", "untrained", "pickle", "altered"])
def test_weights_that_may_not_judge(
    predict: Predict, dfdetect: Command, detectors: Any, film: Path, tmp_path: Path, kind: str
) -> None:
    if kind == "pickle":
        weights = tmp_path / "weights.safetensors"
        weights.write_bytes(b"\x80\x04cos\nsystem\n(S'touch owned'\ntR.")
    elif kind == "altered":
        weights = tmp_path / "weights.onnx"
        content = bytearray(detectors.strong.read_bytes())
        content[len(content) // 4] ^= 1
        weights.write_bytes(content)
    else:
        weights = getattr(detectors, kind)
    answer = dfdetect("predict", film, "--detector", weights, "--out", tmp_path / "out")
    assert answer.code == 2
    assert answer.lines == []
    assert answer.complaint
    assert not reports(tmp_path)


class Page(HTMLParser):
    """What a browser would make of a report."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize(
    "name",
    [
        "<img src=x onerror=alert(1)>.mp4",
        "\"><script>alert(1)<script>'.mp4",
        "a 'b' \"c\"\n<i>d<i>\x1b[31m.mp4",
        "{{ 7 * 7 }} & é \u202egpj.mp4",
        "-rf $(touch owned).mp4",
        "x" * 250 + ".mp4",
    ],
)
def test_names_stay_text(
    predict: Predict, tmp_path: Path, film: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(film, tmp_path / name)
    answer = predict("--", name)
    assert answer.code == 0, answer.err
    assert len(answer.lines) == 4
    assert "\x1b" not in answer.out + answer.err
    (report,) = reports(tmp_path)
    page = Page()
    page.feed(report.with_suffix(".html").read_text("utf-8"))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "i", "iframe", "object", "embed"}
    for tag, attributes in page.tags:
        assert not any(key.startswith("on") for key in attributes), (tag, attributes)
        for key in ("src", "href", "xlink:href"):
            assert (attributes.get(key) or "data:").startswith(("data:", "#"))
    # the name does not choose where the report goes
    assert report.parent.parent == tmp_path / "out"
    assert report.parent.name.replace("-", "").replace(".", "").replace("_", "").isalnum()
    assert json.loads(report.read_bytes())["input"]["name"]


def test_reveal_and_frames_reach_the_report(predict: Predict, tmp_path: Path, film: Path) -> None:
    answer = predict(film, "--reveal", "--frames", "9", "--json")
    document = json.loads(answer.out)
    assert document["policy"]["reveal"] is True
    assert document["sampling"]["frames_requested"] == 9
    assert "--reveal" in document["reproduce"]


def test_facenet_finds_the_same_people(predict: Predict, tmp_path: Path, film: Path) -> None:
    pytest.importorskip("facenet_pytorch")
    answer = predict(film, "--finder", "facenet", "--frames", "9")
    assert answer.code == 0
    assert "1 person followed, a face in 9 of 9" in answer.lines[2]


@pytest.mark.shared
@pytest.mark.parametrize("folder", ["FaceForensics++", "DFDC"])
def test_research_clips(predict: Predict, tmp_path: Path, shared_data: Path, folder: str) -> None:
    found = sorted((shared_data / "clips" / folder).rglob("*.mp4"))[:2]
    assert found
    answer = predict(*found, detector="clear")
    assert answer.code in (0, 3)
    assert len(reports(tmp_path)) == len(found)


def test_a_clip_shorter_than_the_sample_lacks_nothing(
    predict: Predict, tmp_path: Path, clips: ModuleType
) -> None:
    path = clips.write_clip(tmp_path / "short.mp4", 5, fps=10)
    answer = predict(path, "--json")
    assert json.loads(answer.out)["skipped"]["frame_not_read"] == 0
    told = predict(path).lines[2]
    assert told.startswith("Examined: 5 frames out of 0:00.5; nobody followed, a face in 0 of 5")


def test_one_frame_of_a_clip_is_not_called_a_picture(
    predict: Predict, tmp_path: Path, film: Path
) -> None:
    answer = predict(film, "--frames", "1")
    assert answer.lines[2].startswith("Examined: 1 frame out of 0:04; 1 person followed")

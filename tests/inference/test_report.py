import hashlib
import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest

from dfdetect.inference.document import reproduce_command
from dfdetect.inference.report import write_report
from dfdetect.scoring import words
from dfdetect.types import Analysis, Band, SamplingSummary

BANDS = list(Band)
VOID = {"meta", "line", "rect", "image", "br"}
ODD_NAME = "<img src=x onerror=alert(1)>\"'&{{ 7*7 }}\n\u202egpj.mp4"


class Page(HTMLParser):
    """An HTML page as lists of tags, headings and text; unbalanced tags are an error."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.headings: list[int] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def schema() -> dict[str, object]:
    text = (files("dfdetect.inference") / "report.schema.json").read_text("utf-8")
    loaded: dict[str, object] = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(loaded)
    return loaded


def page_of(analysis: Analysis, folder: Path, *, reveal: bool = False) -> Page:
    return Page(write_report(analysis, folder, reveal=reveal).html.read_text("utf-8"))


@pytest.mark.parametrize("band", BANDS)
def test_the_json_follows_the_shipped_schema(
    clips_of_each_band: dict[Band, Analysis],
    tmp_path: Path,
    schema: dict[str, object],
    band: Band,
) -> None:
    report = write_report(clips_of_each_band[band], tmp_path)
    document = json.loads(report.json.read_bytes())
    jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    ).validate(document)
    assert document["verdict"]["band"] == band.value
    assert report.json.read_bytes().isascii()


def test_the_json_holds_what_the_calibration_measured(
    clips_of_each_band: dict[Band, Analysis], tmp_path: Path
) -> None:
    report = write_report(clips_of_each_band[Band.STRONG], tmp_path)
    told = json.loads(report.json.read_bytes())["calibration"]
    assert told["operating_points"] == [
        {
            "false_alarm": share,
            "logit": logit,
            "n_real": 412,
            "real_flagged": real,
            "n_fake": 398,
            "fake_flagged": fake,
        }
        for share, logit, real, fake in ((0.01, 3.2199, 4, 190), (0.001, None, 0, 0))
    ]
    (part,) = told["sets"]
    assert (part["name"], part["n_real"], part["n_fake"]) == ("made-up", 412, 398)
    assert part["rates"] == told["rates"][:1]


def test_a_report_without_operating_points_still_follows_the_schema(
    clips_of_each_band: dict[Band, Analysis], tmp_path: Path, schema: dict[str, object]
) -> None:
    # reports of versions before there were any
    report = write_report(clips_of_each_band[Band.NONE], tmp_path)
    document = json.loads(report.json.read_bytes())
    for name in ("operating_points", "sets"):
        del document["calibration"][name]
    jsonschema.Draft202012Validator(schema).validate(document)


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("reveal", [False, True])
def test_the_page_has_no_script_and_asks_for_nothing(
    clips_of_each_band: dict[Band, Analysis], tmp_path: Path, band: Band, reveal: bool
) -> None:
    page = page_of(clips_of_each_band[band], tmp_path, reveal=reveal)
    forbidden = {"script", "link", "iframe", "object", "embed", "img", "form", "audio", "video"}
    assert not forbidden & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:image/"), (tag, value)
    policy = [
        attributes["content"]
        for attributes in page.all("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy
    assert str(policy[0]).startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


@pytest.mark.parametrize("band", BANDS)
def test_a_screen_reader_finds_its_way(
    clips_of_each_band: dict[Band, Analysis], tmp_path: Path, band: Band
) -> None:
    page = page_of(clips_of_each_band[band], tmp_path)
    assert page.all("html")[0]["lang"] == "en-GB"
    counts = Counter(tag for tag, _ in page.tags)
    assert counts["main"] == counts["h1"] == 1
    assert counts["header"] == counts["footer"] == 1
    assert page.headings[0] == 1
    steps = pairwise(page.headings)
    assert all(later <= earlier + 1 for earlier, later in steps)
    assert counts["caption"] == counts["table"]
    assert all(attributes.get("scope") in {"row", "col"} for attributes in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for target in (attributes.get("aria-labelledby") or "").split():
            assert target in ids
    for attributes in page.all("svg"):
        assert attributes.get("role") == "img" or attributes.get("aria-hidden") == "true"


@pytest.mark.parametrize("band", BANDS)
def test_the_verdict_comes_first_in_words(
    clips_of_each_band: dict[Band, Analysis], tmp_path: Path, band: Band
) -> None:
    analysis = clips_of_each_band[band]
    told = page_of(analysis, tmp_path).words
    headline = words.BAND_WORDS[band]
    first = told.index(headline, told.index("Examined"))
    assert first < told.index("What this means.")
    assert words.sentence(analysis.verdict.reasons[0]) in told
    # no share or probability stands before it, and a bare percentage nowhere
    assert not re.search(r"\d", told[told.index("UTC") + 3 : first])
    assert not re.search(r"\d\s*%(?! interval)", told)


@pytest.mark.parametrize("band", BANDS)
def test_scope_next_steps_and_signature_are_always_there(
    clips_of_each_band: dict[Band, Analysis], tmp_path: Path, band: Band
) -> None:
    analysis = clips_of_each_band[band]
    told = page_of(analysis, tmp_path).words
    for phrase in (
        "real video with a false caption",
        "Not examined",
        "Find the earliest copy",
        "A sentence to publish",
        "Nothing was uploaded.",
        "How often this detector errs",
        "dfdetect predict clip.mp4",
        analysis.hashes.sha256,
        analysis.hashes.md5,
        analysis.detector.weights_sha256,
    ):
        assert phrase in told


def test_flags_come_with_false_alarms_and_priors(
    clips_of_each_band: dict[Band, Analysis], tmp_path: Path
) -> None:
    told = page_of(clips_of_each_band[Band.WEAK], tmp_path).words
    assert "Of 100 authentic clips like the 412 it was measured on, about 7 would be" in told
    # P(fake | flagged) with half a clip added to each count, at 1, 10 and 50 of 100
    rate = (310.5 / 399) / (30.5 / 413)
    for prior in (0.01, 0.1, 0.5):
        share = rate * prior / (rate * prior + 1 - prior)
        assert f"{prior * 100:.0f} of 100 about {share * 100:.0f} of 100" in told


def test_the_innocent_causes_fit_the_answer(
    clips_of_each_band: dict[Band, Analysis], tmp_path: Path
) -> None:
    flagged = page_of(clips_of_each_band[Band.STRONG], tmp_path / "flagged").words
    clear = page_of(clips_of_each_band[Band.NONE], tmp_path / "clear").words
    assert "beauty filter" in flagged
    assert "What could hide a manipulation" in clear
    assert "such tools err, and we did not rely on it alone" in flagged
    assert "does not prove that it is authentic" in clear


def test_it_says_who_the_verdict_is_about(
    clips_of_each_band: dict[Band, Analysis], tmp_path: Path
) -> None:
    analysis = clips_of_each_band[Band.STRONG]
    assert analysis.verdict.track_id == 0
    told = page_of(analysis, tmp_path).words
    assert "in the face of person A" in told
    assert "Person A is seen 0:00–0:40." in told
    assert "Person B seen 0:08–0:25" in told
    assert told.count("the verdict rests on this person") == 1


def test_names_cannot_break_out(
    make_analysis: Callable[..., Analysis], tmp_path: Path, schema: dict[str, object]
) -> None:
    analysis = make_analysis(name=ODD_NAME, tags=(("encoder", "<script>x</script>\x1b[31m"),))
    report = write_report(analysis, tmp_path)
    html = report.html.read_text("utf-8")
    page = Page(html)
    assert not page.all("img")
    assert not page.all("script")
    assert "\u202e" not in html
    assert "\x1b" not in html
    assert "<img src=x onerror=alert(1)>\"'&{{ 7*7 }}⟨U+000A⟩⟨U+202E⟩gpj.mp4" in page.words
    document = json.loads(report.json.read_bytes())
    jsonschema.validate(document, schema)
    assert document["input"]["name"] == ODD_NAME


def test_bytes_that_are_no_text_survive(
    make_analysis: Callable[..., Analysis], tmp_path: Path
) -> None:
    report = write_report(make_analysis(name="a\udcff.mp4"), tmp_path)
    assert "a\\udcff.mp4" in Page(report.html.read_text("utf-8")).words
    assert json.loads(report.json.read_bytes())["input"]["name"] == "a\\udcff.mp4"


@pytest.mark.parametrize("name", ["-rf.mp4", "a b'c.mp4", "new\nline.mp4", "$(id).mp4", "é.mp4"])
def test_the_command_names_the_file_in_a_shell(
    make_analysis: Callable[..., Analysis], tmp_path: Path, name: str
) -> None:
    command = reproduce_command(make_analysis(name=name), reveal=False)
    tail = command.removeprefix("dfdetect predict ")
    printed = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {tail}"], capture_output=True, check=True
    )
    first, *flags, _ = printed.stdout.decode().split("\0")
    assert Path(first).name == name
    assert flags == ["--detector", "WEIGHTS"]
    assert "\n" not in command
    assert not printed.stdout.startswith(b"-")


def test_two_runs_differ_in_time_only(
    make_analysis: Callable[..., Analysis], tmp_path: Path
) -> None:
    first = make_analysis()
    later = replace(
        first,
        timing=replace(first.timing, started_at="2027-01-01T00:00:00+00:00", stages=(("x", 9.0),)),
    )
    raw = [
        write_report(each, tmp_path / name).json.read_bytes()
        for name, each in (("a", first), ("b", first), ("c", later))
    ]
    assert raw[0] == raw[1]
    documents = [json.loads(text) for text in raw]
    for document in documents:
        del document["time"]
    assert documents[0] == documents[2]


def test_no_folder_and_no_user_enters_the_report(
    clips_of_each_band: dict[Band, Analysis], tmp_path: Path
) -> None:
    report = write_report(clips_of_each_band[Band.STRONG], tmp_path)
    for path in (report.html, report.json):
        content = path.read_text("utf-8")
        assert "somebody" not in content
        assert str(tmp_path) not in content


def test_tags_that_may_name_a_place_are_flagged_and_not_printed(
    make_analysis: Callable[..., Analysis], tmp_path: Path
) -> None:
    key = "com.apple.quicktime.location.ISO6709"
    report = write_report(make_analysis(tags=((key, "+52.1+004.3/"),)), tmp_path)
    for path in (report.html, report.json):
        content = path.read_text("utf-8")
        assert key in content
        assert "+52.1" not in content


def test_revealing_is_said_and_changes_the_pictures(
    clips_of_each_band: dict[Band, Analysis], tmp_path: Path
) -> None:
    analysis = clips_of_each_band[Band.STRONG]
    hidden = page_of(analysis, tmp_path / "hidden")
    shown = page_of(analysis, tmp_path / "shown", reveal=True)
    assert "This report shows faces as filmed" in shown.words
    assert "This report shows faces as filmed" not in hidden.words
    assert "--reveal" in shown.words
    pictures = [[each["href"] for each in page.all("image")] for page in (hidden, shown)]
    assert not set(pictures[0]) & set(pictures[1])
    stated = [
        json.loads((tmp_path / name / "report.json").read_bytes()) for name in ("hidden", "shown")
    ]
    assert [each["policy"]["reveal"] for each in stated] == [False, True]
    assert [each["artefacts"][0]["obscured"] for each in stated] == [True, False]


def test_a_picture_has_no_timeline(
    make_analysis: Callable[..., Analysis], make_person: Callable[..., object], tmp_path: Path
) -> None:
    analysis = make_analysis(make_person(2.8), n_frames=1, duration_s=0.04)
    page = page_of(analysis, tmp_path)
    assert "Timeline of" not in page.words
    assert "Report on one picture" in page.words


def test_the_json_holds_the_hash_of_the_page(
    clips_of_each_band: dict[Band, Analysis], tmp_path: Path
) -> None:
    report = write_report(clips_of_each_band[Band.NONE], tmp_path)
    document = json.loads(report.json.read_bytes())
    assert document["time"]["artefacts"] == [
        {"path": "report.html", "sha256": hashlib.sha256(report.html.read_bytes()).hexdigest()}
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_a_face_in_passing_is_no_person_of_the_clip(
    make_analysis: Callable[..., Analysis], make_person: Callable[..., object], tmp_path: Path
) -> None:
    page = page_of(make_analysis(make_person(-3.0), make_person(-3.0, frames=[4])), tmp_path)
    assert "One person was followed." in page.words
    assert "Person B No signs found" not in page.words
    assert "Others, seen in passing or less often" in page.words
    only = page_of(make_analysis(make_person(-3.0, frames=[4])), tmp_path)
    assert "Nobody was seen long enough to be followed." in only.words


def test_a_crowd_is_not_a_wall_of_timelines(
    make_analysis: Callable[..., Analysis], make_person: Callable[..., object], tmp_path: Path
) -> None:
    crowd = [make_person(-3.0, frames=range(4, 14 + number % 5)) for number in range(30)]
    page = page_of(make_analysis(*crowd), tmp_path)
    assert page.words.count("Timeline of person") == 0
    assert sum("drawing" in (each.get("class") or "") for each in page.all("svg")) == 12
    assert "Others, seen in passing or less often" in page.words
    assert "Person AD" in page.words


def test_one_frame_of_a_clip_without_a_count_is_no_picture(
    make_analysis: Callable[..., Analysis], make_person: Callable[..., object], tmp_path: Path
) -> None:
    # as Matroska and WebM are: their headers claim no number of frames
    analysis = make_analysis(make_person(2.8), n_frames=1, duration_s=8.0)
    page = page_of(replace(analysis, video=replace(analysis.video, n_frames=None)), tmp_path)
    assert "Report on one clip" in page.words
    assert "The whole picture was examined." not in page.words
    assert "1 frame was looked at; it shows a face." in page.words
    assert "a forgery of a few moments can be missed" in page.words


def test_a_clip_that_was_seen_whole_has_nothing_between_its_frames(
    make_analysis: Callable[..., Analysis], make_person: Callable[..., object], tmp_path: Path
) -> None:
    analysis = make_analysis(make_person(-3.0), n_frames=20)
    whole = replace(analysis, sampling=SamplingSummary("even", 32, 20, 20))
    page = page_of(whole, tmp_path)
    assert "All 20 frames were looked at; 20 of them show a face." in page.words
    assert "Frames between the sampled ones" not in page.words
    assert "Frames between the sampled ones" in page_of(analysis, tmp_path).words


def test_pictures_have_no_length(make_analysis: Callable[..., Analysis], tmp_path: Path) -> None:
    analysis = make_analysis(n_frames=1)
    video = replace(analysis.video, container="folder", n_frames=1, images=(Path("a.png"),))
    hashes = replace(analysis.hashes, n_files=1)
    page = page_of(replace(analysis, video=video, hashes=hashes), tmp_path)
    assert "(minutes and seconds)" not in page.words
    assert "bytes in 1 picture " in page.words


def test_one_more_sighting_is_one_time(
    make_analysis: Callable[..., Analysis], make_person: Callable[..., object], tmp_path: Path
) -> None:
    page = page_of(make_analysis(make_person(-3.0, frames=range(0, 14, 2))), tmp_path)
    assert "and 1 more time " in page.words


def test_what_an_answer_is_worth_names_the_answers_that_were_counted(
    clips_of_each_band: dict[Band, Analysis], tmp_path: Path
) -> None:
    analysis = clips_of_each_band[Band.WEAK]
    rate = words.rate_of(analysis.detector.calibration, Band.WEAK)
    assert rate is not None
    page = page_of(analysis, tmp_path)
    assert "with the answer “Weak signs or stronger”" in page.words
    basis = f"{rate.n_real:,} authentic and {rate.n_fake:,} manipulated clips"
    assert page.words.count(basis) == 2


def test_without_a_face_there_are_no_signs_to_explain(
    clips_of_each_band: dict[Band, Analysis], tmp_path: Path
) -> None:
    page = page_of(clips_of_each_band[Band.NO_FACE], tmp_path)
    assert "What could cause signs innocently" not in page.words
    assert "nothing was judged" in page.words

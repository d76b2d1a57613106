"""The report as an editor reads it: everything that `report.html` prints, already in words."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from dfdetect.inference.document import (
    HTML_NAME,
    JSON_NAME,
    is_bundled,
    printed_tags,
    reproduce_command,
    verdict_of,
    withheld_tags,
)
from dfdetect.inference.stills import data_uri
from dfdetect.inference.timeline import Chart, draw
from dfdetect.inference.wording import clock, file_name, likelihood_words
from dfdetect.scoring import words
from dfdetect.types import (
    Analysis,
    Band,
    FaceBox,
    FaceQuality,
    Span,
    TrackAnalysis,
)
from dfdetect.visible import visible

MOST_DRAWN = 12  # persons with a timeline of their own; the others share a table
MOST_SPANS = 6
FINE_BELOW_S = 10.0  # shorter clips show tenths of a second
LADDER = (Band.NONE, Band.WEAK, Band.MODERATE, Band.STRONG)
FLAGGED = frozenset({Band.WEAK, Band.MODERATE, Band.STRONG})
SKIPPED_WORDS = {
    "frame_not_read": "Frames that were wanted and could not be had",
    "packet_not_decoded": "Damaged packets that could not be decoded",
    "frame_without_face": "Sampled frames in which no face was found",
    "face_not_usable": "Faces found but not judged",
    "face_too_small": "… because they are too small",
    "face_too_blurred": "… because they are too blurred",
    "face_turned_away": "… because they are turned too far to the side",
    "face_too_strange": "… because they are unlike the faces that the detector learned from",
}

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class StillView:
    """A still: its address, its size, the outlined box and when it was filmed."""

    uri: str
    width: int
    height: int
    box: FaceBox
    time: str


@dataclass(frozen=True, slots=True)
class PersonView:
    """One person's part of the page; `chart` is None for a single picture."""

    label: str
    is_subject: bool
    headline: str
    reasons: tuple[str, ...]
    seen: str
    n_faces: int
    n_usable: int
    still: StillView
    chart: Chart | None
    quality: Facts
    likelihood: str | None


@dataclass(frozen=True, slots=True)
class RateRow:
    """How often clips of each kind get an answer, each as "about 5 of 100 (3 to 8)"."""

    answer: str
    authentic: str
    manipulated: str
    here: bool


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page, in the order in which it is read."""

    name: str
    band: Band
    headline: str
    lead: str
    subject: str | None
    reasons: tuple[str, ...]
    error_note: str | None
    is_flagged: bool
    is_picture: bool
    is_whole: bool
    revealed: bool
    n_people: int
    people: tuple[PersonView, ...]
    others: tuple[PersonView, ...]
    frames_note: str
    has_audio: bool
    skipped: Facts
    ladder: tuple[tuple[str, bool], ...]
    rates: tuple[RateRow, ...]
    rates_basis: str
    priors: tuple[tuple[str, str], ...]
    prior_answer: str
    clip_facts: Facts
    withheld: tuple[str, ...]
    detector_facts: Facts
    settings: Facts
    environment: Facts
    command: str
    is_bundled: bool
    version: str
    content_sha256: str
    analysed_at: str
    files: tuple[str, ...]


def build_page(analysis: Analysis, *, reveal: bool, content_sha256: str) -> Page:
    """Put an analysis into words.

    `reveal` shows faces as filmed; `content_sha256`, the hash of the report's data, is printed so
    that the two files are tied to each other.
    """
    verdict, skipped = analysis.verdict, dict(analysis.skipped)
    is_picture = shows_one_picture(analysis)
    views = {
        track.track_id: _person(analysis, track, reveal=reveal, drawn=not is_picture)
        for track in analysis.tracks
    }
    followed = [track for track in analysis.tracks if track.followed]
    ranked = sorted(followed, key=lambda track: _importance(analysis, track))
    drawn = {track.track_id for track in ranked[:MOST_DRAWN]}
    subject = views.get(verdict.track_id) if verdict.track_id is not None else None
    return Page(
        name=visible(file_name(analysis.video.path.name)),
        band=verdict.band,
        headline=words.BAND_WORDS[verdict.band],
        lead=words.sentence(verdict.reasons[0]),
        subject=_whereabouts(analysis, subject),
        reasons=tuple(words.sentence(reason) for reason in verdict.reasons[1:]),
        error_note=_error_note(analysis),
        is_flagged=verdict.band in FLAGGED,
        is_picture=is_picture,
        is_whole=is_picture or _is_whole(analysis),
        revealed=reveal and bool(analysis.tracks),
        n_people=len(followed),
        people=tuple(view for track_id, view in views.items() if track_id in drawn),
        others=tuple(view for track_id, view in views.items() if track_id not in drawn),
        frames_note=_frames_note(analysis, is_picture),
        has_audio=analysis.video.has_audio,
        skipped=tuple((text, f"{skipped[key]:,}") for key, text in SKIPPED_WORDS.items()),
        ladder=tuple((_short(band), band is verdict.band) for band in LADDER),
        rates=_rates(analysis),
        rates_basis=_rates_basis(analysis),
        priors=_priors(analysis),
        prior_answer=_answer(verdict.band),
        clip_facts=_clip_facts(analysis),
        withheld=tuple(visible(file_name(key)) for key in withheld_tags(analysis.video)),
        detector_facts=_detector_facts(analysis),
        settings=analysis.settings,
        environment=analysis.environment,
        command=reproduce_command(analysis, reveal=reveal),
        is_bundled=is_bundled(analysis.detector.weights_sha256),
        version=dict(analysis.environment)["dfdetect"],
        content_sha256=content_sha256,
        analysed_at=analysis.timing.started_at,
        files=(HTML_NAME, JSON_NAME),
    )


def shows_one_picture(analysis: Analysis) -> bool:
    """Return whether the clip is one picture, rather than a clip of which one was looked at."""
    is_whole = analysis.video.n_frames == 1 or _is_whole(analysis)
    return len(analysis.sampled) == 1 and is_whole


def _is_whole(analysis: Analysis) -> bool:
    sampling, images = analysis.sampling, analysis.video.images
    if images:
        return len(analysis.sampled) == len(images)
    takes_all = sampling.rule == "all" or (
        sampling.rule == "even" and sampling.n_wanted < sampling.n_requested
    )
    return takes_all and sampling.n_read == sampling.n_wanted


def _whereabouts(analysis: Analysis, subject: PersonView | None) -> str | None:
    if subject is None or subject.chart is None or analysis.verdict.band not in FLAGGED:
        return None
    return f"{subject.label} is {subject.seen}."


def _importance(analysis: Analysis, track: TrackAnalysis) -> tuple[bool, int, int]:
    is_subject = track.track_id == analysis.verdict.track_id
    return (not is_subject, -len(track.faces), track.track_id)


def _person(analysis: Analysis, track: TrackAnalysis, *, reveal: bool, drawn: bool) -> PersonView:
    verdict = verdict_of(analysis, track)
    still = track.still
    image = still.clear if reveal else still.obscured
    fine = analysis.video.duration_s < FINE_BELOW_S
    ratio = verdict.likelihood_ratio
    return PersonView(
        label=_capital(words.person(track.track_id)),
        is_subject=track.track_id == analysis.verdict.track_id
        and analysis.verdict.band is not Band.NONE,
        headline=_short(verdict.band),
        reasons=tuple(
            words.sentence(reason)
            for reason in verdict.reasons
            if reason not in analysis.verdict.reasons
        ),
        seen=_seen(track.spans, fine) if drawn else "in this picture",
        n_faces=len(track.faces),
        n_usable=sum(track.usable),
        still=StillView(
            uri=data_uri(image, lossless=not reveal),
            width=image.shape[1],
            height=image.shape[0],
            box=still.box,
            time=clock(still.time_s, fine),
        ),
        chart=draw(analysis, track) if drawn else None,
        quality=_quality([scored.face.quality for scored in track.faces]),
        likelihood=None
        if ratio is None
        else likelihood_words(ratio, verdict.lr_low, verdict.lr_high),
    )


def _seen(spans: tuple[Span, ...], fine: bool) -> str:
    shown = [
        clock(span.start_s, fine)
        if span.n_faces == 1
        else f"{clock(span.start_s, fine)}–{clock(span.end_s, fine)}"
        for span in spans[:MOST_SPANS]
    ]
    if len(spans) > MOST_SPANS:
        rest = len(spans) - MOST_SPANS
        shown.append(f"and {rest} more {'time' if rest == 1 else 'times'}")
    return "seen " + ", ".join(shown)


def _quality(found: list[FaceQuality | None]) -> Facts:
    qualities = [quality for quality in found if quality is not None]
    if not qualities:
        return ()
    return (
        ("Face width", f"{median(each.side_px for each in qualities):.0f} px"),
        ("Eye distance", f"{median(each.inter_eye_px for each in qualities):.0f} px"),
        ("Sharpness", f"{median(each.sharpness for each in qualities):.0f}"),
        ("Turned away", f"{median(abs(each.yaw) for each in qualities):.2f}"),
    )


def _error_note(analysis: Analysis) -> str | None:
    calibration, band = analysis.detector.calibration, analysis.verdict.band
    rate = words.rate_of(calibration, band)
    if rate is None or not rate.n_real or not rate.n_fake:
        return None
    told = words.missed_frequency if band is Band.NONE else words.flagged_frequency
    return f"{told(rate)}."


def _rates(analysis: Analysis) -> tuple[RateRow, ...]:
    return tuple(
        RateRow(
            answer=_answer(rate.band),
            authentic=_frequency(rate.real_flagged, rate.n_real),
            manipulated=_frequency(rate.fake_flagged, rate.n_fake),
            here=rate.band is analysis.verdict.band,
        )
        for rate in analysis.detector.calibration.rates
        if rate.n_real and rate.n_fake
    )


def _rates_basis(analysis: Analysis) -> str:
    rates = analysis.detector.calibration.rates
    counts = {(rate.n_real, rate.n_fake) for rate in rates if rate.n_real and rate.n_fake}
    named = [f"{real:,} authentic and {fake:,} manipulated clips" for real, fake in sorted(counts)]
    return " or ".join(named)


def _answer(band: Band) -> str:
    # the rates of these bands count every stronger answer as well
    return _short(band) + (" or stronger" if band in (Band.WEAK, Band.MODERATE) else "")


def _frequency(count: int, n: int) -> str:
    found = words.frequency(count, n)
    return f"about {found.about:,} of {found.of:,} ({found.low:,} to {found.high:,})"


def _priors(analysis: Analysis) -> tuple[tuple[str, str], ...]:
    rate = words.rate_of(analysis.detector.calibration, analysis.verdict.band)
    if rate is None or not rate.n_real or not rate.n_fake:
        return ()
    return tuple(
        (f"{row.prior * 100:.0f} of 100", _of_hundred(row.probability))
        for row in words.posterior_table(rate)
    )


def _of_hundred(share: float) -> str:
    if share < 0.005:
        return "fewer than 1 of 100"
    if share >= 0.995:
        return "more than 99 of 100"
    return f"about {share * 100:.0f} of 100"


def _frames_note(analysis: Analysis, is_picture: bool) -> str:
    if is_picture:
        return "The whole picture was examined."
    video, is_whole = analysis.video, _is_whole(analysis)
    n_looked, is_one = len(analysis.sampled), len(analysis.sampled) == 1
    seen = {scored.face.frame_index for track in analysis.tracks for scored in track.faces}
    about = "" if video.images else "about "
    claimed = f" of {about}{video.n_frames:,}" if video.n_frames and not is_whole else ""
    thing = ("picture" if video.images else "frame") + ("" if is_one else "s")
    count = f"{'All ' if is_whole else ''}{n_looked:,}{claimed}"
    looked = f"{count} {thing} {'was' if is_one else 'were'} looked at"
    showing = f"{len(seen):,} of them {'shows' if len(seen) == 1 else 'show'} a face."
    if is_one:
        showing = f"it shows {'a' if seen else 'no'} face."
    if video.images:
        return (
            f"{looked}, in the order of their names; {showing} The report times them at one a "
            "second."
        )
    if is_whole or is_one:
        return f"{looked}; {showing}"
    rule = analysis.sampling.rule
    return f"{looked}, {'spread evenly over the whole clip' if rule == 'even' else rule}; {showing}"


def _clip_facts(analysis: Analysis) -> Facts:
    video, hashes = analysis.video, analysis.hashes
    rotated = f", turned by {video.rotation}°" if video.rotation else ""
    rate = f", {video.fps:.3g} frames a second" if video.fps and not video.images else ""
    varying = ", varying" if video.variable_frame_rate else ""
    pictures = "picture" if hashes.n_files == 1 else "pictures"
    files = f" in {hashes.n_files:,} {pictures}" if video.container == "folder" else ""
    facts = [
        ("File", visible(file_name(video.path.name))),
        ("SHA-256", hashes.sha256),
        ("MD5", hashes.md5),
        ("Size", f"{hashes.size_bytes:,} bytes{files}"),
        ("Picture", f"{video.width} × {video.height} pixels{rotated}{rate}{varying}"),
        # pictures carry no clock
        *(
            ()
            if video.images
            else (("Length", f"{clock(video.duration_s, fine=True)} (minutes and seconds)"),)
        ),
        ("Coding", f"{video.codec}, {video.pixel_format}, in {video.container}"),
    ]
    tags = [(f"Tag: {key}", value) for key, value in printed_tags(video)]
    return tuple(
        (visible(file_name(key)), visible(file_name(value))) for key, value in facts + tags
    )


def _detector_facts(analysis: Analysis) -> Facts:
    card, calibration = analysis.detector, analysis.detector.calibration
    facts = [
        ("Detector", card.name),
        ("SHA-256 of its weights", card.weights_sha256),
        *((key.replace("_", " ").capitalize(), value) for key, value in card.provenance),
        ("Error rates measured on", calibration.set_name),
        (
            "Clips in that set",
            f"{calibration.n_real:,} authentic, {calibration.n_fake:,} manipulated",
        ),
        ("Measured on (date)", calibration.date),
    ]
    return tuple((visible(key), visible(value)) for key, value in facts)


def _short(band: Band) -> str:
    phrase, _, _ = words.BAND_WORDS[band].partition(" (")
    return phrase.removesuffix(" of face manipulation")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

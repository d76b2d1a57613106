"""A header survives storage exactly, and anything else is refused with a sentence."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfdetect.detectors.base import CheckpointHeader, Preprocess
from dfdetect.detectors.header import decode_header, encode_header
from dfdetect.errors import ContractError, UntrustedCheckpoint
from dfdetect.types import (
    Band,
    BandRate,
    Calibration,
    CropPolicy,
    OperatingPoint,
    SetRates,
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**40)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.one_of(words, st.integers(), numbers, st.booleans(), st.none())
settings_ = st.one_of(scalars, st.lists(scalars, max_size=4).map(tuple))
rates = st.builds(BandRate, st.sampled_from(Band), counts, counts, counts, counts)
points = st.builds(
    lambda share, logit, real, fake: OperatingPoint(share, logit, *real, *fake),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
    numbers | st.none(),
    *[st.tuples(counts, counts).map(lambda pair: sorted(pair, reverse=True))] * 2,
)
sets = st.builds(SetRates, words, counts, counts, st.lists(rates, max_size=3).map(tuple))
calibrations = st.builds(
    Calibration,
    method=words,
    slope=numbers,
    intercept=numbers,
    lr_min=numbers,
    lr_max=numbers,
    n_real=counts,
    n_fake=counts,
    set_name=words,
    date=words,
    rates=st.lists(rates, max_size=3).map(tuple),
    operating_points=st.lists(points, max_size=2).map(tuple),
    sets=st.lists(sets, max_size=2).map(tuple),
)


@st.composite
def preprocesses(draw: st.DrawFn) -> Preprocess:
    size = draw(st.integers(16, 2048))
    scale = draw(st.floats(0.01, 100))
    mean = draw(st.tuples(numbers, numbers, numbers))
    positive = st.floats(1e-6, 1e6)
    std = draw(st.tuples(positive, positive, positive))
    return Preprocess(size, mean, std, CropPolicy(draw(words), scale, size))


headers = st.builds(
    CheckpointHeader,
    detector=words,
    kwargs=st.dictionaries(words, settings_, max_size=4).map(lambda d: tuple(sorted(d.items()))),
    preprocess=preprocesses(),
    calibration=st.none() | calibrations,
    provenance=st.lists(st.tuples(words, words), max_size=3).map(tuple),
    trained=st.booleans(),
)

HALF = Preprocess(64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), CropPolicy(size=64))
HEADER = CheckpointHeader("meso4", (("dropout", 0.5),), HALF, None, (("n", "12"),), True)


@given(headers)
def test_round_trip_is_exact(header: CheckpointHeader) -> None:
    text = encode_header(header)
    again = decode_header(text, "file")
    assert again == header
    assert encode_header(again) == text
    # equal values of other types (1, 1.0, True) would compare alike
    assert [type(value) for _, value in again.kwargs] == [type(value) for _, value in header.kwargs]


@given(st.text() | st.recursive(scalars, st.lists, max_leaves=5).map(json.dumps))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UntrustedCheckpoint):
        decode_header(text, "file")


def edited(**changes: object) -> str:
    plain = json.loads(encode_header(HEADER))
    plain.update(changes)
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (edited(trained="yes"), "header.trained is str"),
        (edited(trained=1), "header.trained is int"),
        (edited(detector=None), "header.detector is NoneType"),
        (edited(surprise=1), "unknown surprise"),
        (edited(kwargs={"a": {}}), "not allowed"),
        (edited(kwargs=["a"]), r"header.kwargs\[0\] is str"),
        (edited(format_version=2), "format version 2"),
        (edited(format_version=0), "format_version is 0"),
        (edited(provenance=[["a"]]), "has 1 values, expected 2"),
        (edited(calibration={}), "lacks"),
        (edited(detector="\ud800"), "surrogates"),
        (edited(preprocess={}), "lacks crop"),
        (edited()[:-1], "no valid dfdetect header"),
        (edited().replace('"trained": true', '"trained": true, "trained": false'), "repeated"),
        (edited().replace("64", "4096"), "16…2048"),
        (edited().replace("1.3", "NaN"), "not a finite number"),
        (edited().replace("1.3", "1e999"), "not a finite number"),
        (edited().replace("1.3", "1" + "0" * 400), "no valid dfdetect header"),
        (edited().replace("1.3", "-1"), "crop scale must be positive"),
        ("[" * 50_000, "no valid dfdetect header"),
        (edited(detector="x" * 300_000), "longer than"),
    ],
)
def test_broken_headers_are_refused(text: str, reason: str) -> None:
    with pytest.raises(UntrustedCheckpoint, match=reason) as caught:
        decode_header(text, "weights.onnx")
    assert str(caught.value).startswith("weights.onnx ")


@pytest.mark.parametrize(
    "changes",
    [
        {"kwargs": (("b", 1), ("a", 2))},
        {"kwargs": (("a", 1), ("a", 2))},
        {"kwargs": (("a", float("nan")),)},
        {"kwargs": (("a", object()),)},
        {"kwargs": (("a", [1]),)},
        {"provenance": (("n", 12),)},
        {"trained": "yes"},
        {"detector": "x" * 300_000},
    ],
)
def test_headers_that_would_not_come_back_are_not_written(changes: dict[str, object]) -> None:
    with pytest.raises(ContractError, match="cannot be stored"):
        encode_header(dataclasses.replace(HEADER, **changes))


FITTED = Calibration("platt", 1.5, -0.25, 0.1, 10.0, 20, 30, "val", "2026-01-01")
POINT = OperatingPoint(0.05, 1.5, 20, 1, 30, 21)
WHOLE = dataclasses.replace(
    FITTED,
    operating_points=(POINT, dataclasses.replace(POINT, false_alarm=0.01, logit=None)),
    sets=(SetRates("ffpp", 20, 30, (BandRate(Band.WEAK, 1, 20, 21, 30),)),),
)


def test_a_calibration_from_before_operating_points_is_stored_as_it_was() -> None:
    header = dataclasses.replace(HEADER, calibration=FITTED)
    text = encode_header(header)
    assert "operating_points" not in text
    assert "sets" not in text
    assert decode_header(text, "file") == header


def test_a_header_may_lack_either_addition() -> None:
    for kept in ({"operating_points": WHOLE.operating_points}, {"sets": WHOLE.sets}):
        header = dataclasses.replace(HEADER, calibration=dataclasses.replace(FITTED, **kept))
        assert decode_header(encode_header(header), "file") == header


def point(**changes: object) -> str:
    plain = json.loads(encode_header(dataclasses.replace(HEADER, calibration=WHOLE)))
    plain["calibration"]["operating_points"][0].update(changes)
    return json.dumps(plain)


def part(**changes: object) -> str:
    plain = json.loads(encode_header(dataclasses.replace(HEADER, calibration=WHOLE)))
    plain["calibration"]["sets"][0].update(changes)
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (point(logit="1"), "logit is str"),
        (point(logit=True), "logit is bool"),
        (point(logit=1).replace('"logit": 1,', '"logit": NaN,'), "not a finite number"),
        (point(false_alarm=0), r"must lie in \(0, 1\)"),
        (point(false_alarm=1.5), r"must lie in \(0, 1\)"),
        (point(false_alarm=None), "false_alarm is NoneType"),
        (point(n_real=0), "flags more clips than it has"),
        (point(fake_flagged=-1), "fewer than none"),
        (point(n_fake=30.0), "n_fake is float"),
        (point(surprise=1), "unknown surprise"),
        (point().replace('"false_alarm": 0.05, ', ""), "lacks false_alarm"),
        (part(name=3), "name is int"),
        (part(name="\ud800"), "surrogates"),
        (part(rates=None), "rates is NoneType"),
        (part(rates=[{}]), "lacks band"),
        (part(rates=[1]), "expected an object"),
        (edited(calibration={"operating_points": []}), "lacks"),
        (edited(calibration=[]), "which is not allowed there"),
    ],
)
def test_broken_additions_are_refused(text: str, reason: str) -> None:
    with pytest.raises(UntrustedCheckpoint, match=reason):
        decode_header(text, "weights.onnx")


@pytest.mark.parametrize("value", [None, {}, "x", 0])
@pytest.mark.parametrize("name", ["operating_points", "sets"])
def test_additions_are_lists(name: str, value: object) -> None:
    plain = json.loads(encode_header(dataclasses.replace(HEADER, calibration=WHOLE)))
    plain["calibration"][name] = value
    with pytest.raises(UntrustedCheckpoint, match=f"{name} is .*, expected a list"):
        decode_header(json.dumps(plain), "weights.onnx")


def test_an_addition_of_another_type_is_not_stored() -> None:
    wrong = dataclasses.replace(FITTED, operating_points=[])
    with pytest.raises(ContractError, match="cannot be stored"):
        encode_header(dataclasses.replace(HEADER, calibration=wrong))

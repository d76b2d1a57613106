"""The card through the command: exported with all it can state, shown by `models default`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dfdetect.detectors.checkpoint as checkpoint_module
from dfdetect.data.videos import Videos
from dfdetect.detectors.checkpoint import write_weights_list
from dfdetect.evaluation.cards.files import encode_card, read_card, write_card
from dfdetect.evaluation.cards.markdown import markdown
from dfdetect.evaluation.cards.reading import ABLATION_COLUMNS
from dfdetect.evaluation.results import EvaluationResult, ResultRow, write_results
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.provenance import sha256_file
from dfdetect.scoring.score_table import ScoreTable
from tests.cards import whole_card

Command = Callable[..., Any]


@pytest.fixture
def weights(tmp_path: Path, detectors: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights that takes the place of those that ship; it has no card."""
    folder = tmp_path / "weights"
    folder.mkdir()
    shutil.copy(detectors.strong, folder / "default.onnx")
    write_weights_list(folder)
    monkeypatch.setattr(checkpoint_module, "WEIGHTS_DIR", folder)
    return folder


def write_bundled(folder: Path) -> None:
    card = whole_card((("default.onnx", sha256_file(folder / "default.onnx")),))
    write_card(folder / "default.json", card)


def test_the_card_fits_80_columns_through_a_pipe(dfdetect: Command, weights: Path) -> None:
    write_bundled(weights)
    answer = dfdetect("models", "default")
    assert (answer.code, answer.err) == (0, "")
    assert max(map(len, answer.lines)) <= 80
    # tables fold, so that every word and number is there, if not side by side
    words = set(answer.out.replace("|", " ").split())
    for part in ("It", "0.823", "(0.711", "0.912)", "0.957", "1.213", "52", "58", "held-out,"):
        assert part in words or part.rstrip(",") in words, part
    headings = [line for line in answer.lines if line and not line.startswith(" ")]
    for heading in ("At a glance", "Limits", "Calibration", "Robustness", "What was tried"):
        assert heading in headings


def test_every_figure_of_the_markdown_is_on_the_terminal(dfdetect: Command, weights: Path) -> None:
    write_bundled(weights)
    shown = dfdetect("models", "default").out
    figures = {
        word.strip("()|,;`:")
        for word in markdown(read_card(weights / "default.json")).split()
        if any(letter.isdigit() for letter in word)
    }
    short = {figure for figure in figures if len(figure) <= 12}
    assert len(short) > 80
    assert {figure for figure in short if figure not in shown} == set()


def test_the_json_is_the_file(dfdetect: Command, weights: Path) -> None:
    write_bundled(weights)
    answer = dfdetect("models", "default", "--json")
    assert answer.code == 0
    assert answer.out == (weights / "default.json").read_text()
    assert json.loads(answer.out)["version"] == 1


def test_control_characters_reach_no_terminal(dfdetect: Command, weights: Path) -> None:
    write_bundled(weights)
    text = (weights / "default.json").read_text().replace("It errs.", "It errs.\\u001b[31m")
    (weights / "default.json").write_text(text)
    assert "\x1b" not in dfdetect("models", "default").out


def test_without_a_card_the_header_speaks(dfdetect: Command, weights: Path) -> None:
    answer = dfdetect("models", "default")
    assert answer.code == 0
    assert "default.json is missing, so there is no card to show" in answer.lines[0]
    assert "seeded weights for a test" in answer.out
    asked = dfdetect("models", "default", "--json")
    assert (asked.code, asked.out) == (2, "")
    assert "default.json is missing" in asked.complaint
    assert dfdetect("models").lines[0].startswith("Bundled detector")


def test_a_card_of_other_weights_is_not_shown(dfdetect: Command, weights: Path) -> None:
    write_card(weights / "default.json", whole_card())
    answer = dfdetect("models", "default")
    assert answer.code == 0
    assert "is the card of other weights than default.onnx" in answer.lines[0]
    assert "It errs" not in answer.out
    (weights / "default.json").write_text("{}")
    assert "make it again" in dfdetect("models", "default").complaint
    assert "belongs to the bundled" in dfdetect("models", "meso4", "--json").complaint


def write_evaluation(folder: Path, digest: str) -> Path:
    row = ResultRow("m", "plain", "clips", "swap", "auc", "video", 0.8, 0.7, 0.9, 7, 5, 0)
    run = ScoredRun("m", ScoreTable.of([]), Videos.of([]), parents=(("weights", digest),))
    settings = (("split", "test"), ("seed", 3))
    result = EvaluationResult((row,), run, (), (), 0, settings, "cd" * 32)
    write_results(result, folder, "dfdetect evaluate here")
    return folder


def test_a_release_is_exported_with_its_card_and_again(
    dfdetect: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from dfdetect.detectors import create_detector
    from dfdetect.detectors.checkpoint import make_header, save_checkpoint

    monkeypatch.chdir(tmp_path)
    network = create_detector("meso4")
    own = save_checkpoint(Path("best.safetensors"), network, make_header(network, trained=True))
    Path("limits.md").write_text("- It errs at dusk.\n")
    Path("data.md").write_text("Made for a test.\n")
    tried = "base,none,dfdetect train,0,2,auc,clips,0.8,0.7,0.9,7,5,ab\n"
    Path("tried.csv").write_text(f"{','.join(ABLATION_COLUMNS)}\n{tried}")
    gate = {"kind": "drawings", "n": 2, "inconclusive": 1, "no_face": 1, "flagged": 0, "cleared": 0}
    Path("gates.json").write_text(json.dumps([{**gate, "source": "drawn.py"}]))
    write_evaluation(Path("own"), own)
    write_evaluation(Path("sibling"), "98" * 32)
    words = [
        "export", "bundle=true", "checkpoint=best.safetensors", "out=release", "limits=limits.md",
        "data=data.md", "ablation=tried.csv", "gates=gates.json",
    ]  # fmt: skip
    unsaid = "{folder: sibling, title: Left out}"
    refused = dfdetect(*words, f"measured=[{unsaid}]")
    assert refused.code == 2
    assert "say what they are" in refused.complaint
    assert not Path("release").exists()
    both = (
        "measured=[{folder: own, title: Own},"
        "{folder: sibling, title: Left out, about: 'Trained without swaps.'}]"
    )
    assert dfdetect(*words, both).code == 0
    card = read_card(Path("release/default.json"))
    assert [(one.title, one.whose) for one in card.measured] == [
        ("Own", "trained"), ("Left out", "sibling"),
    ]  # fmt: skip
    assert dict(card.training)["measured_clips"].startswith("test split, AUC by video 0.800")
    assert dict(card.files)["default.onnx"] == sha256_file(Path("release/default.onnx"))
    assert Path("release/default.md").read_text() == markdown(card)
    assert (card.limits, card.data) == ("- It errs at dusk.", "Made for a test.")
    # what was measured with the released file is of the same weights when it is released again
    write_evaluation(Path("shipped"), dict(card.files)["default.onnx"])
    assert dfdetect(*words, "measured=[{folder: shipped, title: Again}]").code == 0
    again = read_card(Path("release/default.json"))
    assert again.measured[0].whose == "shipped"
    assert encode_card(again) == Path("release/default.json").read_text()
    missing = dfdetect(*words[:-1], "gates=absent.json")
    assert missing.code == 2
    assert "absent.json states no rates of gates" in missing.complaint

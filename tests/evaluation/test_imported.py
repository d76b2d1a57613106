"""Anybody's file of scores becomes a run, or a sentence that says what is wrong with it."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from dfdetect.data.videos import MANIFEST, Videos
from dfdetect.errors import ContractError, UsageError
from dfdetect.evaluation.imported import imported_scores
from dfdetect.evaluation.measure import MeasurePlan, measure
from dfdetect.evaluation.protocols.protocol import PLAIN, under_protocol
from dfdetect.evaluation.runs import ScoredRun
from dfdetect.evaluation.score_columns import ColumnMap
from tests.score_runs import video

A, B, REAL_1, REAL_2 = "ffpp/A/1_x", "ffpp/B/1_x", "ffpp/original/1", "ffpp/original/2"
MANIFEST_ROWS = [video(A, 1), video(B, 1), video(REAL_1, 0), video(REAL_2, 0)]
VIDEOS = Videos.of(reversed(MANIFEST_ROWS))
BY_VIDEO = ColumnMap("id", "s")
BY_FRAME = ColumnMap("id", "s", frame="f")


def load(
    path: Path,
    text: str,
    columns: ColumnMap = BY_VIDEO,
    polarity: str = "fake",
    videos: Videos = VIDEOS,
    labels: str = "agree",
) -> ScoredRun:
    """Import a file of this text."""
    file = path / "scores.csv"
    file.write_bytes(text.encode())
    return imported_scores(file, videos, columns, polarity, "theirs", labels)


def logits(run: ScoredRun) -> dict[str, float]:
    """Return the logit of every scored row by its video (of which there is one each)."""
    table = run.scores.scored()
    return {run.scores.video_ids[v]: x for v, x in zip(table.video, table.logit, strict=True)}


def test_frames_with_all_columns(tmp_path: Path) -> None:
    text = (
        "s,label,id,f,t,time,split\n"
        f"1.5,fake,{A},0,0,0.0,test\n-2,fake,{A},10,1,0.4,test\n,fake,{A},20,0,0.8,test\n"
        f"0.25,real,{REAL_1},5,0,0.2,test\nnan,REAL,{REAL_1},6,0,0.3,test\n"
    )
    columns = ColumnMap("id", "s", frame="f", track="t", time="time", label="label", split="split")
    run = load(tmp_path, text, columns)
    table = run.scores
    assert run.unit == "frame"
    assert table.video_ids == tuple(sorted((A, B, REAL_1, REAL_2)))
    rows = [
        (table.video_ids[v], int(t), int(f), float(at), table.statuses[s])
        for v, t, f, at, s in zip(
            table.video, table.track_id, table.frame_index, table.time_s, table.status, strict=True
        )
    ]
    assert rows == [
        (A, 0, 0, 0.0, "ok"), (A, 0, 20, 0.8, "no_score"), (A, 1, 10, 0.4, "ok"),
        (B, -1, -1, 0.0, "not_scored"),
        (REAL_1, 0, 5, 0.2, "ok"), (REAL_1, 0, 6, 0.3, "no_score"),
        (REAL_2, -1, -1, 0.0, "not_scored"),
    ]  # fmt: skip
    assert table.scored().logit.tolist() == [1.5, -2.0, 0.25]
    notes = " | ".join(run.notes)
    assert "2 of 4 videos have no row" in notes
    assert "The labels of the file are the manifest's" in notes
    assert "The splits of the file are the manifest's" in notes
    assert [role for role, _ in run.parents] == ["scores", "manifest"]


def test_times_follow_from_frames(tmp_path: Path) -> None:
    run = load(tmp_path, f"id,s,f\n{A},1,50\n{REAL_1},0,0\n", BY_FRAME)
    assert run.scores.scored().time_s.tolist() == [2.0, 0.0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv_dialects(tmp_path: Path, delimiter: str, mark: str) -> None:
    lines = ("id,s", f'"{A}",1.0', f"{B},2e0", f"{REAL_1}, -1 ", f"{REAL_2},NaN")
    text = "\r\n".join(line.replace(",", delimiter) for line in lines)
    run = load(tmp_path, mark + text)
    assert logits(run) == {A: 1.0, B: 2.0, REAL_1: -1.0}
    assert run.unit == "video"


def test_probabilities_become_logits_in_the_same_order(tmp_path: Path) -> None:
    columns = ColumnMap("id", "s", scale="probability")
    found = load(tmp_path, f"id,s\n{A},1\n{B},0.75\n{REAL_1},0.0\n{REAL_2},1e-30\n", columns)
    by_id = logits(found)
    assert by_id[B] == pytest.approx(np.log(3))
    assert by_id[REAL_2] == pytest.approx(np.log(1e-30))
    assert by_id[REAL_1] == pytest.approx(np.log(1e-30) - 1)
    assert by_id[A] == 17.0
    turned = load(tmp_path, f"id,s\n{A},0.25\n{REAL_1},1\n", columns, "real")
    assert logits(turned) == pytest.approx({A: np.log(3), REAL_1: -17.0})
    with pytest.raises(ContractError, match=r"has 93 in column 's' of row 2.*columns\.scale=logit"):
        load(tmp_path, f"id,s\n{A},0.5\n{B},93\n", columns)


def test_scores_of_no_scale_are_only_ranked(tmp_path: Path) -> None:
    text = f"id,s\n{A},812\n{B},90\n{REAL_1},100\n{REAL_2},7\n"
    run = load(tmp_path, text, ColumnMap("id", "s", scale="any"))
    assert run.ranked_only
    view = under_protocol(run, PLAIN)
    plan = MeasurePlan("theirs", "p", None, None, 0, 0, ranked_only=run.ranked_only)
    found = {row.metric: row.value for row in measure(view.units, view.videos, plan)[0]
             if row.method == "all"}  # fmt: skip
    assert found["auc"] == 0.75
    assert "log_loss" not in found
    assert any("Only the order" in note for note in view.notes)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (A, "1 are video ids"),
        ("A/c23/videos/1_x.mp4", "1 were told by their path"),
        ("/data/ffpp/A/c23/videos/1_x.mp4", "1 were told by their path"),
        ("D:\\data\\A\\c23\\videos\\1_x.mp4", "1 were told by their path"),
        ("A/1_x", "1 were told by their path"),
    ],
)
def test_names_of_one_video(tmp_path: Path, key: str, told: str) -> None:
    run = load(tmp_path, f"id,s\n{key},3\n")
    assert logits(run) == {A: 3.0}
    assert told in run.notes[0]


def test_a_file_name_names_the_only_video_that_has_it(tmp_path: Path) -> None:
    run = load(tmp_path, "id,s\nframes/elsewhere/2.mp4,3\n1,2\n")
    assert logits(run) == {REAL_2: 3.0, REAL_1: 2.0}
    assert "2 by their file name" in run.notes[0]
    # a suffix that is none of a video's belongs to the name
    assert load(tmp_path, f"id,s\n2.v2,3\n{A},1\n").scores.n_scored == 1


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("1_x.mp4,1", "1 of 1 names fit several videos of the manifest ('1_x.mp4')"),
        ("c23/videos/1_x,1", "names fit several videos"),
        (f"{A},1\nA/1_x,2", "'ffpp/A/1_x' and 'A/1_x' both mean the video 'ffpp/A/1_x'"),
        ("nobody,1", "names no video of the manifest: it has 'nobody', the manifest 'ffpp/A/1_x'"),
        (f"{A},1\n{A},2", "1 rows that stand there already (the first: 'ffpp/A/1_x')"),
        (f"{A},text", "has 'text' in column 's' of row 1"),
        (f"{A},1\n{B},inf", "of row 2 (the header not counted), wanted a finite number"),
        (f"{A},1_000", "written in an unusual way"),
        (",1", "has '' in column 'id' of row 1"),
        (f"{A},1,2", "cannot be read as Parquet or CSV"),
        (f"{'x' * 3_000_000},1", "cannot be read as Parquet or CSV"),
        ("", "has no rows"),
    ],
)
def test_faulty_rows_are_refused(tmp_path: Path, rows: str, sentence: str) -> None:
    with pytest.raises(ContractError) as caught:
        load(tmp_path, f"id,s\n{rows}\n")
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (f"{A},1,3\n{A},2,3", "'ffpp/A/1_x', frame 3, track 0"),
        (f"{A},1,2.5", "has '2.5' in column 'f' of row 1"),
        (f"{A},1,-4", "wanted a whole number from 0"),
        (f"{A},1,", "in column 'f' of row 1"),
    ],
)
def test_faulty_frames_are_refused(tmp_path: Path, rows: str, sentence: str) -> None:
    with pytest.raises(ContractError) as caught:
        load(tmp_path, f"id,s,f\n{rows}\n", BY_FRAME)
    assert sentence in str(caught.value)


def test_files_that_are_no_table(tmp_path: Path) -> None:
    for content in (b"", b"\n\n", b"PAR1 and no more", b"id,s\n\xff\xfe,1\n"):
        (tmp_path / "f").write_bytes(content)
        with pytest.raises(ContractError):
            imported_scores(tmp_path / "f", VIDEOS, BY_VIDEO, "fake", "theirs")
    with pytest.raises(ContractError, match="is no file"):
        imported_scores(tmp_path / "absent", VIDEOS, BY_VIDEO, "fake", "theirs")
    with pytest.raises(UsageError, match="no column 's'; did you mean 'st'"):
        load(tmp_path, f"id,st\n{A},1\n")
    with pytest.raises(ContractError, match="several columns 's'"):
        load(tmp_path, f"id,s,s\n{A},1,1\n")
    with pytest.raises(UsageError, match="two roles"):
        ColumnMap("id", "id")
    with pytest.raises(UsageError, match=r"unknown columns\.scale=percent"):
        ColumnMap("id", "s", scale="percent")
    with pytest.raises(UsageError, match="unknown polarity=up"):
        load(tmp_path, "id,s\n", polarity="up")
    with pytest.raises(ContractError, match="more than once"):
        load(tmp_path, f"id,s\n{A},1\n", videos=Videos.of([MANIFEST_ROWS[0]] * 2))


def test_rows_of_other_videos_are_counted(tmp_path: Path) -> None:
    run = load(tmp_path, f"id,s,f\n{A},1,0\nother/a,1,0\nother/a,1,1\nother/b,1,0\n", BY_FRAME)
    assert run.scores.n_scored == 1
    assert any("3 rows of 2 names that mean no video" in note for note in run.notes)


def test_labels_must_agree_unless_the_manifest_counts(tmp_path: Path) -> None:
    columns = ColumnMap("id", "s", label="y")
    text = f"id,s,y\n{A},1,0\n{B},1,1\n{REAL_1},0,0\n"
    with pytest.raises(ContractError, match=r"1 of 3 videos \('ffpp/A/1_x'\); .*labels=manifest"):
        load(tmp_path, text, columns)
    run = load(tmp_path, text, columns, labels="manifest")
    assert any("The file has another label than the manifest for 1 of 3" in n for n in run.notes)
    with pytest.raises(ContractError, match="every label is the opposite one"):
        load(tmp_path, f"id,s,y\n{A},1,0\n{REAL_1},0,1\n", columns)
    with pytest.raises(ContractError, match=r"has 'maybe' in column 'y' of row 2"):
        load(tmp_path, f"id,s,y\n{A},1,1\n{B},0,maybe\n", columns)
    with pytest.raises(ContractError, match="another split than the manifest for 1 of 1"):
        load(tmp_path, f"id,s,y\n{A},1,train\n", ColumnMap("id", "s", split="y"))


def polarised(path: Path, n: int, turn: float, polarity: str, **further: Any) -> ScoredRun:
    rng = np.random.default_rng(5)
    rows = [video(f"d/{'m' if k % 2 else 'original'}/{k:04d}", k % 2) for k in range(n)]
    lines = [f"{row.video_id},{rng.normal() + turn * row.label:.6f}" for row in rows]
    return load(path, "id,s\n" + "\n".join(lines), BY_VIDEO, polarity, Videos.of(rows), **further)


def test_turned_scores_are_refused_unless_they_are_meant(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"AUC 0\.\d+ over 100 videos.*say polarity=real"):
        polarised(tmp_path, 100, -2, "unstated")
    meant = polarised(tmp_path, 100, -2, "fake")
    assert any(note.startswith("WARNING: the scores rank genuine") for note in meant.notes)
    turned = polarised(tmp_path, 100, -2, "real")
    labels = turned.videos.column("label").to_numpy()
    aucs = [roc_auc_score(labels, one.scores.logit) for one in (meant, turned)]
    assert aucs[0] == pytest.approx(1 - aucs[1])
    assert aucs[1] > 0.8
    # right ones, weak ones and few ones pass
    assert not any("WARNING" in note for note in polarised(tmp_path, 100, 2, "unstated").notes)
    assert any("WARNING" in n for n in polarised(tmp_path, 400, -0.3, "unstated").notes)
    assert polarised(tmp_path, 6, -9, "unstated").scores.n_scored == 6


@pytest.mark.parametrize(
    "scores",
    [
        pa.array(np.array([1.0, -1.0], np.float16)),
        pa.array([1, -1], pa.int8()),
        pa.array([Decimal("1.0"), Decimal("-1.0")]),
        pa.array(["1.0", "-1"], pa.large_string()),
        pa.array(["1.0", "-1"]).dictionary_encode(),
    ],
    ids=lambda array: str(array.type),
)
def test_parquet_types_of_scores(tmp_path: Path, scores: pa.Array) -> None:
    ids = pa.array([A, REAL_1]).dictionary_encode()
    table = pa.table({"id": ids, "s": scores, "f": pa.array([3.0, 4.0])})
    pq.write_table(table, tmp_path / "s.parquet")
    run = imported_scores(tmp_path / "s.parquet", VIDEOS, BY_FRAME, "fake", "theirs")
    assert logits(run) == {A: 1.0, REAL_1: -1.0}


def test_parquet_types_that_hold_no_scores(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    for name, column in (("s", pa.array([[1.0], [2.0]])), ("id", pa.array([1.5, 2.5]))):
        cells = {"id": pa.array([A, B]), "s": pa.array([1.0, 2.0])} | {name: column}
        pq.write_table(pa.table(cells), path)
        with pytest.raises(ContractError, match=f"in column '{name}'"):
            imported_scores(path, VIDEOS, BY_VIDEO, "fake", "theirs")
    # ids that are numbers, and a null among scores
    pq.write_table(pa.table({"id": [1, 2], "s": pa.array([1.0, None])}), path)
    run = imported_scores(path, VIDEOS, BY_VIDEO, "fake", "theirs")
    assert logits(run) == {REAL_1: 1.0}


def test_a_million_rows_take_seconds(tmp_path: Path) -> None:
    n_videos, n_frames = 20_000, 50
    ids = np.array([f"ffpp/original/{number:06d}" for number in range(n_videos)])
    row = {name: [value] * n_videos for name, value in Videos.columns_of(MANIFEST_ROWS[:1]).items()}
    row = {name: [values[0][0]] * n_videos for name, values in row.items()}
    row |= {"video_id": ids.tolist(), "label": [k % 2 for k in range(n_videos)]}
    videos = Videos(pa.table(row, schema=MANIFEST.schema))
    table = pa.table({
        "id": np.repeat(ids, n_frames), "f": np.tile(np.arange(n_frames), n_videos),
        "s": np.random.default_rng(0).normal(size=n_videos * n_frames),
    })  # fmt: skip
    pcsv.write_csv(table, tmp_path / "s.csv")
    started = time.perf_counter()
    run = imported_scores(tmp_path / "s.csv", videos, BY_FRAME, "unstated", "theirs")
    assert time.perf_counter() - started < 10
    assert run.scores.n_scored == n_videos * n_frames

"""What was tried while the bundled detector was made, as the table that its card shows.

python scripts/ablation_table.py TRIED.csv OUT.csv

TRIED.csv has a line for each measurement of each run, failures included: name, what changed, run
(a folder of `dfdetect train`) and results (a folder of `dfdetect evaluate`). Command, seed, step
and weights are read from the run, values and their intervals from the results, so that nothing in
the table is typed by hand. Results of other weights than the run's are refused.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dfdetect.detectors.checkpoint import read_header
from dfdetect.errors import ContractError, DfdetectError
from dfdetect.evaluation.cards.reading import ABLATION_COLUMNS
from dfdetect.evaluation.results import read_results
from dfdetect.provenance import sha256_file, written_whole

METRIC, UNIT = "auc", "video"


def main(argv: Sequence[str]) -> int:
    """Read what was tried and write the table."""
    if len(argv) != 2:
        raise SystemExit((__doc__ or "").split("\n")[2])
    tried, out = map(Path, argv)
    text = io.StringIO()
    table = csv.DictWriter(text, ABLATION_COLUMNS, lineterminator="\n")
    table.writeheader()
    with tried.open(newline="", encoding="utf-8") as stream:
        for line in csv.DictReader(stream):
            table.writerows(_rows(line))
    with written_whole(out) as part:
        part.write_text(text.getvalue(), encoding="utf-8")
    return 0


def _rows(line: Mapping[str, str]) -> Iterator[dict[str, object]]:
    run, results = Path(line["run"]), Path(line["results"])
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    weights = run / "best.safetensors"
    digest = sha256_file(weights)
    rows, header = read_results(results / "results.parquet")
    if dict(header.parents).get("weights") != digest:
        raise ContractError(
            f"{results} was measured with other weights than {weights}; measure again with "
            f"`dfdetect evaluate checkpoint={weights} … out={results}`"
        )
    for row in rows:
        if (row.metric, row.unit) != (METRIC, UNIT):
            continue
        dataset = (
            row.dataset if row.method in ("all", row.dataset) else f"{row.dataset}/{row.method}"
        )
        yield {
            "name": line["name"],
            "what changed": line["what changed"],
            "command": record["command"],
            "seed": record["seed"],
            "step": dict(read_header(weights).provenance).get("step", ""),
            "metric": f"{METRIC} by {UNIT}",
            "dataset": dataset,
            "value": f"{row.value:.4f}",
            "ci_low": "" if row.ci_low is None else f"{row.ci_low:.4f}",
            "ci_high": "" if row.ci_high is None else f"{row.ci_high:.4f}",
            "n_real": row.n_real,
            "n_fake": row.n_fake,
            "weights": digest,
        }


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DfdetectError as error:
        sys.exit(f"ablation_table: {error}")

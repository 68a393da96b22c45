"""Whether a small model tells SIDs from dealt ones, and how long a run takes, on a real catalog.

    SID_TEST_DATA=FOLDER python -m benchmarks.probe    # an argument is the most steps of a training

Reads `amazon_office` of the folder: its interactions, and its SIDs (`known_sids.parquet`). Trains
one decoder, with seed 0, on these SIDs, and one on the same SIDs dealt to the items at random.
`sid-assets probe` trains three of each, and says whether the difference is more than chance.
"""

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import pyarrow.compute as pc
from upath import UPath

from sid_assets.core.arrow.columns import codes_array
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.probe import train
from sid_assets.core.probe.baselines import by_popularity, successors
from sid_assets.core.probe.measure import Controls, dealt, probe_sids
from sid_assets.core.probe.result import ProbeResult, score_items
from sid_assets.core.probe.rows import read_rows
from sid_assets.core.probe.run import Data
from sid_assets.core.probe.sid_files import read_sids
from sid_assets.core.probe.table import as_text

SIDS, SUCCESSORS = "known_sids.parquet", "successors of the last item"


def measure(folder: Path) -> ProbeResult:
    """Train and score both decoders."""
    table = read_sids(str(folder / SIDS), None)
    table = table.take(pc.sort_indices(table["pid"]))
    pids = table["pid"].combine_chunks()
    rows = read_rows(ParquetInput(str(folder / "interactions.parquet")), pids, "int")
    data = Data.of(*rows, len(pids))
    counted = score_items(SUCCESSORS, successors(*rows, data.users), data)
    popular = by_popularity(data.users)[None].repeat(len(data.scored), axis=0)
    baselines = [score_items("popularity", popular, data), counted]
    with tempfile.TemporaryDirectory() as kept:
        return probe_sids(
            data,
            {SIDS: codes_array(table["sid"].combine_chunks())},
            Controls(items=False, baselines=baselines),
            folder=UPath(kept),
            seeds=1,
            progress=lambda text: print(text, file=sys.stderr),
        )


def main() -> None:
    """Measure, and print the table and the figures."""
    folder = os.environ.get("SID_TEST_DATA")
    if not folder:
        sys.exit("Set SID_TEST_DATA to the folder that has amazon_office.")
    if len(sys.argv) > 1:
        train.FEWEST_STEPS = train.MOST_STEPS = int(sys.argv[1])
    result = measure(Path(folder, "amazon_office"))
    print(as_text(result))
    seconds = statistics.mean(run["seconds"] for one in result.scored for run in one.runs)
    print(f"\nA run of training and scoring takes {seconds:.0f} s, the mean of two.")
    hits = {
        "hit_rate_10": SIDS,
        "dealt_hit_rate_10": dealt(SIDS),
        "successors_hit_rate_10": SUCCESSORS,
    }
    print(
        json.dumps(
            {
                "seconds_a_run": round(seconds, 1),
                **{
                    figure: round(result.interval(name, "hit_rate@10").mean, 4)
                    for figure, name in hits.items()
                },
            }
        )
    )


if __name__ == "__main__":
    main()

"""What was made, for the eye: where the files are, some items, some groups of alike items, and
the report to open.

`make demo` ends with this; `python -m sid_assets.show` shows it again.
"""

import random
import sys
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from sid_assets.core.errors import SidAssetsError
from sid_assets.core.quantise.tokenizer import TABLE, TokenizerMaking, current_tokenizer
from sid_assets.core.schema import TABLES
from sid_assets.core.store.store import Store
from sid_assets.settings import Settings

ITEMS_SHOWN = 10
GROUPS_SHOWN = 3
GROUP_ITEMS = 6
TEXT_CHARACTERS = 76


def main() -> int:
    """Print the summary of the current data; the exit status is 1 where there is none."""
    try:
        settings = Settings.from_environment()
        store = settings.store()
        sids = store.require("pid2sid").stream(batch_rows=65_536).read_all()
        print(_files(store))
        print(_samples(store, sids, settings.seed))
    except SidAssetsError as error:
        print(error, file=sys.stderr)
        return 1
    if settings.deployment == "demo":
        print(
            "These SIDs are of the demo's own tokenizer: OneRec's models do not speak them. "
            "SID_DEPLOYMENT=onerec makes those they do."
        )
    if (report := store.root / "sid_report.html").exists():
        print(f"\nHow good the SIDs are: open {report} in a browser.")
    return 0


def _files(store: Store) -> str:
    lines = [f"\nWhat was made, in {store.root}:"]
    for table in TABLES:
        if TABLES[table].has_rows and (version := store.current(table)):
            lines.append(
                f"  {store.path(table).name:<36} {version.rows:>12,} rows "
                f"{version.bytes / 1e6:>10,.1f} MB"
            )
    if tokenizer := current_tokenizer(store):
        shape = " x ".join(map(str, TokenizerMaking.of(tokenizer.provenance).shape))
        lines.append(f"  {store.path(TABLE).name:<36} {shape:>17} ")
    return "\n".join(lines)


def _samples(store: Store, sids: pa.Table, seed: int) -> str:
    """Items and groups drawn with the seed, so that the same data shows the same."""
    draw = random.Random(seed)  # noqa: S311 - nothing secret is drawn
    pids, codes = sids.column("pid").to_pylist(), sids.column("sid").to_pylist()
    rows = sorted(draw.sample(range(len(pids)), min(ITEMS_SHOWN, len(pids))))
    groups = _groups_by_first_code(codes)
    drawn = draw.sample(sorted(groups), min(GROUPS_SHOWN, len(groups)))
    members = {code: draw.sample(groups[code], GROUP_ITEMS) for code in drawn}
    shown = {pids[row] for group in (rows, *members.values()) for row in group}
    texts = _texts(store, shown)

    def line(row: int) -> str:
        return f"  {codes[row]!s:<18} {texts[pids[row]]}"

    lines = [f"\n{len(rows)} items, drawn with seed {seed}, and their SIDs:"]
    lines += [line(row) for row in rows]
    for code, group in members.items():
        lines.append(f"\nOf the {len(groups[code])} items whose first code is {code}:")
        lines += [line(row) for row in group]
    return "\n".join(lines) + "\n"


def _groups_by_first_code(codes: Sequence[Sequence[int]]) -> dict[int, list[int]]:
    """The rows of each first code that enough items share to show."""
    groups: dict[int, list[int]] = defaultdict(list)
    for row, sid in enumerate(codes):
        groups[sid[0]].append(row)
    return {code: rows for code, rows in groups.items() if len(rows) >= GROUP_ITEMS}


def _texts(store: Store, pids: set) -> dict:
    """The texts of a few items, each on one line and cut."""
    texts = {}
    for batch in store.require("item_texts").stream(["pid", "text"], batch_rows=65_536):
        wanted = np.flatnonzero([pid in pids for pid in batch.column("pid").to_pylist()])
        for row in batch.take(pa.array(wanted)).to_pylist():
            text = " | ".join(row["text"].splitlines())
            texts[row["pid"]] = text[:TEXT_CHARACTERS]
    return texts


if __name__ == "__main__":
    raise SystemExit(main())

"""What was made: the files, some items, some groups of similar items, and the report.

This is `sid-assets show`, and the end of `sid-assets demo`.
"""

import random
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sid_assets import cli
from sid_assets.core.embedders.hashed_words import HASHING
from sid_assets.core.quantise.tokenizer import TABLE, TokenizerMaking, current_tokenizer
from sid_assets.core.schema import CODE_LAYERS, TABLES
from sid_assets.core.sids.spelling import sid_text
from sid_assets.core.store.lineage import replaced_inputs
from sid_assets.core.store.provenance import require_space
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import MANIFEST
from sid_assets.settings import Settings

REPORT = "sid_report.html"
FILES = (
    *("sid2pid.json", "sid_prefixes.safetensors"),
    *("pretrain_file_list.json", "sft_file_list.json", REPORT),
)
"""The files beside the tables."""

ITEMS_SHOWN = 10
GROUPS_SHOWN = 3
GROUP_ITEMS = 6
TEXT_CHARACTERS = 76
SID_CHARACTERS = 59
"""Of the longest SID with three codes below 1000."""


def main(arguments: Sequence[str] = ()) -> int:
    """`python -m sid_assets.show`, which is `sid-assets show`; the exit code."""
    return cli.run("show", arguments, "python -m sid_assets.show")


def summary(settings: Settings) -> dict[str, Any]:
    """What was made: the object of `sid-assets show --json`.

    Raises:
        StoreError: There are no semantic IDs yet, or a table is damaged.
    """
    store = settings.store()
    published = store.require("pid2sid")
    sids = published.stream(batch_rows=65_536).read_all()
    report = store.root / REPORT
    return {
        "data_dir": str(store.root),
        "deployment": settings.deployment,
        "tables": [
            {
                "table": table,
                "file": str(store.opened_at(version)),
                "rows": version.rows,
                "bytes": version.bytes,
                "version": version.provenance.version,
                "made_from": [
                    {"table": source, "version": made_from}
                    for source, made_from in version.provenance.inputs.items()
                ],
                "replaced_inputs": replaced_inputs(store, version),
            }
            for table in TABLES
            if TABLES[table].has_rows and (version := store.current(table))
        ],
        "files": [
            {"file": str(path), "bytes": path.stat().st_size}
            for path in (store.root / name for name in FILES)
            if path.exists()
        ],
        "tokenizer": _tokenizer(store),
        "usable_with_onerec_models": require_space(published.provenance).embedder != HASHING,
        "seed": settings.seed,
        **_drawn(store, sids, settings.seed),
        "report": str(report) if report.exists() else None,
    }


def describe(made: Mapping[str, Any]) -> str:
    """The summary in words."""
    lines = [f"\nWhat was made, in {made['data_dir']}:"]
    for table in made["tables"]:
        size = f"{table['bytes'] / 1e6:>10,.1f} MB"
        line = f"  {table['rows']:>12,} rows {size}  {table['file']}"
        if replaced := table["replaced_inputs"]:
            line += f"  made from an earlier {' and '.join(replaced)}"
        lines.append(line)
    if tokenizer := made["tokenizer"]:
        shape = " x ".join(map(str, tokenizer["shape"]))
        lines.append(f"  {shape:>17} {'':>13}  {tokenizer['file']}")
    for file in made["files"]:
        lines.append(f"  {'':>17} {file['bytes'] / 1e6:>10,.1f} MB  {file['file']}")
    if in_parts := [one for one in made["tables"] if one["file"].endswith(MANIFEST)]:
        example = f'sid_assets.load("{made["data_dir"]}")["{in_parts[0]["table"]}"]'
        lines.append(f"\nA manifest lists the parts of a table. {example} reads them.")
    if any(table["replaced_inputs"] for table in made["tables"]):
        lines.append(
            "\nTables that were made from an earlier version of another one do not belong to the "
            "others: a run was stopped, or made only some of them. The next run makes them again."
        )
    lines.append(
        f"\n{len(made['items'])} items, drawn with seed {made['seed']}, and their SIDs, as codes "
        "and as a model writes them:"
    )
    lines += map(_line, made["items"])
    for group in made["groups"]:
        lines.append(f"\nFrom the {group['size']} items whose first code is {group['first_code']}:")
        lines += map(_line, group["items"])
    lines.append("")
    if not made["usable_with_onerec_models"]:
        lines.append(
            "These SIDs come from the demo's hashed words, and OneRec's models cannot use them. "
            "SID_DEPLOYMENT=onerec makes SIDs for them."
        )
    if made["report"]:
        copy = "" if "://" not in made["report"] else " a copy of"
        lines.append(f"\nTo see how good the SIDs are, open{copy} {made['report']} in a browser.")
    return "\n".join(lines)


def _line(item: Mapping[str, Any]) -> str:
    codes = ", ".join(map(str, item["sid"]))
    return f"  {codes:<16} {item['sid_text']:<{SID_CHARACTERS}}  {item['text']}"


def _tokenizer(store: Store) -> dict[str, Any] | None:
    tokenizer = current_tokenizer(store)
    if not tokenizer:
        return None
    shape = TokenizerMaking.of(tokenizer.provenance).shape
    return {"file": str(store.path(TABLE)), "shape": list(shape)}


def _drawn(store: Store, sids: pa.Table, seed: int) -> dict[str, Any]:
    """Items and groups drawn with the seed, so that the same data gives the same output."""
    draw = random.Random(seed)  # noqa: S311 - nothing secret is drawn
    pids, codes = sids.column("pid").to_pylist(), sids.column("sid").to_pylist()
    rows = sorted(draw.sample(range(len(pids)), min(ITEMS_SHOWN, len(pids))))
    groups = _groups_by_first_code(codes)
    drawn = draw.sample(sorted(groups), min(GROUPS_SHOWN, len(groups)))
    members = {code: draw.sample(groups[code], GROUP_ITEMS) for code in drawn}
    texts = _texts(store, {pids[row] for group in (rows, *members.values()) for row in group})

    def items(of: Sequence[int]) -> list[dict[str, Any]]:
        spelled = sid_text(np.array([codes[row] for row in of], np.int64).reshape(-1, CODE_LAYERS))
        return [
            {"pid": pids[row], "sid": list(codes[row]), "sid_text": sid, "text": texts[pids[row]]}
            for row, sid in zip(of, spelled.to_pylist(), strict=True)
        ]

    return {
        "items": items(rows),
        "groups": [
            {"first_code": code, "size": len(groups[code]), "items": items(group)}
            for code, group in members.items()
        ],
    }


def _groups_by_first_code(codes: Sequence[Sequence[int]]) -> dict[int, list[int]]:
    """The rows of each first code that at least `GROUP_ITEMS` items share."""
    groups: dict[int, list[int]] = defaultdict(list)
    for row, sid in enumerate(codes):
        groups[sid[0]].append(row)
    return {code: rows for code, rows in groups.items() if len(rows) >= GROUP_ITEMS}


def _texts(store: Store, pids: set) -> dict:
    """The texts of a few items, each on one line and truncated."""
    texts = {}
    for batch in store.require("item_texts").stream(["pid", "text"], batch_rows=65_536):
        wanted = np.flatnonzero([pid in pids for pid in batch.column("pid").to_pylist()])
        for row in batch.take(pa.array(wanted)).to_pylist():
            text = " | ".join(row["text"].splitlines())
            texts[row["pid"]] = text[:TEXT_CHARACTERS]
    return texts


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Can a model learn these SIDs? `sid-assets probe`.

The tables and the SIDs stay as they are. Runs are kept in the data folder, below `.probe`, so that
a probe that was killed or ran out of time goes on.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from sid_assets import cli
from sid_assets.assets.domains import ITEMS
from sid_assets.assets.inputs import interactions_of
from sid_assets.core.arrow.columns import codes_array
from sid_assets.core.devices import usable_device
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.ids import PidTypeSetting
from sid_assets.core.probe.baselines import by_popularity, nearest_vectors, successors
from sid_assets.core.probe.measure import Controls, probe_sids
from sid_assets.core.probe.picture import hit_rates_png
from sid_assets.core.probe.result import ProbeResult, Scored, as_json, score_items
from sid_assets.core.probe.rows import read_rows
from sid_assets.core.probe.run import RUNS, SEEDS, Data, time_of_run
from sid_assets.core.probe.sid_files import read_sids
from sid_assets.core.probe.table import sentences
from sid_assets.core.probe.words import Spelling
from sid_assets.core.quality.comparison import Compared
from sid_assets.core.quality.probed import OWN, RESULT
from sid_assets.core.store.places import write_json, write_pieces
from sid_assets.core.store.versions import Version
from sid_assets.settings import Settings

PICTURE = "sid_probe.png"
FORMAT_VERSION = 1
MINUTES = 15

Progress = Callable[[str], None]


def main(arguments: Sequence[str] = ()) -> int:
    """`python -m sid_assets.probe`, which is `sid-assets probe`; the exit code."""
    return cli.run("probe", arguments, "python -m sid_assets.probe")


def probe(
    settings: Settings,
    others: Sequence[str] = (),
    *,
    minutes: float = MINUTES,
    seeds: int = len(SEEDS),
    progress: Progress = lambda _: None,
) -> ProbeResult:
    """Train small decoders on SIDs, and score what they recommend.

    Writes `sid_probe.json` and `sid_probe.png` into the data folder.

    Args:
        settings: The settings; they name the data folder and the interactions.
        others: Files with other SIDs of the same items: parquet with `pid` and `sid`.
        minutes: The time limit for training.
        seeds: Decoders that are trained for each set of SIDs; with fewer than three, nothing is
            compared.
        progress: Called with what is being done.

    Raises:
        InputError: There are no interactions, or an input is not what it must be.
        StoreError: There are no SIDs yet, or a table or a run that was kept is damaged.
    """
    deadline = time.monotonic() + 60 * minutes
    device = usable_device(settings.device or None)
    store = settings.store()
    own = store.current(ITEMS.table(OWN)) if others else store.require(ITEMS.table(OWN))
    pids, sids = _read_sids(settings, own, others)
    data = read_data(settings, pids, progress)
    progress("baselines")
    vectors = store.current(ITEMS.table("item_embeddings"))
    result = probe_sids(
        data,
        sids,
        Controls(baselines=_baselines(vectors, pids, data)),
        folder=store.root / RUNS,
        seeds=seeds,
        device=device,
        deadline=deadline,
        progress=progress,
    )
    if not _write(store.root, result, own):
        progress(
            f"{store.root / RESULT}: holds a finished result of this generation, and is kept. Run "
            "the probe again to finish this one."
        )
    return result


def read_data(settings: Settings, pids: pa.Array, progress: Progress) -> Data:
    """The rows of the interactions, for items with these ids.

    Raises:
        InputError: There are no interactions, a column is missing, or one of the splits has no
            rows with these items.
    """
    with interactions_of(settings) as interactions:
        if interactions is None:
            raise InputError(
                "There are no interactions. Set SID_EVENTS to a log of events, or SID_INTERACTIONS "
                "to interactions."
            )
        progress(f"reading {interactions.path}")
        pid_type = "int" if pa.types.is_integer(pids.type) else "string"
        trained, scored = read_rows(interactions, pids, pid_type, _pid_type_setting(settings))
        for number, rows in enumerate((trained, scored)):
            if not len(rows):
                raise InputError(
                    f"{interactions.path}: no row of split {number} has a history and a target "
                    f"with SIDs ({rows.left_out:,} rows have none of them). Rows of split 0 are "
                    "learned from, rows of split 1 are scored."
                )
    return Data.of(trained, scored, len(pids))


def with_probe(
    settings: Settings,
    compared: Sequence[Compared],
    codes: Mapping[str, np.ndarray],
    data: Data,
    minutes: float,
    progress: Progress,
) -> tuple[list[Compared], tuple[str, ...]]:
    """Add a probe to tokenizers that are compared.

    Args:
        settings: The settings.
        compared: The tokenizers.
        codes: The codes of each, by name.
        data: The rows.
        minutes: As many tokenizers are probed as fit into this time.
        progress: Called with what is being done.

    Returns:
        The tokenizers with figures of the probe, and sentences on their differences.
    """
    device = usable_device(settings.device or None)
    first = Spelling.of_sids(next(iter(codes.values())))
    each = len(SEEDS) * time_of_run(data, first, device) / 60
    fit = min(len(codes), max(1, int(minutes / each)))
    progress(
        f"probe: at most {each:.0f} min a tokenizer; {fit} of {len(codes)} are probed in the "
        f"{minutes:g} min asked for"
    )
    result = probe_sids(
        data,
        dict(list(codes.items())[:fit]),
        Controls(dealt=False, items=False),
        folder=settings.store().root / RUNS,
        device=device,
        deadline=time.monotonic() + 60 * minutes,
        progress=progress,
    )
    added = []
    for one in compared:
        figures = dict(one.figures)
        for scored in result.scored:
            if scored.name == one.name and scored.finished:
                figures |= {
                    "probe_hit_rate_10": float(scored.values["hit_rate@10"].mean()),
                    "probe_ndcg_10": float(scored.values["ndcg@10"].mean()),
                }
                if result.unseen.any():
                    unseen = scored.values["hit_rate@10"][result.unseen]
                    figures["probe_hit_rate_10_unseen"] = float(unseen.mean())
        added.append(replace(one, figures=figures))
    return added, sentences(result)


def _pid_type_setting(settings: Settings) -> PidTypeSetting:
    return settings.choice("pid_type", get_args(PidTypeSetting))


def _read_sids(
    settings: Settings, own: Version | None, others: Sequence[str]
) -> tuple[pa.Array, dict[str, np.ndarray]]:
    """The ids that all sets have, sorted, and their SIDs by name."""
    tables: dict[str, pa.Table] = {}
    if own:
        tables[OWN] = own.stream(["pid", "sid"]).read_all()
    for path in others:
        tables[_name(path, tables)] = read_sids(
            path, own.pid_type if own else None, _pid_type_setting(settings)
        )
    common = None
    for table in tables.values():
        pids = table["pid"].combine_chunks()
        common = pids if common is None else common.filter(pc.is_in(common, value_set=pids))
    if common is None or not len(common):
        raise InputError(
            f"{', '.join(others)}: no id is that of an item that all sets of SIDs have. The probe "
            "compares SIDs of the same items."
        )
    order = pc.sort_indices(common)
    pids = common.take(order)
    return pids, {
        name: codes_array(
            table["sid"].combine_chunks().take(pc.index_in(pids, value_set=table["pid"]))
        )
        for name, table in tables.items()
    }


def _name(path: str, taken: dict[str, Any]) -> str:
    name = PurePath(path).name
    return path if name in taken else name


def _baselines(vectors: Version | None, pids: pa.Array, data: Data) -> list[Scored]:
    scored = len(data.scored)
    popular = np.tile(by_popularity(data.users), (scored, 1))
    found = [
        score_items("popularity", popular, data),
        score_items(
            "successors of the last item", successors(data.trained, data.scored, data.users), data
        ),
    ]
    if vectors:
        nearest = nearest_vectors(
            lambda: vectors.stream(["pid", "embedding"]), pids, data.scored.histories
        )
        asked = nearest[:, 0] >= 0
        if asked.any():
            found.append(
                score_items("nearest vectors of the last item", nearest, data, asked=asked)
            )
    return found


def _write(root: UPath, result: ProbeResult, own: Version | None) -> bool:
    """Write the result and the picture into the data folder.

    Returns:
        False if there is a finished result of this generation already, and this one is not
        finished: then nothing is written.
    """
    about: dict[str, Any] = {"format_version": FORMAT_VERSION}
    if own:
        provenance = own.provenance
        about |= {"generation": provenance.generation, "tokenizer": provenance.tokenizer}
    if not result.finished and _is_finished(root / RESULT, about):
        return False
    if own:
        about["pid2sid"] = own.provenance.version
    write_json(root / RESULT, about | as_json(result))
    write_pieces(root / PICTURE, [hit_rates_png(result)])
    return True


def _is_finished(path: UPath, about: Mapping[str, Any]) -> bool:
    """Whether this is a finished result of which these facts are true."""
    try:
        made = json.loads(path.read_text())
        return bool(made["finished"]) and all(made.get(name) == of for name, of in about.items())
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

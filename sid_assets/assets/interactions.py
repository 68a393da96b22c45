"""Interactions from a log of events: a row a session, with history and targets."""

from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from sid_assets.assets.catalog import catalog_source
from sid_assets.assets.declare import asset
from sid_assets.assets.domains import ITEMS, Domain
from sid_assets.assets.external import observe_files
from sid_assets.assets.inputs import EVENTS_TABLE as TABLE
from sid_assets.assets.inputs import (
    event_keywords,
    event_labels,
    event_log,
    event_rules,
    removed_items,
)
from sid_assets.core.catalog.column_values import column_values
from sid_assets.core.events.charts import history_lengths_png
from sid_assets.core.events.log import EventLog
from sid_assets.core.events.make import (
    make_interactions,
    require_training_rows,
    text_users,
)
from sid_assets.core.events.making import EventsMaking, as_text
from sid_assets.core.events.profiles import CHINESE, ENGLISH, Profiles, with_profiles
from sid_assets.core.events.rules import Summary
from sid_assets.core.quality.charts import markdown_image
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.sids.pid_map import number_pids
from sid_assets.core.store.provenance import Provenance, derive
from sid_assets.core.store.scratch import scratch_folder
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows
from sid_assets.settings import Settings

USERS = "uid_map"
PROFILE_ROWS = 65_536
NOT_SET = "SID_EVENTS is not set"


def interactions_asset(domain: Domain) -> dg.AssetsDefinition:
    """`interactions`. Without a log it is materialised without a table, so that others run."""

    @asset(
        domain,
        TABLE,
        group="training_data",
        ins=domain.keys("pid2sid"),
        deps=domain.placement.keys_of("events"),
        kinds={"duckdb", "parquet"},
        description="Histories and targets of users, made from the log of events in `SID_EVENTS`: "
        "one parquet file, a row a session, input of the training data sets. Skipped without a "
        "log.",
    )
    def interactions(
        context: dg.AssetExecutionContext, settings: Settings, pid2sid: Version
    ) -> dg.MaterializeResult:
        observe_files(context, domain.placement, settings, "events")
        log = event_log(settings)
        if log is None:
            context.log.info(f"{TABLE} is skipped: {NOT_SET}.")
            return dg.MaterializeResult(metadata={"skipped": NOT_SET})
        store, rules = settings.store(), event_rules(settings)
        with scratch_folder(store.root) as folder:
            scratch = Path(folder)
            made = make_interactions(
                log,
                rules,
                event_labels(settings),
                pid_type=pid2sid.pid_type,
                scratch_dir=_emptied(scratch / "rows"),
                known=pid2sid.stream(["pid"]),
                removed=removed_items(settings),
                uid_map=_numbered_users(store, log, _emptied(scratch / "users")),
                forced=settings.pid_type != "auto",
            )
            profiles = _profiles(settings, pid2sid, _emptied(scratch / "keywords"))
            rows = with_profiles(made.reader, profiles)
            draft = draft_rows(store, TABLE, rows, derive(TABLE, pid2sid.provenance))
        with draft:
            require_training_rows(log, rules, made.summary)
            for warning in made.summary.warnings:
                context.log.warning(f"{TABLE}: {warning}")
            making = EventsMaking(rules.split, made.summary.t1, rules.most_history)
            draft.add_details(making.details())
            version = store.commit(draft)
        context.log.info(f"{TABLE}: {version.rows:,} rows of {made.summary.events:,} events.")
        return dg.MaterializeResult(metadata=_metadata(store, version, made.summary))

    return interactions


def _profiles(settings: Settings, pid2sid: Version, scratch: Path) -> Profiles:
    """What the profiles and keywords are made of."""
    column, keywords = event_keywords(settings), None
    if column:
        source = catalog_source(settings, ITEMS, on_bad_rows="drop")
        values = column_values(source, column, pid2sid.pid_type, scratch_dir=scratch)
        coded = (
            pa.record_batch(
                [batch["pid"], batch["text"].dictionary_encode()], names=["pid", "keyword"]
            )
            for batch in values
        )
        keywords = pa.Table.from_batches(coded).unify_dictionaries()
    return Profiles(
        SidIndex.from_table(pid2sid.stream(batch_rows=PROFILE_ROWS)),
        ENGLISH if settings.prompts == "en" else CHINESE,
        keywords=keywords,
    )


def _numbered_users(store: Store, log: EventLog, scratch: Path) -> Any:
    """The rows of `uid_map`, after it has a number for every user; None if users are integers."""
    numbered = store.current(USERS)
    users = text_users(log, scratch, integers=numbered is not None)
    if users is None:
        return None
    rows = number_pids(users, numbered)
    store.commit(draft_rows(store, USERS, rows, Provenance(USERS)))
    return store.require(USERS).stream()


def _emptied(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _metadata(store: Store, version: Version, summary: Summary) -> dict[str, Any]:
    picture = history_lengths_png(summary)
    return {
        "dagster/row_count": version.rows,
        "dagster/uri": str(store.path(TABLE)),
        "users": summary.users,
        "events": summary.events,
        "events_with_an_item_of_the_catalog": f"{summary.known_share:.2%}",
        "events_of_unknown_items": summary.dropped["unknown item"],
        "events_of_removed_items": summary.of_removed,
        **{
            f"events_dropped_{reason.replace(' ', '_')}": count
            for reason, count in summary.dropped.items()
            if reason != "unknown item"
        },
        "sessions_without_history": summary.sessions_without_history,
        "sessions_too_old": summary.sessions_too_old,
        "rows_of_split_0": summary.rows[0],
        "rows_of_split_1": summary.rows[1],
        "first_event": as_text(summary.first),
        "last_event": as_text(summary.last),
        **({} if summary.t1 is None else {"split_at": as_text(summary.t1)}),
        "history_lengths": dg.MetadataValue.md(markdown_image("lengths of histories", picture)),
        "bytes": version.bytes,
        "version": version.provenance.version,
    }

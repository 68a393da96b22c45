"""Automatic refreshes: a job, a schedule, and a sensor that looks at files.

Schedule and sensor are off until switched on. With `SID_AUTOMATION=conditions` the sensor starts
nothing: it records what the files hold, and automation conditions decide what is made again.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import dagster as dg

from sid_assets.assets.domains import Domain, domains_of
from sid_assets.assets.external import version_of_files
from sid_assets.assets.placement import Placement
from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.errors import SidAssetsError
from sid_assets.core.inputs.files import fingerprint
from sid_assets.core.store.store import Store
from sid_assets.settings import Settings
from sid_assets.taken_folders import run_in

SENSOR_SECONDS = 60
STAGES = ("item_texts", "item_embeddings", "codes", "sid_registry", "pid2sid")
"""From the catalog to the SIDs, each made from the previous one."""

ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def refresh_job(placement: Placement, keys: Sequence[dg.AssetKey]) -> Any:
    """The job that makes these assets and no others."""
    return dg.define_asset_job(
        f"refresh_{placement.name or 'semantic_ids'}",
        selection=dg.AssetSelection.assets(*keys),
        description="Refreshes all assets of this catalog. Only changed items are embedded and "
        "quantised again.",
    )


def refresh_schedule(placement: Placement, settings: Settings, job: Any) -> dg.ScheduleDefinition:
    """Refreshes at the times of `SID_SCHEDULE`, unless a refresh is still running."""

    @dg.schedule(
        job=job,
        cron_schedule=settings.schedule,
        execution_timezone=settings.timezone,
        name=placement.named("refresh_on_schedule"),
        description="Refreshes the semantic IDs at the times set in SID_SCHEDULE.",
    )
    def refresh_on_schedule(context: dg.ScheduleEvaluationContext):
        if running := _active_refresh(context.instance, job.name, settings):
            return dg.SkipReason(f"Refresh {running.run_id} is still running.")
        return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())

    return refresh_on_schedule


def catalog_sensor(placement: Placement, settings: Settings, job: Any) -> dg.SensorDefinition:
    """The sensor that looks at the files of the catalogs.

    Args:
        placement: The names of assets and resources.
        settings: The settings when the graph is loaded; they decide whether runs are started.
        job: The job that it starts.
    """
    starts = settings.automation == "sensor"
    does = "Refreshes the semantic IDs" if starts else "Records new data versions of the catalogs"

    @dg.sensor(
        name=placement.named("refresh_on_new_catalog"),
        job=job,
        minimum_interval_seconds=SENSOR_SECONDS,
        required_resource_keys={placement.named("settings")},
        description=f"{does} when the files of the catalog (or of the goods catalog) have changed "
        "since the last refresh and were the same in two checks in a row.",
    )
    def refresh_on_new_catalog(context: dg.SensorEvaluationContext):
        given = getattr(context.resources, placement.named("settings"))
        return _look(context, placement, given, job.name, starts=starts)

    return refresh_on_new_catalog


def _look(
    context: dg.SensorEvaluationContext,
    placement: Placement,
    settings: Settings,
    job: str,
    *,
    starts: bool,
) -> dg.SensorResult | dg.SkipReason:
    """Compare the files of the catalogs with those of the last refresh.

    The cursor stores what the last check saw, so that a half-uploaded catalog is not read, and what
    was requested last, so that a failed refresh is not requested again and again.
    """
    domains = domains_of(settings, placement)
    try:
        prints = [fingerprint(domain.catalog(settings)) for domain in domains]
        done = last_refreshed(settings)
    except SidAssetsError as error:
        return dg.SkipReason(str(error))
    now = " ".join(prints)
    cursor = json.loads(context.cursor) if context.cursor else {"seen": "", "asked": ""}
    settled = now == cursor["seen"]
    cursor["seen"] = now
    if now == done:
        cursor["asked"] = ""
        context.update_cursor(json.dumps(cursor))
        return dg.SkipReason("The files have not changed since the last refresh.")
    if not settled:
        context.update_cursor(json.dumps(cursor))
        return dg.SkipReason("The files have changed; waiting for two checks that see the same.")
    if now == cursor["asked"]:
        said = "A refresh of these files was already requested; see its run."
        return dg.SkipReason(said if starts else "These files are recorded.")
    if starts and (running := _active_refresh(context.instance, job, settings)):
        return dg.SkipReason(f"Refresh {running.run_id} is still running.")
    cursor["asked"] = now
    events = [
        event
        for domain, seen in zip(domains, prints, strict=True)
        for event in version_of_files(placement, domain.catalog_setting, seen)
    ]
    requests = [dg.RunRequest()] if starts else []
    return dg.SensorResult(run_requests=requests, asset_events=events, cursor=json.dumps(cursor))


def conditions_sensor(
    placement: Placement, keys: Sequence[dg.AssetKey]
) -> dg.AutomationConditionSensorDefinition:
    """The sensor that makes what the automation conditions of these assets ask for."""
    return dg.AutomationConditionSensorDefinition(
        placement.named("refresh_by_conditions"),
        target=dg.AssetSelection.assets(*keys),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Makes assets again whose inputs have changed (SID_AUTOMATION=conditions).",
    )


def last_refreshed(settings: Settings) -> str:
    """Fingerprints of the catalogs that the current SIDs were made from.

    One per domain, separated by spaces. A fingerprint is empty if there are no SIDs yet, or if a
    refresh stopped halfway: it made new `item_texts`, but not the tables that depend on them.
    """
    store = settings.store()
    return " ".join(_made_from(store, domain) for domain in domains_of(settings))


def _made_from(store: Store, domain: Domain) -> str:
    versions = [store.current(domain.table(stage)) for stage in STAGES]
    made = [version.provenance for version in versions if version]
    follows = all(earlier.version in later.inputs.values() for earlier, later in pairwise(made))
    if len(made) < len(versions) or not follows:
        return ""
    return TextsMaking.of(made[0]).fingerprint


def _active_refresh(
    instance: dg.DagsterInstance, job: str, settings: Settings
) -> dg.DagsterRun | None:
    """A run of the job that has not ended, or another one that refreshes the data folder."""
    if runs := instance.get_runs(dg.RunsFilter(job_name=job, statuses=ACTIVE), limit=1):
        return runs[0]
    return run_in(instance, settings)

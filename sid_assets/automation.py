"""Automatic refreshes: a job, and a schedule and a sensor that are off until switched on."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from itertools import pairwise

import dagster as dg

from sid_assets.assets.domains import Domain, domains_of
from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.errors import SidAssetsError
from sid_assets.core.inputs.files import fingerprint
from sid_assets.core.store.store import Store
from sid_assets.settings import Settings
from sid_assets.variables import WEBHOOK_VARIABLE, failure_webhook

JOB_NAME = "refresh_semantic_ids"
SENSOR_SECONDS = 60
STAGES = ("item_texts", "item_embeddings", "codes", "sid_registry", "pid2sid")
"""From the catalog to the SIDs, each made from the previous one."""

WEBHOOK_TIMEOUT_SECONDS = 10

ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.failure_hook
def post_failure(context: dg.HookContext) -> None:
    """Post to the webhook, if one is set, which step failed and why."""
    address = failure_webhook()
    if not address:
        return
    error = context.op_exception
    message = {
        "job": context.job_name,
        "run_id": context.run_id,
        "step": context.op.name,
        "error": getattr(error, "description", None) or str(error),
    }
    request = urllib.request.Request(  # noqa: S310 - the address is the user's own choice
        address,
        data=json.dumps(message).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        urllib.request.urlopen(request, timeout=WEBHOOK_TIMEOUT_SECONDS).close()  # noqa: S310
    except (OSError, ValueError, HTTPException) as failure:
        context.log.warning(f"{WEBHOOK_VARIABLE}: the failure could not be posted: {_why(failure)}")


def _why(failure: Exception) -> str:
    """Why a request failed, without its address, which may hold a secret."""
    if isinstance(failure, urllib.error.HTTPError):
        return f"the server answers with status {failure.code}."
    reason = getattr(failure, "reason", failure)
    system = isinstance(reason, OSError) and reason.strerror
    return f"{system or type(reason).__name__}."


refresh_semantic_ids = dg.define_asset_job(
    JOB_NAME,
    selection=dg.AssetSelection.all(),
    hooks={post_failure},
    description="Refreshes all assets. Only changed items are embedded and quantised again.",
)


def refresh_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Refreshes at the times of `SID_SCHEDULE`, unless a refresh is still running."""

    @dg.schedule(
        job=refresh_semantic_ids,
        cron_schedule=settings.schedule,
        execution_timezone=settings.timezone,
        name="refresh_on_schedule",
        description="Refreshes the semantic IDs at the times set in SID_SCHEDULE.",
    )
    def refresh_on_schedule(context: dg.ScheduleEvaluationContext):
        if running := _active_refreshes(context.instance):
            return dg.SkipReason(f"Refresh {running[0].run_id} is still running.")
        return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())

    return refresh_on_schedule


@dg.sensor(
    job=refresh_semantic_ids,
    minimum_interval_seconds=SENSOR_SECONDS,
    description="Refreshes the semantic IDs when the files of the catalog (or of the goods "
    "catalog) have changed since the last refresh and were the same in two checks in a row.",
)
def refresh_on_new_catalog(context: dg.SensorEvaluationContext, settings: Settings):
    """Compare the files of the catalogs with those of the last refresh.

    The cursor stores what the last check saw, so that a half-uploaded catalog is not read, and what
    was requested last, so that a failed refresh is not requested again and again.
    """
    try:
        now = " ".join(fingerprint(domain.catalog(settings)) for domain in domains_of(settings))
        done = last_refreshed(settings)
    except SidAssetsError as error:
        return dg.SkipReason(str(error))
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
        return dg.SkipReason("A refresh of these files was already requested; see its run.")
    if running := _active_refreshes(context.instance):
        return dg.SkipReason(f"Refresh {running[0].run_id} is still running.")
    cursor["asked"] = now
    context.update_cursor(json.dumps(cursor))
    return dg.RunRequest()


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


def _active_refreshes(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    return instance.get_runs(dg.RunsFilter(job_name=JOB_NAME, statuses=ACTIVE), limit=1)

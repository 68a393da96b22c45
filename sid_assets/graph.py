"""Semantic IDs of a catalog as `Definitions`, for your own Dagster project."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, get_args

import dagster as dg

from sid_assets.assets.catalog import item_texts_asset
from sid_assets.assets.codes import codes_asset
from sid_assets.assets.domains import Domain, domains_of
from sid_assets.assets.embeddings import item_embeddings_asset
from sid_assets.assets.external import PlacedInputs, Upstream, place_inputs
from sid_assets.assets.interactions import interactions_asset
from sid_assets.assets.placement import Placement
from sid_assets.assets.popularity import item_counts_asset
from sid_assets.assets.quality import sid_quality_asset
from sid_assets.assets.registry import (
    sid_moves_asset,
    sid_refreshes_asset,
    sid_registry_asset,
)
from sid_assets.assets.sids import (
    pid2sid_asset,
    pid_map_asset,
    sid2pid_asset,
    sid_prefixes_asset,
    sid_vocabulary_asset,
)
from sid_assets.assets.tokenizer import tokenizer_asset
from sid_assets.assets.training import training_assets
from sid_assets.automation import (
    catalog_sensor,
    conditions_sensor,
    refresh_job,
    refresh_schedule,
)
from sid_assets.checks import (
    contract_checks,
    interactions_checks,
    tokenizer_checks,
    training_checks,
    vocabulary_checks,
)
from sid_assets.core.errors import InputError
from sid_assets.core.training_sets import Phase
from sid_assets.dead_runs import dead_runs_sensor
from sid_assets.failure_webhook import failure_sensor
from sid_assets.io_managers import DataFolderIOManager
from sid_assets.settings import Refresh, Settings

STAGES = (
    item_texts_asset,
    item_embeddings_asset,
    codes_asset,
    item_counts_asset,
    sid_registry_asset,
    sid_moves_asset,
    sid_refreshes_asset,
    pid2sid_asset,
    pid_map_asset,
    sid2pid_asset,
    sid_prefixes_asset,
)
"""The stages of every domain; the tokenizer is trained on the main domain."""

FRESH = "pid2sid"
"""The table that a freshness policy is about."""


def semantic_ids(
    settings: Settings,
    *,
    key_prefix: str | Sequence[str] = (),
    group_prefix: str = "",
    name: str = "",
    pool: str = "gpu",
    training: bool = True,
    quality: bool = True,
    upstream: Mapping[str, Upstream] | None = None,
) -> dg.Definitions:
    """The assets, checks, resources, job, schedule and sensors of one catalog.

    They set no executor, no logger and no default IO manager, and read no settings from the
    environment. Merge as many as you have catalogs: `dg.Definitions.merge(...)`.

    Args:
        settings: The settings.
        key_prefix: What all asset keys begin with. All files lie in this folder of `data_dir`.
        group_prefix: What the names of groups begin with; by default, the key prefix.
        name: What the names of resources, steps, job and sensors begin with; by default, the key
            prefix, or `semantic_ids` without one.
        pool: The pool of the steps that use the GPU. Catalogs that share a GPU share a pool.
        training: Whether the training data sets are part of the graph.
        quality: Whether `sid_quality` is.
        upstream: Assets of yours that hold inputs, by setting: `{"catalog": Upstream("raw_us")}`.

    Raises:
        InputError: A name cannot be used, or an input is unknown.
    """
    prefix = (key_prefix,) if isinstance(key_prefix, str) else tuple(key_prefix)
    prefix = tuple(part for parts in prefix for part in parts.split("/") if part)
    joined = "_".join(prefix)
    placement = Placement(
        key_prefix=prefix,
        group_prefix=_name(group_prefix or joined),
        name=_name(name or joined or "semantic_ids"),
        pool=pool,
    )
    if prefix:
        settings = settings.changed(data_dir=settings.below(*prefix))
    return graph(settings, placement, upstream or {}, training=training, quality=quality)


def graph(
    settings: Settings,
    placement: Placement,
    upstream: Mapping[str, Upstream],
    *,
    training: bool = True,
    quality: bool = True,
) -> dg.Definitions:
    """The definitions under the names of a placement; see `semantic_ids`."""
    inputs = place_inputs(settings, placement, upstream)
    settings, placement = inputs.settings, inputs.placement
    domains = domains_of(settings, placement)
    made, checks = _assets(domains, inputs, training=training, quality=quality)
    keys = [key for asset in made for key in asset.keys]
    job = refresh_job(placement, keys)
    steps = {step.op.name for step in (*made, *checks)}
    sensors = [
        dead_runs_sensor(placement),
        failure_sensor(placement, steps),
        *([] if "catalog" in upstream else [catalog_sensor(placement, settings, job)]),
        *([conditions_sensor(placement, keys)] if settings.automation == "conditions" else []),
    ]
    made = dg.map_asset_specs(lambda spec: _with_attributes(spec, settings, placement), made)
    return dg.Definitions(
        assets=[*inputs.external, *made],
        asset_checks=checks,
        jobs=[job],
        schedules=[refresh_schedule(placement, settings, job)],
        sensors=sensors,
        resources=resources(settings, placement),
    )


def resources(settings: Settings, placement: Placement | None = None) -> dict[str, Any]:
    """The resources for these settings, which the launchpad may override for one run."""
    placement = placement or Placement()
    named = placement.named
    # Only a resource that is configured at launch passes the launchpad's values on to the resources
    # that contain it. Its defaults are these settings.
    at_launch = type(settings).configure_at_launch()
    prefix = list(placement.key_prefix)
    return {
        named("settings"): at_launch,
        named("refresh"): Refresh(),
        named("io_manager"): DataFolderIOManager(settings=at_launch, key_prefix=prefix),
    }


def _assets(
    domains: Sequence[Domain], inputs: PlacedInputs, *, training: bool, quality: bool
) -> tuple[list[dg.AssetsDefinition], list[dg.AssetChecksDefinition]]:
    """What the graph makes, and the checks of it."""
    main = domains[0]
    made = [*inputs.copied, *(stage(domain) for domain in domains for stage in STAGES)]
    made += [tokenizer_asset(main), sid_vocabulary_asset(main), interactions_asset(main)]
    checks = [check for domain in domains for check in contract_checks(domain)]
    checks += [tokenizer_checks(main), vocabulary_checks(main), interactions_checks(main)]
    if quality:
        made += [sid_quality_asset(domain) for domain in domains]
    if training:
        made += [training_assets(domains, phase) for phase in get_args(Phase)]
        checks += training_checks(main)
    return made, checks


def _with_attributes(spec: dg.AssetSpec, settings: Settings, placement: Placement) -> dg.AssetSpec:
    """The spec with owners, tags, condition and freshness policy, as the settings say."""
    spec = spec.merge_attributes(owners=settings.owner_list(), tags=settings.tag_map())
    if settings.automation == "conditions":
        spec = spec.replace_attributes(automation_condition=dg.AutomationCondition.eager())
    if settings.fresh_hours and spec.key == placement.key(FRESH):
        window = timedelta(hours=settings.fresh_hours)
        policy = dg.FreshnessPolicy.time_window(fail_window=window)
        spec = spec.replace_attributes(freshness_policy=policy)
    return spec


def _name(name: str) -> str:
    """A name as Dagster allows it.

    Raises:
        InputError: It has other characters than letters, digits and underscores.
    """
    if not re.fullmatch(r"\w*", name, re.ASCII):
        raise InputError(f"{name!r}: names may have letters, digits and underscores only.")
    return name

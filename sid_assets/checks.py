"""The asset checks: every table is read back from disk, and an ERROR blocks everything downstream.

The checks and their names are declared in `core/contracts`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import dagster as dg
import numpy as np
import pyarrow as pa

from sid_assets.assets.check_results import check_results, check_specs
from sid_assets.assets.declare import step
from sid_assets.assets.domains import GOODS, ITEMS, Domain
from sid_assets.assets.inputs import EVENTS_TABLE as INTERACTIONS
from sid_assets.assets.inputs import event_log, known_items
from sid_assets.assets.tokenizer import TABLE as TOKENIZER
from sid_assets.core import schema
from sid_assets.core.arrow.vectors import vectors_of
from sid_assets.core.contracts.findings import Check, Contract, Finding, Findings
from sid_assets.core.contracts.interactions import check_interactions
from sid_assets.core.contracts.registry import (
    check_pid2sid,
    check_sid_moves,
    check_sid_refreshes,
    check_sid_registry,
)
from sid_assets.core.contracts.sids import (
    check_sid2pid,
    check_sid_prefixes,
    check_sid_vocabulary,
)
from sid_assets.core.contracts.tables import (
    FILES,
    check_codes,
    check_files,
    check_item_counts,
    check_item_embeddings,
    check_item_texts,
    check_pid_map,
    check_tokenizer,
)
from sid_assets.core.contracts.training import (
    check_current_sids,
    check_data_set,
    known_sids,
    left_sids,
)
from sid_assets.core.contracts.training_rows import NO_SIDS
from sid_assets.core.contracts.unmoved import check_unmoved
from sid_assets.core.errors import SidAssetsError, StoreError
from sid_assets.core.quantise.tokenizer import (
    TokenizerMaking,
    load_tokenizer,
    require_tokenizer,
)
from sid_assets.core.sids.prefixes import SidPrefixes
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.training_sets import DATA_SETS, DataSet
from sid_assets.settings import Settings

SCALE_SAMPLE = 1024
"""Number of vectors that a tokenizer is compared with."""

KNOWN_ROWS = 65_536

UNREADABLE = (SidAssetsError, pa.ArrowException, OSError, ValueError, KeyError)
"""Errors from reading a file that is damaged, missing, or not written by this package."""


def contract_checks(domain: Domain) -> list[dg.AssetChecksDefinition]:
    """The checks of a domain's tables."""
    return [
        _table_checks(
            domain,
            "item_texts",
            lambda store, version: check_item_texts(
                version, store.current(domain.table("item_texts_rejected"))
            ),
            check_item_texts,
        ),
        _table_checks(
            domain,
            "item_embeddings",
            lambda store, version: check_item_embeddings(
                version, store.require(domain.table("item_texts"))
            ),
            check_item_embeddings,
        ),
        _table_checks(
            domain,
            "item_counts",
            lambda store, version: check_item_counts(version),
            check_item_counts,
        ),
        _table_checks(domain, "codes", partial(_find_codes, domain), check_codes),
        _table_checks(
            domain,
            "sid_registry",
            partial(_find_registry, domain),
            check_sid_registry,
            check_unmoved,
        ),
        _of_registry(domain, "sid_moves", check_sid_moves),
        _of_registry(domain, "sid_refreshes", check_sid_refreshes),
        _of_registry(domain, "pid2sid", check_pid2sid),
        _table_checks(
            domain,
            "pid_map",
            lambda store, version: check_pid_map(version, store.require(domain.table("pid2sid"))),
            check_pid_map,
        ),
        _table_checks(
            domain,
            "sid2pid",
            lambda store, version: check_sid2pid(
                version,
                store.require(domain.table("pid2sid")),
                store.root / domain.sid2pid_json,
                domain.id_name,
            ),
            check_sid2pid,
        ),
        _checks(domain, "sid_prefixes", partial(_find_prefixes, domain), check_sid_prefixes.checks),
    ]


def tokenizer_checks(domain: Domain) -> dg.AssetChecksDefinition:
    """The checks of the tokenizer, read back from its file."""
    return _checks(domain, TOKENIZER, _find_tokenizer, check_tokenizer.checks)


def vocabulary_checks(domain: Domain) -> dg.AssetChecksDefinition:
    """The checks of the vocabulary, which belongs to no domain."""
    return _table_checks(
        domain,
        "sid_vocabulary",
        lambda store, version: check_sid_vocabulary(version),
        check_sid_vocabulary,
    )


def interactions_checks(domain: Domain) -> dg.AssetChecksDefinition:
    """The checks of the interactions that are made from a log of events."""

    def find(store: Store) -> Findings:
        version = store.require(INTERACTIONS)
        files = check_files(version, version.schema())
        known = known_items(store).stream(["pid"], KNOWN_ROWS)
        found = check_interactions(version, (batch["pid"] for batch in known))
        return {FILES.name: files, **(found if files.passed else {})}

    checks = [FILES, *check_interactions.checks]
    return _checks(
        domain,
        INTERACTIONS,
        find,
        checks,
        lambda settings: "" if event_log(settings) else "SID_EVENTS is not set",
    )


def training_checks(domain: Domain) -> list[dg.AssetChecksDefinition]:
    """The checks of the training data sets."""
    return [
        _table_checks(
            domain,
            f"{name}_dataset",
            partial(_find_training, data_set),
            check_data_set,
            check_current_sids,
        )
        for name, data_set in DATA_SETS.items()
    ]


def _table_checks(
    domain: Domain, name: str, find: Callable[[Store, Version], Findings], *contracts: Contract[...]
) -> dg.AssetChecksDefinition:
    """The checks of a table: of its files and, if these are intact, of its rows.

    Args:
        domain: The domain of the table.
        name: The last part of the table's asset key.
        find: Calls the contracts on a version of the table.
        contracts: The contracts that it calls.
    """

    def find_all(store: Store) -> Findings:
        version = store.require(domain.table(name))
        columns = version.schema()
        pid_type = schema.pid_type_of(columns) if {"pid", "pids"} & set(columns.names) else "int"
        files = check_files(version, schema.TABLES[name].schema(pid_type))
        return {FILES.name: files, **(find(store, version) if files.passed else {})}

    checks = [FILES, *(check for contract in contracts for check in contract.checks)]
    return _checks(domain, name, find_all, checks)


def _checks(
    domain: Domain,
    name: str,
    find: Callable[[Store], Findings],
    checks: Sequence[Check],
    skipped: Callable[[Settings], str] = lambda settings: "",
) -> dg.AssetChecksDefinition:
    """The checks of an asset, from one scan of it.

    If the asset cannot be read, the first check reports that. `skipped` says why there is no asset
    with the settings of a run; "" if there is one.
    """
    key = domain.key(name)

    def scan(
        context: dg.AssetCheckExecutionContext, settings: Settings
    ) -> Iterator[dg.AssetCheckResult]:
        try:
            why = skipped(settings)
            passed = {check.name: Finding(True, f"skipped: {why}") for check in checks}
            findings = passed if why else find(settings.store())
        except UNREADABLE as error:
            findings = {checks[0].name: Finding(False, f"cannot be read: {error}")}
        selected = {key.name for key in context.selected_asset_check_keys}
        wanted = [check for check in checks if check.name in selected]
        yield from check_results(key, wanted, findings, context.log)

    placement = domain.placement
    return dg.multi_asset_check(
        name=placement.named(f"{domain.table(name).replace('/', '_')}_checks"),
        specs=check_specs(key, checks),
        can_subset=True,
        required_resource_keys=placement.resource_keys,
    )(step(placement, scan, writes=False))


def _of_registry(
    domain: Domain, name: str, check: Contract[[Version, Version]]
) -> dg.AssetChecksDefinition:
    """The checks of a table that follows from the registry."""
    registry = domain.table("sid_registry")
    return _table_checks(
        domain, name, lambda store, version: check(version, store.require(registry)), check
    )


def _find_codes(domain: Domain, store: Store, version: Version) -> Findings:
    vectors = store.require(domain.table("item_embeddings"))
    codebook_size = TokenizerMaking.of(require_tokenizer(store).provenance).codebook_size
    return check_codes(version, vectors, codebook_size)


def _find_registry(domain: Domain, store: Store, version: Version) -> Findings:
    found = check_sid_registry(version, store.require(domain.table("codes")))
    try:
        before = version.previous()
        return {**found, **check_unmoved(version, before)}
    except StoreError as error:  # it was compared before it was committed
        why = f"not compared now, because the version before cannot be read ({error})"
        return {**found, "unmoved": Finding(True, why)}


def _find_prefixes(domain: Domain, store: Store) -> Findings:
    prefixes = store.require(domain.table("sid_prefixes")).load_file(SidPrefixes.load)
    return check_sid_prefixes(prefixes, store.require(domain.table("pid2sid")))


def _find_tokenizer(store: Store) -> Findings:
    tokenizer = require_tokenizer(store)
    centroids = load_tokenizer(tokenizer)
    embeddings = store.require(ITEMS.table("item_embeddings"))
    sample = next(iter(embeddings.stream(["embedding"], SCALE_SAMPLE)))
    return check_tokenizer(centroids, tokenizer, embeddings, vectors_of(sample.column("embedding")))


def _find_training(data_set: DataSet, store: Store, version: Version) -> Findings:
    items, goods = store.require(ITEMS.table("pid2sid")), store.current(GOODS.table("pid2sid"))
    registries = [store.current(domain.table("sid_registry")) for domain in (ITEMS, GOODS)]
    removed = [left_sids(registry) for registry in registries if registry]
    return {
        **check_data_set(
            version,
            data_set,
            known_sids(items),
            known_sids(goods) if goods else None,
            np.concatenate([NO_SIDS, *removed]),
        ),
        **check_current_sids(version, [items, goods] if goods else [items]),
    }

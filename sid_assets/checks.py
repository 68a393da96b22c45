"""The asset checks: every contract read back from disk; an ERROR stops what is downstream."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import dagster as dg
import pyarrow as pa

from sid_assets.assets.domains import GOODS, ITEMS, Domain
from sid_assets.assets.sids import PREFIXES_SUFFIX
from sid_assets.assets.tokenizer import TABLE as TOKENIZER
from sid_assets.core import schema
from sid_assets.core.arrow.vectors import vectors_of
from sid_assets.core.contracts import tables as contracts
from sid_assets.core.contracts.sids import (
    check_sid2pid,
    check_sid_prefixes,
    check_sid_vocabulary,
)
from sid_assets.core.contracts.tables import Finding, Findings
from sid_assets.core.contracts.training import check_data_set, known_sids
from sid_assets.core.contracts.unmoved import check_unmoved
from sid_assets.core.errors import SidAssetsError
from sid_assets.core.quantise.tokenizer import load_tokenizer, require_tokenizer
from sid_assets.core.sids.prefixes import SidPrefixes
from sid_assets.core.store.single_files import read_file
from sid_assets.core.store.versions import Store, Version
from sid_assets.core.training.datasets import DATA_SETS, DataSet
from sid_assets.settings import Settings

# Names of the checks, as the UI shows them.
FILES = "files"
ROWS = "rows"
PIDS = "pids"
TEXTS = "texts"
TEXT_HASHES = "text_hashes"
PID_ZERO = "pid_zero"
REJECTED = "rejected"
NUMBERS = "numbers"
WIDTH = "width"
FINITE = "finite"
UNIT_NORM = "unit_norm"
VECTOR_HASHES = "vector_hashes"
SAME_PIDS = "same_pids"
SAME_TEXT_HASH = "same_text_hash"
SAME_VECTOR_HASH = "same_vector_hash"
SHAPE = "shape"
EMBEDDING_SPACE = "embedding_space"
SCALE = "scale"
THREE_CODES = "three_codes"
CODES_IN_RANGE = "codes_in_range"
EQUAL_TO_CODES = "equal_to_codes"
CONTRACT = "contract"
FREE_TEXTS = "free_texts"
ROWS_ADD_UP = "rows_add_up"
COVERAGE = "coverage"
NOT_EMPTY = "not_empty"
SIDS_IN_ORDER = "sids_in_order"
INVERTS_PID2SID = "inverts_pid2sid"
JSON_FILE = "json_file"
ONLY_THE_CATALOG = "only_the_catalog"
TOKENS = "tokens"
IDS = "ids"
UNMOVED = "unmoved"

DESCRIPTIONS = {
    FILES: "The files have the columns of the table and the sizes they were committed with.",
    ROWS: "There are rows.",
    PIDS: "Pids are sorted, unique and not null.",
    TEXTS: "No text is empty.",
    TEXT_HASHES: "Every hash is that of its text.",
    PID_ZERO: "No item has pid 0, which OneRec's evaluation takes for 'not found'.",
    REJECTED: "No row of the catalog was rejected.",
    WIDTH: "Every vector is 4096 wide.",
    FINITE: "Every number is finite.",
    UNIT_NORM: "Every vector has unit norm.",
    VECTOR_HASHES: "Every hash is that of its vector.",
    SAME_PIDS: "The pids are those of the table this one is made from.",
    SAME_TEXT_HASH: "Every vector was made from the text that the item has now.",
    SAME_VECTOR_HASH: "Every item's codes were made from the vector that it has now.",
    SHAPE: "Three layers, 4096 wide, at most 8192 centroids each.",
    EMBEDDING_SPACE: "Made for the space of the vectors, as far as is known.",
    SCALE: "The centroids are of the scale of the vectors and come near them.",
    THREE_CODES: "Every item has exactly three codes.",
    CODES_IN_RANGE: "Every code is one of the codebook.",
    NUMBERS: "Numbers start at 1 and are unique, and every item has one.",
    EQUAL_TO_CODES: "Every SID is the item's codes.",
    CONTRACT: "Columns, JSON, roles, uuids and SIDs are as OneRec's trainer reads them.",
    FREE_TEXTS: "Texts of the user's spell no SID of an item that the catalog has not.",
    ROWS_ADD_UP: "Rows that could be written = rows written + rows dropped.",
    COVERAGE: "Of each column of pids at least 95 % have a SID.",
    NOT_EMPTY: "The data set has rows.",
    SIDS_IN_ORDER: "SIDs are sorted by their codes, and unique.",
    INVERTS_PID2SID: "Its pairs of item and SID are exactly those of pid2sid, the items that users "
    "interact with most first.",
    JSON_FILE: "The JSON file says the same as the table.",
    ONLY_THE_CATALOG: "Every SID of the catalog is accepted, and no other.",
    TOKENS: "The tokens are OneRec's, in their order.",
    IDS: "The ids are those of OneRec's models.",
    UNMOVED: "No item whose text is the same has another SID than the one published in pid2sid.",
}

WARNINGS = {PID_ZERO, REJECTED, FREE_TEXTS, COVERAGE, NOT_EMPTY}
"""Checks that warn; all others are contracts: their failure is an error and blocks."""

SCALE_SAMPLE = 1024
"""Vectors that a tokenizer is compared with."""

Check = Callable[[Store, Version], Findings]


def contract_checks(domain: Domain) -> list[dg.AssetChecksDefinition]:
    """The checks of a domain's tables."""
    return [
        _checks(
            domain,
            "item_texts",
            [ROWS, PIDS, TEXTS, TEXT_HASHES, PID_ZERO, REJECTED],
            lambda store, version: contracts.check_item_texts(
                version, store.current(domain.table("item_texts_rejected"))
            ),
        ),
        _checks(
            domain,
            "item_embeddings",
            [WIDTH, FINITE, UNIT_NORM, VECTOR_HASHES, PIDS, SAME_PIDS, SAME_TEXT_HASH],
            lambda store, version: contracts.check_item_embeddings(
                version, store.require(domain.table("item_texts"))
            ),
        ),
        _checks(
            domain,
            "codes",
            [THREE_CODES, CODES_IN_RANGE, PIDS, SAME_PIDS, SAME_VECTOR_HASH, UNMOVED],
            partial(_check_codes, domain),
        ),
        _checks(
            domain,
            "pid_map",
            [PIDS, NUMBERS],
            lambda store, version: contracts.check_pid_map(
                version, store.require(domain.table("pid2sid"))
            ),
        ),
        _checks(
            domain,
            "pid2sid",
            [PIDS, EQUAL_TO_CODES],
            lambda store, version: contracts.check_pid2sid(
                version, store.require(domain.table("codes"))
            ),
        ),
        _checks(
            domain,
            "sid2pid",
            [SIDS_IN_ORDER, INVERTS_PID2SID, JSON_FILE],
            lambda store, version: check_sid2pid(
                version,
                store.require(domain.table("pid2sid")),
                store.root / domain.reverse_index,
                domain.id_name,
            ),
        ),
        _prefixes_checks(domain),
    ]


def _check_codes(domain: Domain, store: Store, version: Version) -> Findings:
    vectors = store.require(domain.table("item_embeddings"))
    codebook_size = require_tokenizer(store).provenance.details["shape"][1]
    return {
        **contracts.check_codes(version, vectors, codebook_size),
        UNMOVED: check_unmoved(version, store.current(domain.table("pid2sid")), vectors),
    }


def vocabulary_checks() -> dg.AssetChecksDefinition:
    """The checks of the vocabulary, which is no domain's."""
    return _checks(
        ITEMS, "sid_vocabulary", [TOKENS, IDS], lambda store, version: check_sid_vocabulary(version)
    )


def _prefixes_checks(domain: Domain) -> dg.AssetChecksDefinition:
    """The checks of the prefixes, read back from their file."""
    table = domain.table("sid_prefixes")
    specs = [_spec(ONLY_THE_CATALOG, domain.key("sid_prefixes"))]

    @dg.multi_asset_check(name=f"{table.replace('/', '_')}_checks", specs=specs, can_subset=True)
    def checks(
        context: dg.AssetCheckExecutionContext, settings: Settings
    ) -> Iterator[dg.AssetCheckResult]:
        store = settings.store()
        try:
            prefixes = read_file(store.require(table, PREFIXES_SUFFIX), SidPrefixes.load)
            pid2sid = store.require(domain.table("pid2sid"))
            findings = check_sid_prefixes(prefixes, pid2sid)
        except (SidAssetsError, OSError, ValueError, KeyError) as error:
            findings = {ONLY_THE_CATALOG: Finding(False, f"cannot be read: {error}")}
        yield from _results(context, findings)

    return checks


def training_checks() -> list[dg.AssetChecksDefinition]:
    """The checks of the training data sets."""
    names = [CONTRACT, FREE_TEXTS, ROWS_ADD_UP, COVERAGE, NOT_EMPTY]
    return [
        _checks(ITEMS, f"{name}_dataset", names, partial(_check_training, data_set))
        for name, data_set in DATA_SETS.items()
    ]


def _check_training(data_set: DataSet, store: Store, version: Version) -> Findings:
    goods = store.current(GOODS.table("pid2sid"))
    return check_data_set(
        version,
        data_set,
        known_sids(store.require(ITEMS.table("pid2sid"))),
        known_sids(goods) if goods else None,
    )


def _checks(
    domain: Domain,
    name: str,
    check_names: Sequence[str],
    check: Check,
) -> dg.AssetChecksDefinition:
    """The checks of one table, from one scan of it."""
    key, table = domain.key(name), domain.table(name)
    names = [FILES, *check_names]

    @dg.multi_asset_check(
        name=f"{table.replace('/', '_')}_checks",
        specs=[_spec(check, key) for check in names],
        can_subset=True,
    )
    def checks(
        context: dg.AssetCheckExecutionContext, settings: Settings
    ) -> Iterator[dg.AssetCheckResult]:
        findings = _find(settings.store(), table, name, check)
        yield from _results(context, findings)

    return checks


def _find(store: Store, table: str, name: str, check: Check) -> Findings:
    """The findings of a table; where its files cannot be read, that is the finding."""
    try:
        version = store.require(table)
        columns = version.schema()
        pid_type = schema.pid_type_of(columns) if {"pid", "pids"} & set(columns.names) else "int"
        files = contracts.check_files(version, schema.TABLES[name].schema(pid_type))
        return {FILES: files, **(check(store, version) if files.passed else {})}
    except (SidAssetsError, pa.ArrowException, OSError, KeyError) as error:
        return {FILES: Finding(False, f"cannot be read: {error}")}


def _spec(name: str, key: dg.AssetKey) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        name, asset=key, description=DESCRIPTIONS[name], blocking=name not in WARNINGS
    )


def _results(
    context: dg.AssetCheckExecutionContext, findings: Findings
) -> Iterator[dg.AssetCheckResult]:
    """A result for every check that was asked for; one that was not looked at has not passed."""
    for key in sorted(context.selected_asset_check_keys, key=lambda key: key.name):
        finding = findings.get(key.name) or Finding(
            False, "not looked at: see the check that failed"
        )
        if not finding.passed:
            tell = context.log.warning if key.name in WARNINGS else context.log.error
            tell(f"{key.asset_key.to_user_string()}: check {key.name}: {finding.description}")
        yield dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=finding.passed,
            severity=dg.AssetCheckSeverity.WARN
            if key.name in WARNINGS
            else dg.AssetCheckSeverity.ERROR,
            description=finding.description,
            metadata=finding.metadata,
        )


@dg.multi_asset_check(
    name="tokenizer_checkpoint_checks",
    specs=[_spec(name, dg.AssetKey(TOKENIZER)) for name in (SHAPE, FINITE, EMBEDDING_SPACE, SCALE)],
    can_subset=True,
)
def tokenizer_checks(
    context: dg.AssetCheckExecutionContext, settings: Settings
) -> Iterator[dg.AssetCheckResult]:
    """The tokenizer, read back from its file."""
    store = settings.store()
    try:
        tokenizer = require_tokenizer(store)
        centroids = load_tokenizer(tokenizer)
        embeddings = store.require(ITEMS.table("item_embeddings"))
        sample = next(iter(embeddings.stream(["embedding"], SCALE_SAMPLE)))
        findings = contracts.check_tokenizer(
            centroids, tokenizer, embeddings, vectors_of(sample.column("embedding"))
        )
    except (SidAssetsError, OSError) as error:
        findings = {SHAPE: Finding(False, f"cannot be read: {error}")}
    yield from _results(context, findings)

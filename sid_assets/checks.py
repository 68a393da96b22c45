"""The asset checks: every contract read back from disk; an ERROR stops what is downstream."""

from collections.abc import Callable, Iterator, Sequence

import dagster as dg
import pyarrow as pa

from sid_assets.assets.domains import Domain
from sid_assets.assets.tokenizer import TABLE as TOKENIZER
from sid_assets.core import contracts, schema
from sid_assets.core.contracts import Finding, Findings
from sid_assets.core.errors import SidAssetsError
from sid_assets.core.tokenizer import load_tokenizer, require_tokenizer
from sid_assets.core.versions import Store, Version
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
SHAPE = "shape"
EMBEDDING_SPACE = "embedding_space"
THREE_CODES = "three_codes"
CODES_IN_RANGE = "codes_in_range"
EQUAL_TO_CODES = "equal_to_codes"

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
    SHAPE: "Three layers, 4096 wide, at most 8192 centroids each.",
    EMBEDDING_SPACE: "Made for the space of the vectors, or fitting them in scale.",
    THREE_CODES: "Every item has exactly three codes.",
    CODES_IN_RANGE: "Every code is one of the codebook.",
    NUMBERS: "Numbers start at 1 and are unique, and every item has one.",
    EQUAL_TO_CODES: "Every SID is the item's codes.",
}

WARNINGS = {PID_ZERO, REJECTED}
"""Checks that warn; all others are contracts: their failure is an error and blocks."""

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
            [WIDTH, FINITE, UNIT_NORM, VECTOR_HASHES, PIDS, SAME_PIDS],
            lambda store, version: contracts.check_item_embeddings(
                version, store.require(domain.table("item_texts"))
            ),
        ),
        _checks(
            domain,
            "codes",
            [THREE_CODES, CODES_IN_RANGE, PIDS, SAME_PIDS],
            lambda store, version: contracts.check_codes(
                version,
                store.require(domain.table("item_embeddings")),
                codebook_size=require_tokenizer(store).provenance.details["shape"][1],
            ),
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
    ]


def _checks(
    domain: Domain, name: str, check_names: Sequence[str], check: Check
) -> dg.AssetChecksDefinition:
    """The checks of one table, from one scan of it."""
    key, table = domain.key(name), domain.table(name)
    names = [FILES, *check_names]

    @dg.multi_asset_check(
        name=f"{table.replace('/', '_')}_checks", specs=[_spec(check, key) for check in names]
    )
    def checks(settings: Settings) -> Iterator[dg.AssetCheckResult]:
        store = settings.store()
        yield from _results(key, names, _find(store, table, name, check))

    return checks


def _find(store: Store, table: str, name: str, check: Check) -> Findings:
    """The findings of a table; where its files cannot be read, that is the finding."""
    try:
        version = store.require(table)
        pid_type = schema.pid_type_of(version.schema())
        files = contracts.check_files(version, schema.TABLES[name].schema(pid_type))
        return {FILES: files, **(check(store, version) if files.passed else {})}
    except (SidAssetsError, pa.ArrowException, OSError, KeyError) as error:
        return {FILES: Finding(False, f"cannot be read: {error}")}


def _spec(name: str, key: dg.AssetKey) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        name, asset=key, description=DESCRIPTIONS[name], blocking=name not in WARNINGS
    )


def _results(
    key: dg.AssetKey, names: Sequence[str], findings: Findings
) -> Iterator[dg.AssetCheckResult]:
    """A result for every check; one that could not be looked at has not passed."""
    for name in names:
        finding = findings.get(name) or Finding(False, "not looked at: see the check that failed")
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=name,
            passed=finding.passed,
            severity=dg.AssetCheckSeverity.WARN
            if name in WARNINGS
            else dg.AssetCheckSeverity.ERROR,
            description=finding.description,
            metadata=finding.metadata,
        )


@dg.multi_asset_check(
    name="tokenizer_checkpoint_checks",
    specs=[_spec(name, dg.AssetKey(TOKENIZER)) for name in (SHAPE, FINITE, EMBEDDING_SPACE)],
)
def tokenizer_checks(settings: Settings) -> Iterator[dg.AssetCheckResult]:
    """The tokenizer, read back from its file."""
    store = settings.store()
    names = [SHAPE, FINITE, EMBEDDING_SPACE]
    try:
        tokenizer = require_tokenizer(store)
        centroids = load_tokenizer(tokenizer)
        embeddings = store.require("item_embeddings")
        findings = contracts.check_tokenizer(centroids, tokenizer, embeddings)
    except (SidAssetsError, OSError) as error:
        findings = {SHAPE: Finding(False, f"cannot be read: {error}")}
    yield from _results(dg.AssetKey(TOKENIZER), names, findings)

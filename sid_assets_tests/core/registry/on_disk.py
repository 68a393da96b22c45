"""A registry on disk, and the tables that follow from it, as they should be."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core import schema
from sid_assets.core.arrow.vectors import vector_array
from sid_assets.core.store.provenance import EmbeddingSpace, Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows
from sid_assets_tests.core.registry.small_registry import GENERATION, Catalog, hash_of

SPACE = EmbeddingSpace("hashing", "words")


def provenance(table: str, *inputs: Version, **details: object) -> Provenance:
    """The provenance of a table of the generation."""
    made_from = {version.provenance.asset: version.provenance.version for version in inputs}
    generation = "" if table == "codes" else GENERATION
    return Provenance(table, "", made_from, SPACE, "centroids", details, generation)


def commit(store: Store, made: Provenance, rows: pa.Table) -> Version:
    """Commit rows as a version of a table."""
    return store.commit(draft_rows(store, made.asset, rows.to_reader(), made))


def commit_codes(store: Store, catalog: Catalog) -> Version:
    """Commit the table `codes` of a catalog."""
    pids = sorted(catalog)
    columns = [
        pids,
        [list(catalog[pid][1]) for pid in pids],
        [hash_of(catalog[pid][0]) for pid in pids],
        vector_array(np.ones((len(pids), 4), np.float32)),
    ]
    rows = pa.table(columns, schema=schema.codes("int"))
    return commit(store, provenance("codes"), rows)


def commit_registry(store: Store, rows: pa.Table, most: int = 0) -> Version:
    """Commit a registry."""
    made = provenance("sid_registry", store.require("codes"), max_items_per_sid=most)
    return commit(store, made, rows)


def commit_sids(store: Store, table: str, names: Iterable[str], only: str = "") -> Version:
    """Commit what follows from the registry: the live rows, or those of them made in some way."""
    registry = store.require("sid_registry")
    rows = registry.stream().read_all()
    rows = rows.filter(rows["left_at"].is_null())
    if only:
        rows = rows.filter(pc.equal(rows["made"], only))
    columns = schema.TABLES[table].schema("int")
    return commit(store, provenance(table, registry), rows.select(list(names)).cast(columns))

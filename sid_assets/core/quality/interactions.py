"""The quality of semantic IDs, weighted by interactions: how ambiguous SIDs are in actual use.

DuckDB joins the interactions with the codes and spills to disk beyond its memory limit, so neither
has to fit in memory. It returns only numbers: one per distinct SID, or one per item in use.

Every interaction counts once, so the weight of an item is its number of interactions. Utilisation,
dead codes and distinct SIDs are omitted, because a weight does not change whether a code is used.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import run_starts
from sid_assets.core.arrow.duck import spilling_database
from sid_assets.core.arrow.statistics import entropy, gini, nearest_rank
from sid_assets.core.inputs.ids import PidColumn, PidTypeSetting, convert_pids, stored_as
from sid_assets.core.inputs.interactions import ITEM_COLUMNS
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.quality.figures import ReconstructionError, named
from sid_assets.core.quality.measure import code_rows, relative_errors
from sid_assets.core.quality.use import id_lists
from sid_assets.core.schema import CODE_LAYERS, PID_TYPES, PidType, pid_type_of
from sid_assets.core.sids.spelling import pack, prefix_of, unpack
from sid_assets.core.training_sets import HISTORY_PREFIX


@dataclass(frozen=True)
class WeightedUniqueness:
    """How well SIDs, or their prefixes of one length, separate the items of interactions.

    Attributes:
        length: Codes in the prefix: 1, 2, or 3 for the whole SID.
        colliding_interactions: Interactions with an item that shares its prefix with another item
            of the catalog (count, 0 to interactions).
        colliding_share: `colliding_interactions` / interactions (share, 0 to 1).
        largest_share: Share of the interactions with the most used prefix (above 0 to 1).
        gini: Gini coefficient of the interactions by prefix, over the prefixes that have any
            (0: all are used equally often, towards 1: a few have nearly all interactions).
        entropy: Entropy of the prefix of an interaction drawn at random (nats).
        entropy_share: `entropy` / entropy of the item of an interaction: the share of the
            information about the item that the prefix keeps (0 to 1; 1 if all interactions are
            with one item).
    """

    length: int
    colliding_interactions: int
    colliding_share: float
    largest_share: float
    gini: float
    entropy: float
    entropy_share: float


@dataclass(frozen=True)
class WeightedLayer:
    """The codes of one layer, weighted by interactions.

    Attributes:
        layer: 1, 2 or 3.
        entropy: Entropy of the code of an interaction drawn at random (nats, 0 to
            ln codebook_size).
        perplexity: exp(`entropy`): the number of codes that would give this entropy if all were
            used equally often (1 to codebook_size).
        error: Relative reconstruction error after this layer, with the mean and the percentiles
            taken over interactions; None if all vectors of their items are zero.
    """

    layer: int
    entropy: float
    perplexity: float
    error: ReconstructionError | None


@dataclass(frozen=True)
class InteractionQuality:
    """The quality of SIDs, weighted by interactions: by how often a pid occurs in the lists.

    Attributes:
        interactions: Pids in histories and targets that have a SID (count).
        unknown: Pids in histories and targets without a SID (count); the other figures exclude
            them.
        items: Distinct items among the interactions (count).
        prefixes: Uniqueness at prefix length 1, 2 and 3; empty if there are no interactions.
        layers: Code usage and reconstruction error of each layer; empty if there are no
            interactions.
        histories: Histories that are not empty (count); a row has one in each `hist_` column.
        ambiguous_histories: Histories with two different items of the same SID (count).
        ambiguous_histories_share: `ambiguous_histories` / histories (share, 0 to 1; 0 if none).
    """

    interactions: int
    unknown: int
    items: int
    prefixes: tuple[WeightedUniqueness, ...]
    layers: tuple[WeightedLayer, ...]
    histories: int
    ambiguous_histories: int
    ambiguous_histories_share: float

    def figures(self) -> dict[str, int | float]:
        """The numbers by name, flat, for metadata plotted over refreshes."""
        figures: dict[str, int | float] = {
            "interactions": self.interactions,
            "interactions_unknown": self.unknown,
            "interactions_items": self.items,
            "histories": self.histories,
            "histories_ambiguous": self.ambiguous_histories,
            "histories_ambiguous_share": self.ambiguous_histories_share,
        }
        for prefix in self.prefixes:
            of = "sid" if prefix.length == CODE_LAYERS else f"prefix_{prefix.length}"
            figures |= named(prefix, f"interactions_{of}_{{}}", leave_out=("length",))
        for layer in self.layers:
            of = f"interactions_layer_{layer.layer}"
            figures |= named(layer, f"{of}_{{}}", leave_out=("layer", "error"))
            if layer.error:
                figures |= named(layer.error, f"{of}_error_{{}}")
        return figures


def measure_interactions(
    codes: pa.RecordBatchReader,
    codebook_size: int,
    interactions: ParquetInput,
    columns: Sequence[str] = ITEM_COLUMNS,
    pid_type: PidTypeSetting = "auto",
    *,
    catalog: PidColumn | None = None,
) -> InteractionQuality:
    """Measure the SIDs of a catalog by its interactions; all rows count, regardless of the split.

    Args:
        codes: The columns `pid`, `codes` and `residual_norms` of the table `codes`.
        codebook_size: Codes per layer of the tokenizer.
        interactions: Rows with lists of pids.
        columns: The lists that hold pids of this catalog; missing columns have none.
        pid_type: SID_PID_TYPE.
        catalog: How the catalog stores its ids; by default as `codes` does.

    Raises:
        InputError: None of the lists exists, a column does not hold lists of ids, or one side
            stores its ids as text and the other as integers while `pid_type` is `auto`.
    """
    stored = stored_as(codes.schema.field("pid").type, source="codes", column="pid")
    catalog = catalog or PidColumn("codes", "pid", stored, rows=0)
    lists = id_lists(interactions, columns, catalog, pid_type)
    with spilling_database() as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.register("sids", _sids(codes, codebook_size))
        connection.execute("CREATE TABLE items AS SELECT * FROM sids")
        occurrences = _Occurrences(interactions, pid_type_of(codes.schema), pid_type != "auto")
        return _measure(connection, occurrences, lists, codebook_size)


def _measure(
    connection: duckdb.DuckDBPyConnection,
    occurrences: "_Occurrences",
    lists: list[str],
    codebook_size: int,
) -> InteractionQuality:
    """The figures, from the codes in the table `items` (rows as `_sids` makes them)."""
    connection.register("occurrences", occurrences.of(lists))
    connection.execute(
        "CREATE TABLE used AS SELECT pid, count(*) AS uses FROM occurrences GROUP BY pid"
    )
    total = _columns(connection, "SELECT coalesce(sum(uses), 0)::BIGINT AS total FROM used")
    connection.execute("CREATE TABLE met AS SELECT uses, errors FROM used JOIN items USING (pid)")
    uses = _columns(connection, "SELECT uses FROM met")["uses"]
    interactions = int(uses.sum())
    _find_colliding(connection)
    histories = ambiguous = 0
    for name in (name for name in lists if name.startswith(HISTORY_PREFIX)):
        histories += occurrences.rows_with(name)
        ambiguous += _ambiguous_histories(connection, occurrences.of([name]))
    groups = _groups(connection)
    return InteractionQuality(
        interactions=interactions,
        unknown=int(total["total"][0]) - interactions,
        items=len(uses),
        prefixes=_weighted_prefixes(groups, entropy(uses)) if interactions else (),
        layers=_weighted_layers(connection, groups, codebook_size) if interactions else (),
        histories=histories,
        ambiguous_histories=ambiguous,
        ambiguous_histories_share=ambiguous / histories if histories else 0.0,
    )


def _sids(codes: pa.RecordBatchReader, codebook_size: int) -> pa.RecordBatchReader:
    """The rows of `codes` as `pid`, packed `sid` and `errors` (relative error after each layer)."""
    errors = pa.field("errors", pa.list_(pa.float32(), CODE_LAYERS))
    schema = pa.schema([codes.schema.field("pid"), pa.field("sid", pa.int64()), errors])
    return pa.RecordBatchReader.from_batches(
        schema,
        (
            pa.record_batch(
                [
                    batch["pid"],
                    pa.array(pack(code_rows(batch, codebook_size))),
                    pa.FixedSizeListArray.from_arrays(
                        pa.array(relative_errors(batch).T.ravel()), CODE_LAYERS
                    ),
                ],
                schema=schema,
            )
            for batch in codes
        ),
    )


@dataclass(frozen=True)
class _Occurrences:
    """The pids in the lists of the interactions."""

    interactions: ParquetInput
    pid_type: PidType
    forced: bool

    def of(self, lists: list[str]) -> pa.RecordBatchReader:
        """One row per pid: `row`, its row in the interactions, and `pid`.

        The pid is null if it cannot be an id of the catalog.
        """
        schema = pa.schema([("row", pa.int64()), ("pid", PID_TYPES[self.pid_type])])
        return pa.RecordBatchReader.from_batches(schema, self._batches(lists, schema))

    def rows_with(self, name: str) -> int:
        """How many rows of the interactions have a non-empty list in this column."""
        batches = self.interactions.batches([name])
        return sum(int(np.count_nonzero(_lengths(batch[name]))) for batch in batches)

    def _batches(self, lists: list[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        rows = 0
        for batch in self.interactions.batches(lists):
            for name in lists:
                if pa.types.is_null(batch[name].type):
                    continue
                pids = pc.list_flatten(batch[name])
                row = pa.array(np.repeat(np.arange(len(batch)), _lengths(batch[name])) + rows)
                given = pc.invert(pids.is_null(nan_is_null=True))
                converted = convert_pids(pids.filter(given), self.pid_type, forced=self.forced)
                table = pa.table([row.filter(given), converted], schema=schema)
                yield from table.to_batches()
            rows += batch.num_rows


def _lengths(lists: pa.Array) -> np.ndarray:
    """The length of each list: int64 (n,); 0 for null."""
    if pa.types.is_null(lists.type):  # pandas writes this type if a column is None in all rows
        return np.zeros(len(lists), np.int64)
    return pc.list_value_length(lists).fill_null(0).to_numpy().astype(np.int64)


def _find_colliding(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table `colliding`: the items that share their SID with another item."""
    connection.execute(
        "CREATE TABLE colliding AS SELECT pid, sid FROM items "
        "WHERE sid IN (SELECT sid FROM items GROUP BY sid HAVING count(*) > 1)"
    )


def _ambiguous_histories(
    connection: duckdb.DuckDBPyConnection, histories: pa.RecordBatchReader
) -> int:
    """How many histories hold two different items of the same SID."""
    connection.register("histories", histories)
    # A table spills. One query for all would hold several hash tables at once, which do not.
    connection.execute(
        "CREATE OR REPLACE TABLE met_again AS "
        "SELECT row, sid, pid FROM histories JOIN colliding USING (pid)"
    )
    ambiguous = _columns(
        connection,
        """
        SELECT count(*) AS n
        FROM (
            SELECT row
            FROM (SELECT row FROM met_again GROUP BY row, sid HAVING min(pid) < max(pid))
            GROUP BY row
        )
        """,
    )
    return int(ambiguous["n"][0])


def _groups(connection: duckdb.DuckDBPyConnection) -> dict[str, np.ndarray]:
    """int64 (g,): `sid`, the distinct SIDs, packed, ascending; `items` and `uses` of each SID."""
    return _columns(
        connection,
        "SELECT sid, count(*) AS items, coalesce(sum(uses), 0)::BIGINT AS uses "
        "FROM items LEFT JOIN used USING (pid) GROUP BY sid ORDER BY sid",
    )


def _weighted_prefixes(
    groups: dict[str, np.ndarray], most: float
) -> tuple[WeightedUniqueness, ...]:
    return tuple(
        _weighted_uniqueness(length, groups["sid"], groups["items"], groups["uses"], most)
        for length in range(1, CODE_LAYERS + 1)
    )


def _weighted_layers(
    connection: duckdb.DuckDBPyConnection, groups: dict[str, np.ndarray], codebook_size: int
) -> tuple[WeightedLayer, ...]:
    layers = []
    for layer, codes in enumerate(unpack(groups["sid"]).T, start=1):
        nats = entropy(np.bincount(codes, weights=groups["uses"], minlength=codebook_size))
        error = _weighted_error(connection, layer)
        layers.append(WeightedLayer(layer, nats, float(np.exp(nats)), error))
    return tuple(layers)


def _weighted_error(
    connection: duckdb.DuckDBPyConnection, layer: int
) -> ReconstructionError | None:
    found = _columns(
        connection,
        "SELECT errors[$1] AS error, uses FROM met WHERE NOT isnan(errors[$1]) ORDER BY error",
        [layer],
    )
    errors, uses = found["error"], found["uses"]
    if not len(errors):
        return None
    up_to = np.cumsum(uses)
    p50, p99 = (
        errors[np.searchsorted(up_to, nearest_rank(share, up_to[-1]))] for share in (0.5, 0.99)
    )
    return ReconstructionError(
        mean=float(errors.astype(np.float64) @ uses / up_to[-1]), p50=float(p50), p99=float(p99)
    )


def _weighted_uniqueness(
    length: int, sids: np.ndarray, items: np.ndarray, uses: np.ndarray, most: float
) -> WeightedUniqueness:
    """The figures of one prefix length.

    Args:
        length: Codes in the prefix.
        sids: int64 (g,): the distinct SIDs, packed and ascending.
        items: int64 (g,): items of each SID.
        uses: int64 (g,): interactions of each SID.
        most: Entropy of the item of an interaction (nats).
    """
    starts = run_starts(prefix_of(sids, length))
    items, uses = np.add.reduceat(items, starts), np.add.reduceat(uses, starts)
    total = int(uses.sum())
    colliding = int(uses[items > 1].sum())
    nats = entropy(uses)
    return WeightedUniqueness(
        length=length,
        colliding_interactions=colliding,
        colliding_share=colliding / total,
        largest_share=int(uses.max()) / total,
        gini=gini(uses[uses > 0]),
        entropy=nats,
        entropy_share=min(1.0, nats / most) if most > 0 else 1.0,
    )


def _columns(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[int] = ()
) -> dict[str, np.ndarray]:
    found = connection.execute(query, parameters).fetchnumpy()
    return {name: np.asarray(values) for name, values in found.items()}

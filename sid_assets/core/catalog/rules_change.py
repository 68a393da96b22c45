"""How many texts change because values become text by other rules, not because the catalog did.

The catalog is read a second time, by the rules of the version before. A text counts if these rules
give the earlier text, and today's rules do not. That costs time once: then the version before has
today's rules.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core import schema
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.catalog.item_texts import CatalogSource, ItemTexts, read_item_texts
from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.catalog.value_texts import TextRules
from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version

BATCH_ROWS = 16_384


@dataclass
class RulesChange:
    """What other rules change.

    Attributes:
        earlier: The rules of the version before.
        rules: The rules of this run.
        texts: Texts that change because of them, once all texts have been read.
        unknown: Why they cannot be counted; "" if they are.
    """

    earlier: TextRules
    rules: TextRules
    texts: int = 0
    unknown: str = ""

    def describe(self) -> str:
        """A sentence or two for the log; "" if nothing changes."""
        what = (
            f"values become text by rules {self.rules}; the texts so far were made by rules "
            f"{self.earlier} (docs/catalog.md says what differs)"
        )
        keep = f"Set SID_TEXT_RULES={self.earlier} to keep the texts, their vectors and their SIDs."
        if self.unknown:
            return f"Unknown how many texts change because {what}: {self.unknown} {keep}"
        if self.texts:
            return f"{self.texts:,} texts change because {what}. {keep}"
        return ""

    def metadata(self) -> dict[str, int]:
        """The count for a run's metadata."""
        return {} if self.unknown else {"texts_changed_by_rules": self.texts}


def texts_of_vectors(store: Store, texts: str, vectors: str) -> Version | None:
    """The version of the texts that the current vectors were made from, if it is kept.

    Else the current version. The two differ after a run that stopped before its vectors changed.

    Args:
        store: The store of the tables.
        texts: The table of the texts.
        vectors: The table of their vectors.
    """
    current = store.current(vectors)
    made_from = current.provenance.inputs.get(texts) if current else None
    kept = store.kept(texts)
    those = (version for version in kept if version.provenance.version == made_from)
    return next(those, kept[0] if kept else None)


def count_rules_change(
    source: CatalogSource, texts: ItemTexts, before: Version | None, *, scratch_dir: str | Path
) -> tuple[pa.RecordBatchReader, RulesChange | None]:
    """Count the change while the texts are read.

    Args:
        source: The catalog.
        texts: Its texts.
        before: The version of `item_texts` to compare with; None if there is none.
        scratch_dir: An empty folder, as for `read_item_texts`.

    Returns:
        The texts, to be read instead of `texts.reader`; and the change, complete once they are
        read. None if the version before was made by the same rules.
    """
    if before is None:
        return texts.reader, None
    change = RulesChange(TextsMaking.of(before.provenance).rules, source.text_rules)
    if change.earlier == change.rules or before.pid_type != texts.pid_type:
        return texts.reader, None
    earlier = replace(source, text_rules=change.earlier, on_bad_rows="drop")
    try:
        read = read_item_texts(earlier, scratch_dir=scratch_dir)
    except InputError as error:
        change.unknown = f"by the earlier rules, the catalog cannot be read ({error})."
        return texts.reader, change
    if read.pid_type != texts.pid_type:
        change.unknown = f"by the earlier rules, its ids are of type {read.pid_type}."
        return texts.reader, change
    batches = _counted(texts.reader, read.reader, before, change)
    return pa.RecordBatchReader.from_batches(texts.reader.schema, batches), change


def _counted(
    texts: pa.RecordBatchReader,
    by_earlier_rules: Iterable[pa.RecordBatch],
    before: Version,
    change: RulesChange,
) -> Iterator[pa.RecordBatch]:
    columns = texts.schema.names
    rows: Iterable[pa.RecordBatch] = texts
    for name, batches in (("before", _rows(before, change)), ("earlier", by_earlier_rules)):
        rows = joined(rows, _hashes(batches, name), pa.schema([pa.field(name, schema.HASH)]))
    for batch in rows:
        same = pc.equal(batch["before"], batch["earlier"])
        other = pc.not_equal(batch["text_hash"], batch["before"])
        change.texts += pc.sum(pc.and_(same, other).fill_null(False)).as_py()
        yield batch.select(columns)


def _hashes(batches: Iterable[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    """The ids, and the hashes of the texts under another name."""
    for batch in batches:
        yield batch.select(["pid", "text_hash"]).rename_columns(["pid", name])


def _rows(before: Version, change: RulesChange) -> Iterator[pa.RecordBatch]:
    """The rows of the version before, as far as they can be read."""
    try:
        yield from before.stream(["pid", "text_hash"], BATCH_ROWS)
    except StoreError as error:
        change.unknown = f"the texts so far cannot be read ({error})."

"""Tables that are more than their files: Delta, Iceberg, Hudi, and datasets saved by Hugging Face.

Their folders hold files of deleted rows and of older versions. Which files count is in a log or a
manifest, so the files are never read without it: these tables are refused, with the way to export
them.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from upath import UPath

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.listing import Listing
from sid_assets.core.store.places import is_local

_TO_PARQUET = "import pyarrow.dataset as ds; ds.write_dataset({rows}, 'items', format='parquet')"

_EXPORTS = {
    "a Delta table": "from deltalake import DeltaTable; "
    + _TO_PARQUET.format(rows="DeltaTable({folder!r}).to_pyarrow_dataset()"),
    "an Iceberg table": "from pyiceberg.table import StaticTable; "
    + _TO_PARQUET.format(
        rows="StaticTable.from_metadata({metadata!r}).scan().to_arrow_batch_reader()"
    ),
    "a Hudi table": "spark.read.format('hudi').load({folder!r}).write.parquet('items')",
    "a dataset that Hugging Face's save_to_disk wrote": "from datasets import load_from_disk; "
    "load_from_disk({folder!r}).to_parquet('items.parquet')",
    "a dictionary of datasets that Hugging Face's save_to_disk wrote": "from datasets import "
    "load_from_disk; load_from_disk({folder!r})['train'].to_parquet('items.parquet')",
}
"""The kinds of tables, and the line of Python that exports one to parquet."""

_DELTA, _ICEBERG, _HUDI, _DATASET, _DATASETS = _EXPORTS

_MARKS = {
    "_delta_log": _DELTA,
    "metadata/*.metadata.json*": _ICEBERG,
    ".hoodie": _HUDI,
    "dataset_dict.json": _DATASETS,
    "state.json": _DATASET,
}
"""What lies in the folder of a table, and its kind."""

_BESIDE = {"state.json": "dataset_info.json"}
"""A mark that tells a kind only beside another file."""

_HUDI_FILE = re.compile(r"(?P<group>[^_/]+)_\d+-\d+(?:-\d+)?_\d{8,17}\.parquet")
"""How Hudi names a file: group, write token, and the time of the commit that wrote it. Two files of
one group are two versions of the same rows."""


def refuse_lakes(root: UPath, listing: Listing) -> None:
    """Raise InputError if files belong to a table whose files cannot be read on their own.

    The table may be the folder that is named, lie below it, or lie above it, as when one of its
    files or partitions is named.
    """
    folders = {listing.base, *(path.rpartition("/")[0] for path in listing.files)}
    found = _local_marks(folders) if is_local(root) else _store_marks(root, listing)
    for folder, kind in found:
        raise _refusal(folder if is_local(root) else root.fs.unstrip_protocol(folder), kind)
    versions: dict[tuple[str, str], str] = {}
    for path in listing.files:
        folder, _, name = path.rpartition("/")
        named = _HUDI_FILE.fullmatch(name)
        if named and versions.setdefault((folder, named["group"]), path) != path:
            raise _refusal(folder, _HUDI)


def _local_marks(folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    above: set[Path] = set()
    for folder in map(Path, folders):
        for there in {folder, folder.resolve()}:
            above |= {there, *there.parents}
    for folder in sorted(above):
        for mark, kind in _MARKS.items():
            there = any(folder.glob(mark)) if "*" in mark else (folder / mark).exists()
            if there and (mark not in _BESIDE or (folder / _BESIDE[mark]).exists()):
                yield str(folder), kind


def _store_marks(root: UPath, listing: Listing) -> Iterator[tuple[str, str]]:
    """What is below the folder has been listed; above it, and for globs, the store is asked."""
    if root.protocol in ("http", "https"):
        return  # no folders to look at
    known = {*listing.files, *listing.hidden}
    for folder in (str(above) for above in Path(root.path).parents if str(above) != "."):
        for mark in (*_MARKS, *_BESIDE.values()):
            # Stores raise errors of their own kinds where a folder may not be listed or cannot
            # exist, such as one above the repositories of the Hugging Face hub.
            with suppress(Exception):
                known |= {str(path) for path in root.fs.glob(f"{folder.rstrip('/')}/{mark}")}
    for path in sorted(known):
        for mark, kind in _MARKS.items():
            pattern = re.escape(mark).replace(r"\*", "[^/]*")
            if found := re.fullmatch(rf"(.*?)/{pattern}(?:/.*)?", path):
                folder = found[1]
                beside = mark not in _BESIDE or f"{folder}/{_BESIDE[mark]}" in known
                if beside and any(file.startswith(f"{folder}/") for file in listing.files):
                    yield folder, kind


def _refusal(folder: str, kind: str) -> InputError:
    metadata = f"{folder}/metadata/NEWEST.metadata.json"
    return InputError(
        f"{folder}: {kind}. Which of its files count is written beside them, so they are not read "
        f"on their own. Export its rows to parquet, and name the copy instead:\n"
        f"  {_EXPORTS[kind].format(folder=folder, metadata=metadata)}"
    )

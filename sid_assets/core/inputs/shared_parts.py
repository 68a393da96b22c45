"""Folders of versions that are given as input although some of their parts are elsewhere."""

from contextlib import suppress

from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.inputs.files import TableFiles
from sid_assets.core.store.parts import Part
from sid_assets.core.store.versions import MANIFEST, read_version


def require_own_parts(files: TableFiles) -> None:
    """Refuse the folder of a version of `item_embeddings` that has some parts in other folders.

    Raises:
        InputError: Reading the folder would miss the vectors in these parts.
    """
    folders = {path.rsplit("/", 1)[0] for path in files.paths if "/part-" in path}
    for folder in (files.root.with_segments(folder) for folder in sorted(folders)):
        if not (folder / MANIFEST).exists():
            continue
        parts: tuple[Part, ...] = ()
        with suppress(StoreError):  # another program's manifest
            parts = read_version(folder).parts
        if elsewhere := [part for part in parts if part.folder]:
            raise InputError(
                f"{folder}: is a version of a table on an object store, and {len(elsewhere):,} of "
                f"its {len(parts):,} parts are in the folders of earlier versions. Write the table "
                "to a folder of its own: pyarrow.dataset.write_dataset("
                "sid_assets.load(DATA_FOLDER)['item_embeddings'].to_dataset(), FOLDER, "
                "format='parquet')."
            )

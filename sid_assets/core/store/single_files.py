"""Files that are no tables, kept in versions like these: the tokenizer, the prefixes of SIDs."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sid_assets.core.store.parts import Part, file_digest
from sid_assets.core.store.places import explained, is_local
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.versions import Store, Version

Content = TypeVar("Content")


def commit_file(
    store: Store, save: Callable[[Path], None], provenance: Provenance, suffix: str
) -> Version:
    """Write a file and make it the version that readers see, at `<asset><suffix>`.

    Args:
        store: Where it goes.
        save: Writes it to a local path.
        provenance: Where it comes from; its asset is what it is called.
        suffix: Ending of its name, e.g. `.pt`.

    Raises:
        StoreError: Another run is writing it, or the place cannot be written.
    """
    with store.stage(provenance.asset) as staging:
        name = provenance.asset.rsplit("/", 1)[-1]
        path = staging.folder / f"{name}{suffix}"
        with explained(path), tempfile.TemporaryDirectory() as scratch:
            local = Path(path.path) if is_local(path) else Path(scratch, path.name)
            save(local)
            if not is_local(path):
                path.write_bytes(local.read_bytes())
        part = Part(path.name, rows=0, bytes=path.stat().st_size, digest=file_digest(path))
        return store.commit(staging, [part], provenance, layout="file", suffix=suffix)


def read_file(version: Version, load: Callable[[Path], Content]) -> Content:
    """What is in the file of a version.

    Args:
        version: What `commit_file` made.
        load: Reads it from a local path.
    """
    path = version.paths[0]
    if is_local(path):
        return load(Path(path.path))
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch, path.name)
        local.write_bytes(path.read_bytes())
        return load(local)

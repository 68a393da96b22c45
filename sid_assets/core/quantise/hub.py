"""Download of a tokenizer's checkpoint from the Hugging Face hub, with a check of its content.

The hub client caches its downloads, resumes an interrupted transfer (within a run) and compares
sizes. This module compares the content with the hash that the hub announces.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sid_assets.core.errors import InputError

SUFFIX = ".pt"
SHA256_DIGITS = 64


@dataclass(frozen=True)
class DownloadedCheckpoint:
    """A checkpoint file in the hub client's cache.

    Attributes:
        path: The file.
        repo_id: The repository it comes from.
        revision: The commit it comes from, even if a branch or tag was requested.
        filename: Its name in the repository.
    """

    path: Path
    repo_id: str
    revision: str
    filename: str


def download_checkpoint(
    repo_id: str, revision: str | None = None, filename: str | None = None
) -> DownloadedCheckpoint:
    """Download a checkpoint, or find it in the cache, and compare its content with the hub's hash.

    Without a network, or with `HF_HUB_OFFLINE=1`, only the cache is searched. The client reads
    `HF_ENDPOINT`, `HF_HOME` and `HF_TOKEN` itself.

    Args:
        repo_id: E.g. `OpenOneRec/OneRec-tokenizer`.
        revision: Branch, tag or commit; empty or None means the branch `main`.
        filename: The file to download; by default the only one whose name ends with `.pt`.

    Raises:
        InputError: There is no such repository, revision or file; there are several files to choose
            from; the content is not what the hub announced; or the hub cannot be reached and the
            cache does not hold the file.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    revision = revision or "main"
    try:
        info = HfApi().model_info(repo_id, revision=revision, files_metadata=True)
    except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise InputError(
            f"{repo_id} (revision {revision}): not found on the hub, or you have no access. Check "
            "the name and the revision; a gated repository needs HF_TOKEN."
        ) from error
    except Exception as error:  # no connection: the exception depends on the client's release
        return _from_cache(repo_id, revision, filename, error)
    files = {file.rfilename: file for file in info.siblings or []}
    name = _choose(files, filename, f"{repo_id} (revision {revision})")
    path = _fetch(repo_id, revision, name)
    large = files[name].lfs
    _require_content(path, large.sha256 if large else str(files[name].blob_id))
    return DownloadedCheckpoint(path, repo_id, str(info.sha), name)


def _fetch(repo_id: str, revision: str, filename: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        # Request the branch or tag, so that the cache can resolve it to its commit offline.
        return Path(hf_hub_download(repo_id, filename, revision=revision))
    except Exception as error:  # as above
        raise InputError(
            f"{repo_id}: {filename} could not be downloaded ({error}). Run again when the hub can "
            "be reached, or download the file by hand and give its path."
        ) from error


def _from_cache(
    repo_id: str, revision: str, filename: str | None, why: Exception
) -> DownloadedCheckpoint:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        repos = frozenset()
    for repo in repos:
        for commit in repo.revisions if repo.repo_id == repo_id else ():
            if revision in (commit.commit_hash, *commit.refs):
                files = {
                    str(file.file_path.relative_to(commit.snapshot_path).as_posix()): file
                    for file in commit.files
                }
                name = _choose(files, filename, f"{repo_id} (revision {revision}, from the cache)")
                path = files[name].file_path
                _require_content(path, files[name].blob_path.name)
                return DownloadedCheckpoint(path, repo_id, commit.commit_hash, name)
    raise InputError(
        f"{repo_id} (revision {revision}): the hub cannot be reached and the cache does not hold "
        f"it ({why}). Run once with a network, or give the path of a checkpoint."
    ) from why


def _choose(names: Iterable[str], wanted: str | None, source: str) -> str:
    """The wanted file, or the only candidate."""
    candidates = sorted(name for name in names if name.endswith(SUFFIX))
    if wanted is None and len(candidates) == 1:
        return candidates[0]
    if wanted is not None and wanted in names:
        return wanted
    found = ", ".join(candidates) or "none"
    if wanted is None and candidates:
        raise InputError(f"{source}: there are several checkpoints ({found}). Name one of them.")
    missing = wanted or f"file ending with {SUFFIX}"
    raise InputError(f"{source}: there is no {missing}. Checkpoints found: {found}.")


def _require_content(path: Path, announced: str) -> None:
    """Compare a file with its hash on the hub, and remove it from the cache if they differ.

    The hub announces a SHA-256 for large files and git's blob hash (SHA-1) for small ones.
    """
    digest: Any = hashlib.sha256()
    if len(announced) != SHA256_DIGITS:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != announced:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise InputError(
            f"{path.name}: its content (hash {digest.hexdigest()}) is not what the hub announced "
            f"({announced}), so it was removed from the cache. Run again; if this recurs, do not "
            "trust the connection or the repository."
        )

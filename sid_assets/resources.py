"""The objects that the assets use, made from the settings: embedder, tokenizer, policy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, get_args

import dagster as dg

from sid_assets.assets.placement import Placement
from sid_assets.core.devices import usable_device
from sid_assets.core.embedders import Embedder
from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder
from sid_assets.core.embedders.model_files import MAIN
from sid_assets.core.embedders.openai_server import REQUEST_TOKENS, OpenAIServerEmbedder
from sid_assets.core.embedders.qwen3 import Dtype, Qwen3Embedder
from sid_assets.core.embeddings.adopt import declared_space
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.ids import PidTypeSetting
from sid_assets.core.inputs.vector_files import VectorFiles
from sid_assets.core.quantise.codebook_size import Method
from sid_assets.core.quantise.tokenizer import TokenizerSource, tokenizer_source
from sid_assets.core.quantise.train import TrainingSettings
from sid_assets.core.ray_backend import RayBackend
from sid_assets.core.ray_options import RayOptions
from sid_assets.core.refresh import RefreshPolicy
from sid_assets.core.store.chunks import IN_THIS_PROCESS, Backend
from sid_assets.core.store.provenance import EmbeddingSpace
from sid_assets.settings import EMBEDDERS, Refresh, Settings

SERVER_TOKENISES = "server"
"""The value of `SID_EMBEDDING_TOKENIZER` that sends texts as they are."""

PLANNING_PATIENCE = 2.0
"""Roughly how many seconds a plan retries a server that is down; a run retries for longer."""

PLANNING_TIMEOUT = 20.0
"""Seconds that a plan waits for a server to answer."""

AUTOMATION_TAGS = (
    *("dagster/schedule_name", "dagster/sensor_name"),
    *("dagster/from_automation_condition", "dagster/auto_materialize"),
)
"""Tags of runs that no person started."""


def make_embedder(settings: Settings) -> Embedder:
    """The embedder that `SID_EMBEDDER` names.

    Raises:
        InputError: There is no such embedder, a setting that it needs is missing or contradicts
            another, or the device cannot be used. Codes need the device after hours of embedding.
    """
    if settings.device not in ("", "cpu") and settings.backend == "local":
        usable_device(settings.device)
    kind = settings.choice("embedder", EMBEDDERS)
    if kind == "hashing":
        return HashedWordsEmbedder()
    model = settings.require("embedding_model")
    if kind == "openai":
        tokenizer = settings.embedding_tokenizer or model
        if tokenizer == SERVER_TOKENISES and settings.embedding_tokenizer_revision:
            raise InputError(
                f"SID_EMBEDDING_TOKENIZER_REVISION={settings.embedding_tokenizer_revision} has no "
                f"effect with SID_EMBEDDING_TOKENIZER={SERVER_TOKENISES}: the server uses its own "
                "tokenizer. Unset one of them."
            )
        of_model = settings.embedding_revision if tokenizer == model else MAIN
        return OpenAIServerEmbedder(
            settings.require("embedding_url"),
            model,
            revision=settings.embedding_revision,
            tokenizer="" if tokenizer == SERVER_TOKENISES else tokenizer,
            tokenizer_revision=settings.embedding_tokenizer_revision or of_model,
            max_length=settings.max_length,
            batch_tokens=settings.batch_tokens or REQUEST_TOKENS,
            requests=settings.embedding_requests,
        )
    return Qwen3Embedder(
        model,
        revision=settings.embedding_revision,
        max_length=settings.max_length,
        device=settings.device or None,
        dtype=settings.choice("embedding_dtype", ("", *get_args(Dtype))) or None,
        batch_tokens=settings.batch_tokens or None,
    )


def require_device_to_train(settings: Settings) -> None:
    """Refuse a device that only Ray's nodes have: the tokenizer is trained here, after hours.

    Raises:
        InputError: torch has no such device in this process.
    """
    try:
        usable_device(settings.device)
    except InputError as error:
        raise InputError(
            f"SID_DEVICE={settings.device}: with SID_TOKENIZER=train, the run itself trains the "
            "tokenizer, and not Ray; its machine lacks this device. Leave SID_DEVICE empty: "
            f"actors use their GPUs all the same. {error}"
        ) from error


@contextmanager
def backend_of(settings: Settings, log: Callable[[str], None]) -> Iterator[Backend]:
    """Where chunks are computed, until the block ends.

    Args:
        settings: The settings.
        log: Receives where Ray's dashboard is, and what happens to actors.

    Raises:
        InputError: Ray is not installed, the cluster cannot be reached, or the device is one of
            several.
    """
    if settings.choice("backend", ("local", "ray")) == "local":
        yield IN_THIS_PROCESS
        return
    if ":" in settings.device:
        raise InputError(
            f"SID_DEVICE={settings.device}: with SID_BACKEND=ray, an actor sees only the GPU that "
            f"Ray gave it. Use {settings.device.partition(':')[0]}, or leave it empty."
        )
    gpus = settings.ray_gpus if settings.ray_gpus >= 0 else None
    options = RayOptions(
        address=settings.ray_address,
        actors=settings.ray_actors,
        gpus=0 if gpus is None and settings.device == "cpu" else gpus,
        cpus=settings.ray_cpus,
        memory=round(settings.ray_memory_gb * 1e9),
        retries=settings.ray_retries,
    )
    with RayBackend(options, log) as backend:
        if backend.dashboard:
            log(f"Ray's dashboard: {backend.dashboard}")
        yield backend


def ray_metadata(backend: Backend) -> dict[str, Any]:
    """The address of Ray's dashboard, if there is one."""
    url = backend.dashboard if isinstance(backend, RayBackend) else ""
    return {"ray_dashboard": dg.MetadataValue.url(url)} if url else {}


def planning_embedder(settings: Settings) -> Embedder:
    """The same embedder for a plan; it reports within seconds if a server is down.

    Raises:
        InputError: As `make_embedder`.
    """
    embedder = make_embedder(settings)
    if isinstance(embedder, OpenAIServerEmbedder):
        return replace(embedder, patience=PLANNING_PATIENCE, timeout=PLANNING_TIMEOUT)
    return embedder


def vector_files(settings: Settings, files: str, space: EmbeddingSpace) -> VectorFiles | None:
    """Existing vectors that may be adopted; None if no files are named.

    Args:
        settings: The settings.
        files: A file, folder or glob; "" for none.
        space: The embedder's embedding space.

    Raises:
        InputError: They are not declared to be in the embedder's space.
    """
    if not files:
        return None
    declared_space(settings.require("embeddings_space"), space)
    return VectorFiles(files, settings.choice("pid_type", get_args(PidTypeSetting)))


def training_settings(settings: Settings) -> TrainingSettings:
    """How a tokenizer is to be trained, if `SID_TOKENIZER` is `train`.

    Raises:
        InputError: There is no such method.
    """
    return TrainingSettings(
        method=settings.choice("training", ("", *get_args(Method))),
        inequality=settings.training_inequality,
        codebook_size=settings.codebook_size,
        iterations=settings.training_iterations,
        seed=settings.seed,
        restarts=settings.training_restarts,
        points_per_centroid=settings.points_per_centroid,
    )


def wanted_tokenizer(settings: Settings) -> TokenizerSource:
    """The tokenizer that `SID_TOKENIZER` names."""
    return tokenizer_source(
        settings.require("tokenizer"),
        settings.tokenizer_revision,
        asdict(training_settings(settings)),
    )


def policy_of(
    context: Any, settings: Settings, refresh: Refresh, placement: Placement
) -> RefreshPolicy:
    """The policy of this run: what it may do.

    Raises:
        InputError: A run that a schedule, sensor or automation condition started asks for what only
            people may allow.
    """
    run_tags = context.run.tags
    automatic = [tag for tag in AUTOMATION_TAGS if tag in run_tags]
    if automatic and (refresh.new_generation or refresh.allow_large_change):
        raise InputError(
            f"A run of {run_tags[automatic[0]]} may not set new_generation or "
            "allow_large_change, which move or remove published SIDs. Launch such a run by hand."
        )
    return RefreshPolicy(
        new_generation=refresh.new_generation,
        allow_large_change=refresh.allow_large_change,
        max_changed_share=settings.max_changed_share,
        resource=placement.named("refresh"),
    )

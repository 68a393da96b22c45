"""Every setting, with its default and description, stated once.

A setting is an environment variable (or a line in `.env`), and a field of the resource `settings`
in the launchpad. The table in `docs/settings.md` and the `.env` of `sid-assets init` are generated
from this file.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Self, get_args

import dagster as dg
from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    create_model,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from sid_assets import sample
from sid_assets.core.embedders.qwen3 import Dtype
from sid_assets.core.environment import merged_environment, refuse_shell_quotes
from sid_assets.core.errors import InputError
from sid_assets.core.events.rules import Split
from sid_assets.core.inputs.ids import PidTypeSetting
from sid_assets.core.refresh import RefreshPolicy
from sid_assets.core.schema import CODE_LAYERS, MAX_CODEBOOK_SIZE
from sid_assets.core.store.store import Store
from sid_assets.setting_types import Cron, Device, ServerUrl, TimeZone
from sid_assets.variables import SECRETS, WEBHOOK_VARIABLE, require_known, variable

DEPLOYMENTS = ("demo", "onerec")
SAMPLE_COMPANIONS = ("events", "captions")
"""Settings whose default applies to the sample's catalog only."""

EMBEDDERS = ("hashing", "qwen3", "openai")

LARGEST_SEED = 2**31 - CODE_LAYERS
"""Layer l is trained with the seed plus l, and faiss takes seeds up to 2**31 - 1."""

ENV_VARS = (dg.EnvVar, type(dg.EnvVar.int("")))
"""Dagster's variables: they get their values in a run, which are then checked."""

DEFAULT_TEMPLATE = "Title: {title}\nDescription: {description}\nCategory: {category}"


def _setting(
    description: str,
    demo: Any,
    onerec: Any = ...,
    shown: str = "",
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    words: tuple[str, ...] = (),
) -> Any:
    """A field with a default for each deployment, and with the values that it may have.

    Args:
        description: One or two sentences for the docs and the launchpad. The range of a number is
            added.
        demo: Default in the deployment `demo`.
        onerec: Default in the deployment `onerec`, if it differs.
        shown: The default as shown in the docs, if its value would not be informative.
        at_least: The smallest number; every number has one.
        at_most: The largest number, if there is one.
        words: All values, if there are only a few; "" stands for an empty value.
    """
    defaults = {"demo": demo, "onerec": demo if onerec is ... else onerec, "shown": shown}
    extra: dict[str, Any] = {"defaults": defaults, "words": list(words)}
    if at_least is None:
        return Field(default=demo, description=description, json_schema_extra=extra)
    reach = _range(at_least, at_most, whole=isinstance(demo, int))
    return Field(
        default=demo,
        description=f"{description} {reach.capitalize()}.",
        json_schema_extra={**extra, "range": reach},
        ge=at_least,
        le=at_most,
        allow_inf_nan=False,
    )


def _range(at_least: float, at_most: float | None, *, whole: bool) -> str:
    low, high = (
        "" if limit is None else f"{int(limit):,}" if whole else f"{limit:g}"
        for limit in (at_least, at_most)
    )
    return f"from {low} to {high}" if high else f"{low} or more"


class Settings(dg.ConfigurableResource):
    """All settings: `Settings(deployment="onerec", catalog="items.parquet")` in code, or
    `Settings.from_environment()` from variables. The launchpad may override both, except for the
    deployment, which decides the graph.

    A setting that is not given has the default of its deployment.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    has_values_as_defaults: ClassVar[bool] = False
    """Whether this is the class of one instance; see `__new__`."""

    deployment: str = _setting(
        "`demo`: vectors from hashed words, a small tokenizer trained on them, one process; "
        "OneRec's models cannot use its SIDs. `onerec`: Qwen3-Embedding-8B and OneRec's "
        "tokenizer, one process per step.",
        "demo",
    )
    data_dir: str = _setting("Where all tables are written: a folder or any fsspec URL.", "data")
    catalog: str = _setting(
        "The items: a file, folder or glob of parquet, CSV or JSON lines.",
        str(sample.CATALOG),
        "",
        shown="the sample in demo; required in onerec",
    )
    events: str = _setting(
        "A log of what users did, an event a row (user, item, time): a file, folder or glob of "
        "parquet, CSV or JSON lines. The asset `interactions` is made from it. Set but empty means "
        "none.",
        str(sample.EVENTS),
        "",
        shown="the sample's with the sample's catalog, else none",
    )
    event_user: str = _setting("The column of users in the log.", "user_id")
    event_item: str = _setting(
        "The column of items in the log; ids are written as in the catalog.", "item_id"
    )
    event_time: str = _setting("The column of times in the log.", "timestamp")
    event_order: str = _setting(
        "A column of numbers that orders the events of a user at the same time. Empty: they are "
        "ordered by a hash that depends on `SID_SEED`.",
        "",
    )
    event_delimiter: str = _setting(
        "What separates the values of a log in text files, such as `::`. Empty: as the name of the "
        "file says.",
        "",
    )
    event_header: str = _setting(
        "The names of the columns, separated by commas, if the log's files have no header line.", ""
    )
    event_time_format: str = _setting(
        "`s`, `ms`, `us` or `ns` since 1970, or a format of strptime such as `%Y%m%d`. Empty: "
        "found out from the values, which may be ISO text.",
        "",
    )
    event_timezone: TimeZone = _setting(
        "The time zone of times in the log that name none, and of days.", "UTC"
    )
    event_labels: str = _setting(
        "Labels as conditions on columns of the log: `like: rating >= 4; longview: watch_ms >= "
        "10000 and type == 'view'`. Only comparisons, `and` and `or`.",
        "",
    )
    event_keywords: str = _setting(
        "A column of the catalog, such as a brand or a category: its values are the words that "
        "users search for in `sft_interactive_rec_dataset`, and the answers are targets with this "
        "value. Empty: none.",
        "",
    )
    event_split: str = _setting(
        "How rows are split. `time`: those whose targets lie before a time are for training (split "
        "0). `leave_last`: the last row of each user is for evaluation; it leaks the future of one "
        "user into the training of others.",
        "time",
        words=get_args(Split),
    )
    event_split_at: str = _setting(
        "With `time`, the time from which on targets are for evaluation, as ISO text. Empty: the "
        "time that leaves `SID_EVENT_TEST_SHARE` of the events.",
        "",
    )
    event_test_share: float = _setting(
        "The share of the events that are for evaluation.", 0.1, at_least=0.0001, at_most=0.9999
    )
    event_session_minutes: int = _setting(
        "A longer pause starts a new session of a user; a row is a session. Where times are days, "
        "a day is a session. 0: events at the same time are one.",
        30,
        at_least=0,
        at_most=10**7,
    )
    event_most_targets: int = _setting(
        "A row has at most this many targets, the first of its session.",
        10,
        at_least=1,
        at_most=512,
    )
    event_most_history: int = _setting(
        "A row has at most this many items of history, the last before its session.",
        512,
        at_least=1,
        at_most=2**20,
    )
    event_rows_per_user: int = _setting(
        "The newest rows of a user that are kept.", 20, at_least=1, at_most=10**6
    )
    event_fewest: int = _setting(
        "Users with fewer events are left out.", 2, at_least=1, at_most=10**6
    )
    event_core: int = _setting(
        "Keep only users and items with this many events before the split, counted again until "
        "none is dropped. 0: keep all.",
        0,
        at_least=0,
        at_most=10**6,
    )
    interactions: str = _setting(
        "The users' interactions, a row a sample: a file, folder or glob of parquet, CSV or JSON "
        "lines. Set but empty means none. Without interactions or events, the training sets made "
        "from them are skipped.",
        "",
    )
    captions: str = _setting(
        "Captions of items (`pid`, `dense_caption`), as parquet. Set but empty means none. "
        "Without captions, the training sets made from them are skipped.",
        str(sample.CAPTIONS),
        "",
        shown="the sample's with the sample's catalog, else none",
    )
    goods_catalog: str = _setting(
        "A second catalog, of goods, with the same columns and independent ids. Goods get semantic "
        "IDs under `goods/`, from the same embedder and tokenizer, "
        "and sft_product_rec_dataset is made.",
        "",
    )
    text_template: str = _setting(
        "Template of an item's text, with column names in braces. A line whose value is null or "
        "blank is left out.",
        DEFAULT_TEMPLATE,
        shown="Title / Description / Category",
    )
    csv_quoting: str = _setting(
        "How CSV and TSV catalogs are written. `quoted`: quotes enclose values where needed. "
        "`none`: a quote is part of the value. `auto`: found out for each file.",
        "auto",
    )
    text_rules: str = _setting(
        "The rules by which values become text: `2`; `2-html`, where values are HTML, to keep its "
        "text without tags; or `1` to make the texts of version 0.1 again. The latter differ in "
        "structs, in TSV without quoting, and in `\\N`.",
        "2",
    )
    pid_column: str = _setting("The column of item ids in the catalog.", "pid")
    pid_type: str = _setting(
        "`int`, `string`, or `auto`: int64 if every id is an integer without leading zeros, else "
        "string. Catalog, interactions and captions must agree.",
        "auto",
        words=get_args(PidTypeSetting),
    )
    embedder: str = _setting(
        "`hashing`: hashed words, no model. `qwen3`: a Qwen3-Embedding model in this process. "
        "`openai`: a server with the OpenAI API.",
        "hashing",
        "qwen3",
        words=EMBEDDERS,
    )
    embedding_model: str = _setting(
        "The embedding model: a name on the Hugging Face hub or a folder; for a server, the name "
        "it uses for the model.",
        "Qwen/Qwen3-Embedding-8B",
    )
    embedding_revision: str = _setting("Branch, tag or commit of the embedding model.", "main")
    embedding_url: ServerUrl = _setting(
        "Base URL of the server for `SID_EMBEDDER=openai`. The API key is read from "
        "OPENAI_API_KEY, in the environment or `.env`.",
        "",
    )
    embedding_tokenizer: str = _setting(
        "For a server: the hub name or folder of the model whose tokenizer tokenises and truncates "
        "texts locally; they are sent as token ids. Empty: `SID_EMBEDDING_MODEL`. `server`: texts "
        "are sent unchanged, for servers that do not accept token ids.",
        "",
    )
    embedding_tokenizer_revision: str = _setting(
        "Branch, tag or commit of `SID_EMBEDDING_TOKENIZER`; empty: `SID_EMBEDDING_REVISION` for "
        "the model's own tokenizer, else `main`.",
        "",
    )
    embedding_dtype: str = _setting(
        "`bfloat16`, `float16` or `float32`; empty: bfloat16 on GPUs that support it, else "
        "float32.",
        "",
        words=("", *get_args(Dtype)),
    )
    batch_tokens: int = _setting(
        "Tokens in a batch, or in one request to a server; 0: 768 on a CPU, else 16384. A longer "
        "text is embedded alone.",
        0,
        at_least=0,
        at_most=2**24,
    )
    embedding_requests: int = _setting(
        "Number of concurrent requests to the server.", 8, at_least=1, at_most=1024
    )
    embeddings: str = _setting(
        "Existing vectors: a parquet file, folder or glob (`pid`, `embedding`: lists of 4096 "
        "floats). Items without a vector take theirs from here by id, whatever their text. Items "
        "that are not in these files, and items whose text changes later, are embedded.",
        "",
    )
    embeddings_space: str = _setting(
        'The embedding space of the vectors in `SID_EMBEDDINGS`, as JSON: `{"model": ...}`, with '
        "`revision`, `max_length` and so on if known. Each value must equal that of the embedder "
        "(`embedding_space` in the metadata of item_embeddings). Most of this cannot be verified: "
        "a run that embeds any text compares eight of the vectors with the embedder's, and stops "
        "if all eight differ.",
        "",
    )
    device: Device = _setting(
        "The device for quantising and for models in this process: `cuda`, `cpu`, ...; empty: "
        "cuda if available.",
        "",
    )
    backend: str = _setting(
        "Where embedding and quantising are computed. `local`: in the process of the step. `ray`: "
        "by Ray actors, on all GPUs of a machine or on several machines.",
        "local",
        words=("local", "ray"),
    )
    ray_address: str = _setting(
        "The Ray cluster: `auto`, `host:port` or `ray://host:port`; empty: Ray is started on this "
        "machine for the step.",
        "",
    )
    ray_actors: int = _setting(
        "Number of Ray actors. 0: as many as the cluster has room for when the step starts.",
        0,
        at_least=0,
        at_most=10**5,
    )
    ray_gpus: float = _setting(
        "GPUs of an actor, which may be a fraction. -1: one if the cluster has GPUs, unless "
        "`SID_DEVICE` is `cpu`.",
        -1.0,
        at_least=-1,
        at_most=64,
    )
    ray_cpus: float = _setting(
        "CPUs of an actor, and its threads. 0: two, or all of the largest node if it has fewer.",
        0.0,
        at_least=0,
        at_most=4096,
    )
    ray_memory_gb: float = _setting(
        "Memory that Ray reserves for an actor, in GB. 0: none.", 0.0, at_least=0, at_most=10**5
    )
    ray_retries: int = _setting(
        "How often a chunk is given to another actor when its actor dies.",
        3,
        at_least=0,
        at_most=1000,
    )
    max_length: int = _setting(
        "Maximum length of a text in tokens; longer texts are truncated.",
        8192,
        at_least=2,
        at_most=2**20,
    )
    max_changed_share: float = _setting(
        "Stop a refresh that would change or remove more than this share of the items.",
        0.3,
        at_least=0,
        at_most=1,
    )
    tokenizer: str = _setting(
        "The residual k-means tokenizer: a repository on the Hugging Face hub, a `.pt` file, or "
        "`train`.",
        "train",
        "OpenOneRec/OneRec-tokenizer",
    )
    tokenizer_revision: str = _setting("Branch, tag or commit of a tokenizer on the hub.", "main")
    training: str = _setting(
        "How a tokenizer is trained: `balanced`, so that the codes of a layer are used about "
        "equally, or `kmeans`; empty: as the tokenizer that is there, else `kmeans`.",
        "",
        shown="`kmeans`, where no tokenizer is there",
        words=("", "balanced", "kmeans"),
    )
    training_inequality: float = _setting(
        "With `balanced`, in training a centroid gets at most this many times the equal share of "
        "the vectors, and at least the equal share divided by it.",
        1.5,
        at_least=1,
        at_most=1000,
    )
    codebook_size: int = _setting(
        "Centroids per layer, when the tokenizer is trained. 0: as the tokenizer that is there, "
        "else chosen from the number of items.",
        0,
        at_least=0,
        at_most=MAX_CODEBOOK_SIZE,
    )
    max_items_per_sid: int = _setting(
        "At most this many items get the same SID: where the SID of an item's codes is taken, its "
        "third code is replaced. 0: any number, as OneRec's programs do.",
        0,
        at_least=0,
        at_most=10**6,
    )
    no_room: str = _setting(
        "What happens where all SIDs with the first two codes of an item are taken. `error`: the "
        "run stops. `share`: the item shares the SID of its codes.",
        "error",
        words=("error", "share"),
    )
    on_text_change: str = _setting(
        "The SID of an item whose text changes so that it has other codes. `requantise`: that of "
        "the new codes. `keep`: the SID that is published.",
        "requantise",
        words=("requantise", "keep"),
    )
    align_generations: bool = _setting(
        "When a tokenizer is trained again in the same embedding space, number its centroids so "
        "that as many items as possible keep their codes.",
        True,
    )
    removed_in_histories: bool = _setting(
        "Histories in training data spell the SIDs of items that are no longer in the catalog. "
        "Targets never do.",
        True,
    )
    max_collision_share: float = _setting(
        "Warn if more than this share of the items share their SID with another item.",
        0.3,
        at_least=0,
        at_most=1,
    )
    min_utilisation: float = _setting(
        "Warn if a layer uses less than this share of the codes it could use.",
        0.5,
        at_least=0,
        at_most=1,
    )
    max_error_ratio: float = _setting(
        "Warn if the reconstruction error is more than this many times the error in the "
        "tokenizer's training.",
        1.2,
        at_least=0,
    )
    quality_column: str = _setting(
        "A column of the catalog, such as a category: `sid_quality` measures whether items that "
        "share codes have the same value of it. Empty: none.",
        "",
    )
    training_iterations: int = _setting(
        "Iterations of k-means per layer, when the tokenizer is trained.",
        10,
        20,
        at_least=1,
        at_most=1000,
    )
    training_restarts: int = _setting(
        "With `kmeans`, restarts per layer; the best result is kept. 0: as the tokenizer that is "
        "there, else 3 with at most 256 centroids, and 1 with more.",
        0,
        at_least=0,
        at_most=1000,
    )
    points_per_centroid: int = _setting(
        "Training vectors per centroid. With 8192 centroids, 64 take 9.5 GB of memory.",
        64,
        at_least=1,
        at_most=10**6,
    )
    seed: int = _setting(
        "Seed of all random choices: training samples, prompts. A different seed trains a "
        "different tokenizer.",
        0,
        at_least=0,
        at_most=LARGEST_SEED,
    )
    prompts: str = _setting(
        "The wordings of prompts: `zh`, Chinese and about videos, as OneRec's models were trained; "
        "`en`, English and about items; or a YAML file, each list of which replaces the Chinese "
        "list of that name.",
        "zh",
    )
    shuffle: bool = _setting(
        "Also write the rows of a phase's training data sets, shuffled, to one table, and list the "
        "files of that table for the loader instead.",
        False,
    )
    schedule: Cron = _setting(
        "When the scheduled refresh runs (cron).",
        "0 3 * * *",
    )
    timezone: TimeZone = _setting("Time zone of the schedule.", "UTC")
    automation: str = _setting(
        "What a changed catalog starts, once its sensor is switched on. `sensor`: a run of the "
        "job. `conditions`: the sensor only records the new data version, and each asset has the "
        "automation condition `eager`.",
        "sensor",
        words=("sensor", "conditions"),
    )
    fresh_hours: int = _setting(
        "Hours after which `pid2sid` counts as stale in the UI (freshness policy). 0: no policy.",
        0,
        at_least=0,
        at_most=10**5,
    )
    owners: str = _setting(
        "Owners of the assets: e-mail addresses or `team:name`, separated by commas.", ""
    )
    tags: str = _setting("Tags of the assets, such as `domain=video, tier=1`.", "")

    def __new__(cls, **values: Any) -> Self:
        """Create an instance of a class whose defaults are the instance's values.

        Dagster resets a field that is not given, or that equals the default, to the default of the
        class. So the class of an instance must have the instance's own values as defaults.

        Raises:
            InputError: There is no such deployment or setting, or a value is wrong.
        """
        if cls.has_values_as_defaults:  # Dagster is copying an instance
            return super().__new__(cls)
        deployment = values.get("deployment", cls.model_fields["deployment"].default)
        _require_fields(values, cls)
        try:
            checked = _with_defaults(cls, **_defaults(cls, deployment))(**values)
        except ValidationError as error:
            raise InputError(messages_of(error)) from None
        return super().__new__(_with_defaults(cls, **dict(checked)))

    @classmethod
    def configure_at_launch(cls, **values: Any) -> Any:
        """The settings as a resource that the launchpad may override: it shows these values."""
        if cls.has_values_as_defaults:
            return super().configure_at_launch(**values)
        return type(cls(**values)).configure_at_launch()

    @field_validator("*", mode="wrap")
    @classmethod
    def _has_its_form(
        cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        """Require a value that its field allows. Dagster shows the error, without our frames."""
        if isinstance(value, ENV_VARS):
            return value
        name = str(info.field_name)
        field = cls.model_fields[name]
        try:
            checked = handler(value)
        except ValidationError as error:
            raise _wrong(name, value, _must_be(field, error)) from None
        words = _extra(field).get("words")
        if words and checked not in words:
            raise _refused(_not_one_of(name, value, words))
        return checked

    @field_validator("deployment")
    @classmethod
    def _same_deployment(cls, value: str) -> str:
        made_for = cls.model_fields["deployment"].default
        if value != made_for:
            raise _refused(
                f"{variable('deployment')}={value}: a run cannot change the deployment, and the "
                f"graph was loaded for {made_for}. Set {variable('deployment')} in the environment "
                "or .env, and restart Dagster."
            )
        return value

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings from the environment, and from `.env` in the working folder.

        An empty variable counts as not set. An exception: empty events or captions turn off those
        of the sample.

        Args:
            environment: Variables to read instead; `.env` is then ignored.

        Raises:
            InputError: A variable with our prefix is not a setting, or its value is wrong.
        """
        environment = merged_environment() if environment is None else environment
        _refuse_permissions(environment)
        require_known(environment, map(variable, cls.model_fields))
        values: dict[str, Any] = {}
        for name in cls.model_fields:
            value = environment.get(variable(name))
            refuse_shell_quotes(variable(name), value or "")
            if value or (value == "" and name in SAMPLE_COMPANIONS):
                values[name] = value
        return cls(**values)

    def changed(self, **values: Any) -> "Settings":
        """The same settings but for these values."""
        kept = {name: getattr(self, name) for name in Settings.model_fields}
        return Settings(**{**kept, **values})

    def below(self, *names: str) -> str:
        """A path below the data folder, when the graph is loaded.

        Raises:
            InputError: The data folder is a variable, which has its value in a run only.
        """
        if type(self.data_dir) is not str:  # but the name of a variable
            raise InputError(
                "data_dir must be a text where there is a key prefix, or an input that is copied: "
                "both are folders in it. Read the variable yourself: data_dir=os.environ[...]."
            )
        return "/".join([self.data_dir.rstrip("/") or "/", *names])

    def owner_list(self) -> list[str]:
        """The owners of assets."""
        return [owner.strip() for owner in self.owners.split(",") if owner.strip()]

    def tag_map(self) -> dict[str, str]:
        """The tags of assets: name and value.

        Raises:
            InputError: One has no name.
        """
        tags = [tag.partition("=") for tag in self.tags.split(",") if tag.strip()]
        if any(not name.strip() for name, _, _ in tags):
            raise InputError(f"{variable('tags')}={self.tags}: a tag has no name.")
        return {name.strip(): value.strip() for name, _, value in tags}

    def store(self) -> Store:
        """Where the tables are."""
        return Store(self.data_dir)

    def of_catalog(self, name: str) -> str:
        """A setting that names an input; "" if there is none for the catalog.

        The sample's apply to the sample's catalog only, even if the launchpad names another one.
        """
        value = getattr(self, name)
        samples = str(getattr(sample, name.upper(), None))
        return "" if value == samples and self.catalog != str(sample.CATALOG) else value

    def require(self, name: str) -> str:
        """The value of a text setting that must not be empty.

        Raises:
            InputError: It is empty.
        """
        value = getattr(self, name)
        if not value:
            description = type(self).model_fields[name].description
            raise InputError(f"{variable(name)} is not set. {description}")
        return value

    def choice(self, name: str, words: tuple[str, ...]) -> Any:
        """The value of a setting that must be one of a few words.

        Raises:
            InputError: It is not one of them.
        """
        value = getattr(self, name)
        if value not in words:
            raise InputError(_not_one_of(name, value, words))
        return value


class Refresh(dg.ConfigurableResource):
    """Permissions for one run: run config, never environment variables."""

    new_generation: bool = Field(
        default=False,
        description="Allow a different embedding space or tokenizer. This moves every SID: models "
        "trained on the old SIDs no longer understand them.",
    )
    allow_large_change: bool = Field(
        default=False,
        description="Allow a larger share of the items to change or vanish than "
        "SID_MAX_CHANGED_SHARE.",
    )


def _defaults(settings: type[Settings], deployment: Any) -> dict[str, Any]:
    """The defaults of a deployment; fields that were not made by `_setting` keep their own."""
    if type(deployment) is not str:  # Dagster's EnvVar, for example, is resolved in a run only
        raise InputError(
            "The deployment must be known when the settings are made: give one of "
            f"{', '.join(DEPLOYMENTS)}, or use Settings.from_environment() to read "
            f"{variable('deployment')}."
        )
    if deployment not in DEPLOYMENTS:
        raise InputError(_not_one_of("deployment", deployment, DEPLOYMENTS))
    defaults = {
        name: defaults_of(field)[deployment]
        for name, field in settings.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and "defaults" in field.json_schema_extra
    }
    return {**defaults, "deployment": deployment}


@cache
def _with_defaults(settings: type[Settings], /, **defaults: Any) -> Any:
    """A subclass with these defaults, cached so that equal settings compare equal."""
    fields: dict[str, Any] = {
        name: (Annotated[field.annotation, field], defaults[name])
        for name, field in settings.model_fields.items()
        if name in defaults
    }
    made = create_model(settings.__name__, __base__=settings, **fields)
    made.has_values_as_defaults = True
    return made


def messages_of(error: ValidationError) -> str:
    """What is wrong with settings, one sentence for each."""
    return " ".join(found["msg"] for found in error.errors())


def defaults_of(field: FieldInfo) -> dict[str, Any]:
    """A field's default for each deployment, and the default as shown in the docs."""
    return _extra(field)["defaults"]


def shown_default(field: FieldInfo) -> str:
    """A field's default as shown in the docs; "" if it is empty."""
    defaults = defaults_of(field)
    if defaults["shown"]:
        return defaults["shown"]
    demo, onerec = (f"`{defaults[name]}`" if defaults[name] != "" else "" for name in DEPLOYMENTS)
    return demo if demo == onerec else f"{demo} in demo, {onerec} in onerec"


def table() -> str:
    """The settings as a Markdown table."""
    lines = ["| setting | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `{variable(name)}` | {shown_default(field)} | {field.description} |")
    for name, description in SECRETS.items():
        lines.append(f"| `{name}` |  | A secret, not a setting. {description} |")
    return "\n".join(lines)


def _extra(field: FieldInfo) -> dict[str, Any]:
    """What `_setting` stored in a field; empty for a field of a subclass."""
    extra = field.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def _require_fields(names: Iterable[str], settings: type[Settings]) -> None:
    """Require that these are settings; the webhook was one in earlier versions."""
    unknown = [name for name in names if name not in settings.model_fields]
    if any(variable(name) == WEBHOOK_VARIABLE for name in unknown):
        raise InputError(
            f"failure_webhook is a secret and no setting: settings are stored with every run. "
            f"Set {WEBHOOK_VARIABLE} in the environment or .env."
        )
    if unknown:
        raise InputError(f"{', '.join(unknown)}: no such setting.")


def _refuse_permissions(environment: Mapping[str, str]) -> None:
    """Refuse permissions in the environment, where they would hold for every run."""
    for name in Refresh.model_fields.keys() & RefreshPolicy.__dataclass_fields__.keys():
        if variable(name) in environment:
            raise InputError(
                f"{variable(name)}: no such setting. It is a permission for one run: give it with "
                f"the run config {RefreshPolicy().run_config(name)}."
            )


def _must_be(field: FieldInfo, error: ValidationError) -> str:
    """What a value of a field must be; types with a form of their own say it themselves."""
    if reach := _extra(field).get("range"):
        return f"a {'whole ' if field.annotation is int else ''}number {reach}"
    if field.annotation is bool:
        return "true or false"
    found = error.errors()[0]
    return str(found.get("ctx", {}).get("error", "a text"))


def _wrong(name: str, value: Any, must_be: str) -> PydanticCustomError:
    shown = "..." if "@" in str(value) else value  # it may be the password in a URL
    return _refused(f"{variable(name)}={shown}: must be {must_be}.")


def _refused(message: str) -> PydanticCustomError:
    return PydanticCustomError("setting", "{message}", {"message": message})


def _not_one_of(name: str, value: Any, words: Iterable[str]) -> str:
    known = ", ".join(word or "(empty)" for word in words)
    return f"{variable(name)}={value}: not one of {known}."

"""Every setting, with its default and description, stated once.

A setting is an environment variable (or a line in `.env`), and a field of the resource `settings`
in the launchpad. The table in the README is made from this file.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import Field, create_model
from pydantic.fields import FieldInfo

from sid_assets import sample
from sid_assets.core.environment import merged_environment
from sid_assets.core.errors import InputError
from sid_assets.core.store.store import Store

PREFIX = "SID_"
DEPLOYMENTS = ("demo", "onerec")
NO_SETTINGS = {"SID_TEST_DATA"}
"""Variables with our prefix that are none of these settings: where the tests find catalogs."""

SAMPLE_COMPANIONS = ("interactions", "captions")
"""Settings whose default goes with the sample's catalog, and with no other."""

DEFAULT_TEMPLATE = "Title: {title}\nDescription: {description}\nCategory: {category}"


def _setting(description: str, demo: Any, onerec: Any = ..., shown: str = "") -> Any:
    """A field with a default for each deployment.

    Args:
        description: One or two sentences for the README and the launchpad.
        demo: Default in the deployment `demo`.
        onerec: Default in the deployment `onerec`, where it is another one.
        shown: How the README writes the default, where its value would say little.
    """
    defaults = {"demo": demo, "onerec": demo if onerec is ... else onerec, "shown": shown}
    return Field(default=demo, description=description, json_schema_extra={"defaults": defaults})


class Settings(dg.ConfigurableResource):
    """What the user sets. `from_environment` reads it; the launchpad may override it."""

    deployment: str = _setting(
        "`demo`: hashed words for vectors, a small tokenizer trained on them, one process; its "
        "SIDs are of no use to OneRec's models. `onerec`: Qwen3-Embedding-8B and OneRec's "
        "tokenizer, a process a step.",
        "demo",
    )
    data_dir: str = _setting("Where all tables go: a folder or any fsspec URL.", "data")
    catalog: str = _setting(
        "The items: a file, a folder or a glob of parquet, CSV or JSON lines.",
        str(sample.CATALOG),
        "",
        shown="the sample in demo; required in onerec",
    )
    interactions: str = _setting(
        "The users' interactions: parquet, a file, a folder or a glob. Without them the training "
        "sets made from them are skipped.",
        str(sample.INTERACTIONS),
        "",
        shown="the sample's, for the sample; else none",
    )
    captions: str = _setting(
        "Captions of items (`pid`, `dense_caption`): parquet. Without them the training sets made "
        "from them are skipped.",
        str(sample.CAPTIONS),
        "",
        shown="the sample's, for the sample; else none",
    )
    goods_catalog: str = _setting(
        "Goods, whose ids are a space of their own, with the columns of the catalog: makes them "
        "semantic IDs under `goods/`, with the same embedder and tokenizer, and "
        "sft_product_rec_dataset.",
        "",
    )
    text_template: str = _setting(
        "How an item becomes a text: plain field names in braces. A field that is null or blank "
        "takes its line with it.",
        DEFAULT_TEMPLATE,
        shown="Title / Description / Category",
    )
    pid_column: str = _setting("The catalog's column of item ids.", "pid")
    pid_type: str = _setting(
        "`int`, `string`, or `auto`: int64 where every id is an integer and none has leading "
        "zeros, else string. Catalog, interactions and captions must agree.",
        "auto",
    )
    embedder: str = _setting(
        "`hashing`: hashed words, no model. `qwen3`: a Qwen3-Embedding model in this process. "
        "`openai`: a server with the OpenAI API.",
        "hashing",
        "qwen3",
    )
    embedding_model: str = _setting(
        "The embedding model: a name on the Hugging Face hub or a folder; of a server, the name "
        "that it goes by there.",
        "Qwen/Qwen3-Embedding-8B",
    )
    embedding_revision: str = _setting("Branch, tag or commit of the embedding model.", "main")
    embedding_url: str = _setting(
        "Base URL of the server for `SID_EMBEDDER=openai`; its key is read from OPENAI_API_KEY, in "
        "the environment or `.env`.",
        "",
    )
    embedding_tokenizer: str = _setting(
        "For a server: the model on the hub, or the folder, with whose tokenizer texts are cut and "
        "ended here before they are sent as token ids; empty: `SID_EMBEDDING_MODEL`. `server`: "
        "they are sent as they are, for servers that take no token ids.",
        "",
    )
    embedding_tokenizer_revision: str = _setting(
        "Branch, tag or commit of `SID_EMBEDDING_TOKENIZER`; empty: `SID_EMBEDDING_REVISION` where "
        "it is the model's own, else `main`.",
        "",
    )
    embedding_dtype: str = _setting(
        "`bfloat16`, `float16` or `float32`; empty: bfloat16 on GPUs that have it, else float32.",
        "",
    )
    batch_tokens: int = _setting(
        "Tokens that are embedded together, or sent to a server in one request; 0: 768 on a CPU, "
        "else 16384. A longer text is embedded alone.",
        0,
    )
    embedding_requests: int = _setting("Requests to the server in flight.", 8)
    embeddings: str = _setting(
        "Vectors that exist already: a file, a folder or a glob of parquet (`pid`, `embedding`: "
        "lists of 4096 floats). Items that have no vector yet take theirs from here by their id, "
        "whatever their text; the others, and items whose text changes later, are embedded.",
        "",
    )
    embeddings_space: str = _setting(
        'What made the vectors of `SID_EMBEDDINGS`, as JSON: `{"model": ...}`, and what else is '
        "known of `revision`, `max_length`, ... Each must equal what the embedder says of itself "
        "(`embedding_space` in the metadata of item_embeddings). It is you who vouches for them; "
        "where a run embeds something, it compares eight of them with what the embedder gives, and "
        "stops where all differ.",
        "",
    )
    device: str = _setting(
        "Where models in this process and quantising run: `cuda`, `cpu`, ...; empty: cuda where "
        "there is one.",
        "",
    )
    max_length: int = _setting("Longest text in tokens; longer ones are cut.", 8192)
    max_changed_share: float = _setting(
        "A refresh in which more than this share of the items would change or vanish stops.", 0.3
    )
    tokenizer: str = _setting(
        "The residual k-means tokenizer: a repository on the Hugging Face hub, a `.pt` file, or "
        "`train`.",
        "train",
        "OpenOneRec/OneRec-tokenizer",
    )
    tokenizer_revision: str = _setting("Branch, tag or commit of a tokenizer on the hub.", "main")
    codebook_size: int = _setting(
        "Centroids a layer, only where the tokenizer is trained; at most 8192.", 256, 8192
    )
    max_collision_share: float = _setting(
        "Warn where more than this share of the items share their SID with others.", 0.3
    )
    min_utilisation: float = _setting(
        "Warn where a layer uses less than this share of the codes it could.", 0.5
    )
    max_error_ratio: float = _setting(
        "Warn where the reconstruction error is more than this many times that of the "
        "tokenizer's training.",
        1.2,
    )
    training_iterations: int = _setting(
        "Rounds of k-means a layer, where the tokenizer is trained.", 10, 20
    )
    training_restarts: int = _setting(
        "Times k-means begins anew a layer; the best result is kept.", 3, 1
    )
    points_per_centroid: int = _setting(
        "Vectors to train on for each centroid; with 8192 centroids 64 take 9.5 GB of memory.", 64
    )
    seed: int = _setting(
        "Seed of all that is drawn: training samples, prompts. A trained tokenizer is another one "
        "with another seed.",
        0,
    )
    prompts: str = _setting(
        "A YAML file of wordings that take the place of those of this package, list by list.", ""
    )
    shuffle: bool = _setting(
        "Shuffle the rows of a stage's training data sets into one more table, and list its files "
        "for the loader instead of theirs.",
        False,
    )
    schedule: str = _setting("When the schedule refreshes (cron).", "0 3 * * *")
    timezone: str = _setting("Time zone of the schedule.", "UTC")
    failure_webhook: str = _setting(
        "A URL that gets a JSON POST when a run of the refresh job fails; empty: none.", ""
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings from the environment, and from `.env` in the working folder.

        Args:
            environment: Variables to read instead; `.env` is then left alone.

        Raises:
            InputError: A variable with our prefix names no setting, or a value is not of its type.
        """
        environment = merged_environment() if environment is None else environment
        _require_known(environment)
        deployment = environment.get("SID_DEPLOYMENT") or "demo"
        cls(deployment=deployment).choice("deployment", DEPLOYMENTS)
        values: dict[str, Any] = {
            name: defaults_of(field)[deployment] for name, field in cls.model_fields.items()
        }
        for name in values:
            value = environment.get(variable(name))
            if value or (value == "" and name in SAMPLE_COMPANIONS):  # "" leaves the sample's out
                values[name] = value
        try:
            checked = cls(**values)
        except ValueError as error:
            raise InputError(f"A setting has a value of the wrong type: {error}") from error
        return _with_defaults(checked)

    def store(self) -> Store:
        """Where the tables are."""
        return Store(self.data_dir)

    def of_catalog(self, name: str) -> str:
        """`interactions` or `captions`, "" where there are none with the items of the catalog.

        The sample's go with the sample's items only, also where the launchpad names a catalog.
        """
        value = getattr(self, name)
        samples = str(getattr(sample, name.upper()))
        return "" if value == samples and self.catalog != str(sample.CATALOG) else value

    def require(self, name: str) -> str:
        """The value of a text setting that must not be empty.

        Raises:
            InputError: It is.
        """
        value = getattr(self, name)
        if not value:
            description = type(self).model_fields[name].description
            raise InputError(f"{variable(name)} is not set. {description}")
        return value

    def choice(self, name: str, words: tuple[str, ...]) -> Any:
        """The value of a setting that is one of a few words.

        Raises:
            InputError: It is another.
        """
        value = getattr(self, name)
        if value not in words:
            raise InputError(f"{variable(name)}={value}: is none of {', '.join(words)}.")
        return value


class Refresh(dg.ConfigurableResource):
    """What somebody allows one run to do: run config, never an environment variable."""

    new_generation: bool = Field(
        default=False,
        description="Allow another embedding space or another tokenizer. This moves every SID: "
        "models trained on the old ones no longer understand them.",
    )
    allow_large_change: bool = Field(
        default=False,
        description="Allow more items to change or vanish than SID_MAX_CHANGED_SHARE.",
    )


def _with_defaults(settings: Settings) -> Settings:
    """The same settings, of a class whose defaults they are.

    A run config that names some fields leaves the others at the defaults of the class, not at the
    values of the instance; so a class is made whose defaults are what the environment says.
    """
    fields: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        default = Field(
            default=getattr(settings, name),
            description=field.description,
            json_schema_extra=field.json_schema_extra,
        )
        fields[name] = (field.annotation, default)
    return create_model("Settings", __base__=Settings, **fields)()


def variable(name: str) -> str:
    """The environment variable of a field: `data_dir` -> `SID_DATA_DIR`."""
    return PREFIX + name.upper()


def defaults_of(field: FieldInfo) -> dict[str, Any]:
    """A field's default for each deployment, and how the README writes it."""
    extra = field.json_schema_extra
    if not isinstance(extra, dict):
        raise TypeError(f"{field} is not made by _setting")
    return extra["defaults"]  # pyright: ignore[reportReturnType] - pydantic types it as any JSON


def table() -> str:
    """The settings as the README's table."""
    lines = ["| setting | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        defaults = defaults_of(field)
        lines.append(f"| `{variable(name)}` | {_shown(defaults)} | {field.description} |")
    return "\n".join(lines)


def _shown(defaults: Mapping[str, Any]) -> str:
    if defaults["shown"]:
        return defaults["shown"]
    demo, onerec = (f"`{defaults[name]}`" if defaults[name] != "" else "" for name in DEPLOYMENTS)
    return demo if demo == onerec else f"{demo} in demo, {onerec} in onerec"


def _require_known(environment: Mapping[str, str]) -> None:
    known = {variable(name) for name in Settings.model_fields} | NO_SETTINGS
    unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise InputError(
            f"{', '.join(unknown)}: no such setting. There are {', '.join(sorted(known))}."
        )

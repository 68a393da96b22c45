"""The component `sid_assets.SemanticIds`: semantic IDs of a catalog from a `defs.yaml`."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import dagster as dg
from pydantic import BaseModel, Field, create_model

from sid_assets.assets.external import Upstream
from sid_assets.failures import clear_refusals_to_start
from sid_assets.graph import semantic_ids
from sid_assets.settings import DEPLOYMENTS, Settings, shown_default


def _described(description: str) -> dg.Resolver:
    """The description of an attribute. That of pydantic is lost where there is a default."""
    return dg.Resolver.default(description=description)


def _settings_model() -> Any:
    """The settings as a model, with the descriptions of all fields."""
    fields: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        default = shown_default(field)
        said = f"{field.description}{f' Default: {default}.' if default else ''}"
        fields[name] = (Annotated[field.annotation | None, _described(said)], None)
    base: Any = (dg.Model, dg.Resolvable)
    return create_model("SemanticIdsSettings", __base__=base, **fields)


if TYPE_CHECKING:

    class SemanticIdsSettings(dg.Model, dg.Resolvable):
        """The settings of `sid_assets`, by name without the prefix SID_."""

else:
    SemanticIdsSettings = _settings_model()


class UpstreamAsset(dg.Model, dg.Resolvable):
    """An asset of yours that holds an input."""

    key: Annotated[str, _described("Its key, as in `raw/catalog`.")]
    path: Annotated[
        str,
        _described("Where it writes its files. Empty: its data are loaded through its IO manager."),
    ] = ""
    load_as: Annotated[
        Literal["table", "reader", "dataset", "pandas"],
        _described("What its IO manager is asked for."),
    ] = "table"


class SemanticIdsParams(BaseModel):
    """What `dg scaffold defs sid_assets.SemanticIds` asks for."""

    catalog: str = Field(default="", description="The items: parquet, CSV or JSON lines.")
    deployment: str = Field(
        default=DEPLOYMENTS[0],
        description=f"One of {', '.join(DEPLOYMENTS)}: a trial on this machine, or OneRec's model.",
    )
    key_prefix: str = Field(default="", description="What all asset keys begin with.")


class SemanticIdsScaffolder(dg.Scaffolder[SemanticIdsParams]):
    """Writes the `defs.yaml` of a catalog."""

    @classmethod
    def get_scaffold_params(cls) -> type[SemanticIdsParams]:
        """The parameters."""
        return SemanticIdsParams

    def scaffold(self, request: dg.ScaffoldRequest[SemanticIdsParams]) -> None:
        """Write the file."""
        params = request.params
        settings = {"deployment": params.deployment, "data_dir": "data"}
        if params.catalog:
            settings["catalog"] = params.catalog
        attributes: dict[str, Any] = {"settings": settings}
        if params.key_prefix:
            attributes["key_prefix"] = params.key_prefix
        dg.scaffold_component(request, attributes)


@dg.scaffold_with(SemanticIdsScaffolder)
class SemanticIds(dg.Component, dg.Model, dg.Resolvable):
    """Semantic IDs of a catalog: texts, vectors, tokenizer, codes, registry, and training data.

    Every setting of sid_assets may be given. Two instances need different key prefixes.
    """

    settings: Annotated[
        SemanticIdsSettings | None, _described("The settings; all have a default.")
    ] = None
    key_prefix: Annotated[
        str, _described("What all asset keys begin with, as in `us` or `shop/us`.")
    ] = ""
    group_prefix: Annotated[
        str, _described("What names of groups begin with. Default: the key prefix.")
    ] = ""
    name: Annotated[
        str,
        _described(
            "What names of resources, steps, job and sensors begin with. Default: the key prefix."
        ),
    ] = ""
    pool: Annotated[str, _described("The pool of the steps that use the GPU.")] = "gpu"
    training: Annotated[
        bool, _described("Whether the training data sets are part of the graph.")
    ] = True
    quality: Annotated[bool, _described("Whether `sid_quality` is.")] = True
    upstream: Annotated[
        dict[str, UpstreamAsset] | None,
        _described("Assets of yours that hold inputs, by setting: catalog, events, ..."),
    ] = None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The assets, checks, resources, job, schedule and sensors."""
        given = self.settings.model_dump(exclude_none=True) if self.settings else {}
        upstream = {
            name: Upstream(asset.key, asset.path, asset.load_as)
            for name, asset in (self.upstream or {}).items()
        }
        with clear_refusals_to_start():
            return semantic_ids(
                Settings(**given),
                key_prefix=self.key_prefix,
                group_prefix=self.group_prefix,
                name=self.name,
                pool=self.pool,
                training=self.training,
                quality=self.quality,
                upstream=upstream,
            )

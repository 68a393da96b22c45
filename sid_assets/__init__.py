"""OneRec semantic IDs and training data for your own catalog, as a Dagster asset graph.

What is here is for notebooks, programs and Dagster projects: `load` opens what the graph made,
`semantic_ids` gives the graph of a catalog. Everything else in the package is private. Nothing is
imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sid_assets.assets.external import Upstream
    from sid_assets.component import SemanticIds
    from sid_assets.core.errors import SidAssetsError
    from sid_assets.core.sids.convert import to_codes, to_text
    from sid_assets.core.sids.spelling import PADDED_VOCABULARY_SIZE, vocabulary
    from sid_assets.data_folder import DataFolder, load
    from sid_assets.graph import semantic_ids
    from sid_assets.io_managers import ParquetIOManager
    from sid_assets.settings import Settings

    __version__: str

__all__ = [
    "PADDED_VOCABULARY_SIZE",
    "DataFolder",
    "ParquetIOManager",
    "SemanticIds",
    "Settings",
    "SidAssetsError",
    "Upstream",
    "__version__",
    "load",
    "semantic_ids",
    "to_codes",
    "to_text",
    "vocabulary",
]

_MODULES = {
    "PADDED_VOCABULARY_SIZE": "sid_assets.core.sids.spelling",
    "DataFolder": "sid_assets.data_folder",
    "ParquetIOManager": "sid_assets.io_managers",
    "SemanticIds": "sid_assets.component",
    "Settings": "sid_assets.settings",
    "SidAssetsError": "sid_assets.core.errors",
    "Upstream": "sid_assets.assets.external",
    "load": "sid_assets.data_folder",
    "semantic_ids": "sid_assets.graph",
    "to_codes": "sid_assets.core.sids.convert",
    "to_text": "sid_assets.core.sids.convert",
    "vocabulary": "sid_assets.core.sids.spelling",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("sid_assets")
    if name not in _MODULES:
        raise AttributeError(f"module 'sid_assets' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__

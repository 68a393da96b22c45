"""How assets and checks of a catalog are declared: under the names of their placement.

Their functions ask for `settings` and `refresh`; the resources may have other names in a project
that has more than one catalog. Before a function is called, its run takes the data folder, and a
refusal becomes a failure with a message.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import dagster as dg

from sid_assets.assets.domains import Domain
from sid_assets.assets.placement import RESOURCES, Placement
from sid_assets.core.store.draft import Draft
from sid_assets.failures import clear_failures
from sid_assets.taken_folders import take_folder

Function = Callable[..., Any]

DRAFT = dg.PythonObjectDagsterType(Draft, name="Draft")
"""The type of outputs that an asset may leave out."""


def asset(
    domain: Domain, table: str, *, group: str, **options: Any
) -> Callable[[Function], dg.AssetsDefinition]:
    """`dg.asset` for a table of a domain.

    Args:
        domain: The domain.
        table: The last part of the asset's key.
        group: The group in the UI.
        options: Further arguments of `dg.asset`.
    """
    placement = domain.placement

    def declare(function: Function) -> dg.AssetsDefinition:
        return dg.asset(
            key=domain.key(table),
            group_name=domain.group(group),
            io_manager_key=placement.io_manager,
            required_resource_keys=placement.resource_keys,
            **options,
        )(step(placement, function))

    return declare


def step(placement: Placement, function: Function, *, writes: bool = True) -> Function:
    """The function of a step, as Dagster calls it.

    Args:
        placement: The names of the resources.
        function: What the step does. Its parameters are a context, resources, and inputs.
        writes: Whether it writes into the data folder, which no other run may refresh then.
    """
    signature = inspect.signature(function)
    asked = [name for name in RESOURCES if name in signature.parameters]
    clear = clear_failures(function)

    @clear_failures
    @functools.wraps(function)
    def call(context: Any, **inputs: Any) -> Any:
        resources = {name: getattr(context.resources, placement.named(name)) for name in RESOURCES}
        if writes:
            take_folder(context, resources["settings"])
        if "context" in signature.parameters:
            inputs["context"] = context
        return clear(**inputs, **{name: resources[name] for name in asked})

    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    shown = [signature.parameters.get("context", context)] + [
        parameter
        for name, parameter in signature.parameters.items()
        if name not in (*RESOURCES, "context")
    ]
    # Dagster looks at these. What a generator function yields is not its output.
    yields = inspect.isgeneratorfunction(function)
    result = inspect.Signature.empty if yields else signature.return_annotation
    named: Any = call
    named.__signature__ = inspect.Signature(shown, return_annotation=result)
    named.__annotations__ = {
        name: kind for name, kind in function.__annotations__.items() if name not in RESOURCES
    }
    if yields:
        del named.__annotations__["return"]
    return call

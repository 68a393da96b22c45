"""What a refresh would do and cost, without doing it: `sid-assets plan`.

It reads the catalog as `item_texts` would, compares it with the existing vectors, and embeds a few
texts to measure the time. Nothing is written.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from sid_assets import cli
from sid_assets.assets.catalog import catalog_source, texts_making, texts_provenance
from sid_assets.assets.domains import Domain, domains_of
from sid_assets.assets.inputs import CatalogIds, input_problems
from sid_assets.core.catalog.item_texts import read_item_texts
from sid_assets.core.catalog.rules_change import RulesChange, count_rules_change, texts_of_vectors
from sid_assets.core.embedders import Embedder
from sid_assets.core.embedders.qwen3 import Qwen3Embedder
from sid_assets.core.embeddings.plan import Plan, make_plan
from sid_assets.core.errors import SidAssetsError
from sid_assets.core.quantise.tokenizer import (
    current_tokenizer,
    fetch_tokenizer,
    keeps_tokenizer,
    training_of,
)
from sid_assets.core.refresh import RefreshPolicy, require_same_generation, require_small_change
from sid_assets.core.registry.generation_guard import why_other_texts
from sid_assets.core.registry.tables import Tables
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.scratch import scratch_folder
from sid_assets.core.store.store import Store
from sid_assets.resources import (
    planning_embedder,
    require_device_to_train,
    vector_files,
    wanted_tokenizer,
)
from sid_assets.settings import Settings

REFUSED = (
    "The run stops at the bad rows above unless on_bad_rows: drop is set (config of item_texts). "
    "The plan leaves these rows out."
)
NO_WEIGHTS = "the weights are not downloaded yet; the run downloads them"


@dataclass(frozen=True)
class DomainPlan:
    """The plan of a domain.

    Attributes:
        domain: `items` or `goods`.
        plan: What its refresh would do; None if that is unknown.
        problems: Why there is no plan, or why the refresh would stop.
        rules: What other rules of texts than before change; None if the rules are the same.
    """

    domain: str
    plan: Plan | None
    problems: tuple[str, ...]
    rules: RulesChange | None = None

    def describe(self) -> str:
        """The plan as text, one line per subject; "" if there is none."""
        rules = self.rules.describe() if self.rules else ""
        return "\n".join(filter(None, (self.plan and self.plan.describe(), rules)))

    def as_json(self) -> dict[str, Any]:
        """Its part of the object of `sid-assets plan --json`; `Plan` explains the fields."""
        plan = asdict(self.plan) if self.plan else None
        if plan:
            del plan["sample"]
        rules = self.rules.metadata() if self.rules else {}
        return {"domain": self.domain, "plan": plan, "problems": list(self.problems), **rules}


def main(arguments: Sequence[str] = ()) -> int:
    """`python -m sid_assets.plan`, which is `sid-assets plan`; the exit code."""
    return cli.run("plan", arguments, "python -m sid_assets.plan")


def plan_domains(settings: Settings) -> list[DomainPlan]:
    """The plans of all domains; their warnings are logged.

    Raises:
        SidAssetsError: The embedder cannot be made from these settings.
    """
    embedder = planning_embedder(settings)
    try:
        return [_plan_domain(settings, domain, embedder) for domain in domains_of(settings)]
    finally:
        embedder.close()


def _plan_domain(settings: Settings, domain: Domain, embedder: Embedder) -> DomainPlan:
    plan, rules, ids, problems = None, None, None, []
    try:
        plan, rules, complete, ids = plan_refresh(settings, domain, embedder)
        if not complete:
            problems.append(REFUSED)
        policy = RefreshPolicy(max_changed_share=settings.max_changed_share)
        if domain.trains_tokenizer:
            plan = replace(plan, tokenizer=_training(settings, plan, embedder, policy))
        require_same_generation(plan.afresh, policy)
        reason = why_other_texts(settings.store(), Tables.of(domain.table), texts_making(settings))
        require_same_generation(reason, policy)
        require_small_change(plan.changes, policy)
    except SidAssetsError as error:
        problems.append(str(error))
    if domain.trains_tokenizer:
        problems += input_problems(settings, ids, goods=False)  # goods have a plan of their own
    return DomainPlan(domain.items, plan, tuple(problems), rules)


def _training(settings: Settings, plan: Plan, embedder: Embedder, policy: RefreshPolicy) -> str:
    """The tokenizer that the refresh would train, for `Plan.tokenizer`.

    Raises:
        InputError: The tokenizer that is there is not the requested one, its file cannot be read,
            there are too few items, or its device is not there.
    """
    wanted, there = wanted_tokenizer(settings), current_tokenizer(settings.store())
    if plan.afresh or keeps_tokenizer(there, wanted, embedder.space, policy):
        return ""
    if wanted.kind == "path":
        fetch_tokenizer(wanted, settings.tokenizer)
    if wanted.kind != "train":
        return ""
    require_device_to_train(settings)
    items = plan.changes.new + plan.changes.changed + plan.changes.unchanged
    training, advice = training_of(wanted, items, there)
    return f"{training.describe()}.{advice and f' {advice}'}"


def plan_refresh(
    settings: Settings, domain: Domain, embedder: Embedder
) -> tuple[Plan, RulesChange | None, bool, CatalogIds]:
    """The plan for the catalog of a domain, and what else its rows tell.

    Returns:
        The plan; what other rules of texts change; whether all rows are good; the ids of the
        catalog.

    Raises:
        SidAssetsError: The catalog cannot be read, or the embedder cannot be used.
    """
    # The run decides whether bad rows may be dropped.
    source = catalog_source(settings, domain, on_bad_rows="drop")
    store = settings.store()
    with scratch_folder(store.root) as scratch, scratch_folder(store.root) as second:
        texts = read_item_texts(source, scratch_dir=scratch)
        for warning in texts.warnings:
            logging.warning(warning)
        before = texts_of_vectors(
            store, domain.table("item_texts"), domain.table("item_embeddings")
        )
        reader, rules = count_rules_change(source, texts, before, scratch_dir=second)
        missing = isinstance(embedder, Qwen3Embedder) and not embedder.has_weights()
        plan = make_plan(
            store,
            domain.table("item_embeddings"),
            _with_version(reader, store, texts_provenance(settings, domain, texts)),
            embedder,
            files=vector_files(settings, domain.embeddings(settings), embedder.space),
            calibrate=not missing,
            log=logging.warning,
        )
    if missing and plan.texts:
        plan = replace(plan, unmeasured=NO_WEIGHTS)
    return plan, rules, texts.rejected is None, CatalogIds(texts.pid_column, texts.pid_type)


def _with_version(
    texts: pa.RecordBatchReader, store: Store, provenance: Provenance
) -> pa.RecordBatchReader:
    """The texts, with their version in the metadata if the store has them already."""
    there = store.current(provenance.asset)
    details = Provenance.from_json(provenance.to_json()).details  # as stored
    if not there or there.provenance.details != details:
        return texts
    return pa.RecordBatchReader.from_batches(there.provenance.attach(texts.schema), texts)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

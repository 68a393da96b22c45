"""`sid_report.html`: the quality of SIDs as one page to open, search and share.

The page contains everything it needs, including plotly's JavaScript. Its content security policy
forbids loading anything and running any scripts but its own two. Catalog texts are data: Jinja
escapes them in the page, `tojson` in the JSON, and the page's script inserts them only as text.
"""

import base64
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.quality.charts import FEW_CODES, even_use, items_by_group_size
from sid_assets.core.quality.figures import SidGroup, SidQuality
from sid_assets.core.quality.interactions import InteractionQuality
from sid_assets.core.quality.measure import code_rows, relative_errors
from sid_assets.core.quality.page_templates import page_environment, page_source
from sid_assets.core.quality.section import Section, count_text, decimal_text, percent_text
from sid_assets.core.sids.spelling import BEGIN, END, LAYER_PREFIXES, pack

SAMPLE_ITEMS = 50_000
"""The most items on the page, besides those named in its lists."""

TEXT_CHARACTERS = 240
"""The most characters of an item's text on the page."""

GROUPS_SHOWN = 10
GROUP_MEMBERS = 6
WORST_SHOWN = 10


@dataclass(frozen=True)
class ReportItem:
    """An item as shown on the page.

    Attributes:
        pid: Its id, as text: JavaScript has no 64-bit integers.
        codes: Its SID.
        text: The beginning of its text.
        error: Relative reconstruction error after the last layer; None for a zero vector.
    """

    pid: str
    codes: tuple[int, ...]
    text: str
    error: float | None


def report_items(
    codes: Iterable[pa.RecordBatch],
    item_texts: Iterable[pa.RecordBatch],
    quality: SidQuality,
    seed: int = 0,
) -> list[ReportItem]:
    """The items of the page, sorted by pid: all, or a seeded sample of more than 50,000.

    The first items of the largest SID groups and the worst reconstructed items are always included.

    Args:
        codes: The same batches that `measure_sids` read, from the start.
        item_texts: Batches with the columns `pid` and `text`, sorted by pid.
        quality: The result of `measure_sids`.
        seed: Seed of the sample.
    """
    wanted = _Wanted(quality, seed)
    items: list[ReportItem] = []
    for batch in joined(codes, item_texts, pa.schema([("text", pa.string())])):
        rows = wanted.rows(batch, quality.codebook_size)
        items.extend(_items(batch.take(pa.array(rows)), quality.codebook_size))
    return items


class _Wanted:
    """Selects the rows of the codes that go on the page; batches must come in order."""

    def __init__(self, quality: SidQuality, seed: int) -> None:
        self._sample = sample_rows(quality.items, seed)
        self._worst = [item.pid for item in quality.worst_items]
        groups = quality.largest_groups[:GROUPS_SHOWN]
        self._members = {int(pack(np.array([group.codes]))[0]): 0 for group in groups}
        self._start = 0

    def rows(self, batch: pa.RecordBatch, codebook_size: int) -> np.ndarray:
        wanted = np.zeros(batch.num_rows, bool)
        first, last = np.searchsorted(self._sample, [self._start, self._start + batch.num_rows])
        wanted[self._sample[first:last] - self._start] = True
        self._start += batch.num_rows
        worst = pc.is_in(batch["pid"], value_set=pa.array(self._worst, batch["pid"].type))
        wanted |= worst.to_numpy(zero_copy_only=False)
        sids = pack(code_rows(batch, codebook_size))
        for row in np.flatnonzero(np.isin(sids, list(self._members))).tolist():
            sid = int(sids[row])
            wanted[row] |= self._members[sid] < GROUP_MEMBERS
            self._members[sid] += 1
        return np.flatnonzero(wanted)


def sample_rows(items: int, seed: int) -> np.ndarray:
    """The rows of the sample, ascending: all, or 50,000 drawn with the seed."""
    if items <= SAMPLE_ITEMS:
        return np.arange(items)
    drawn = np.random.default_rng(seed).choice(items, SAMPLE_ITEMS, replace=False, shuffle=False)
    return np.sort(drawn)


def _items(batch: pa.RecordBatch, codebook_size: int) -> Iterator[ReportItem]:
    texts = pc.utf8_slice_codeunits(batch["text"].fill_null(""), 0, TEXT_CHARACTERS + 1)
    columns = zip(
        batch["pid"].to_pylist(),
        code_rows(batch, codebook_size).tolist(),
        texts.to_pylist(),
        relative_errors(batch)[-1].tolist(),
        strict=True,
    )
    for pid, codes, text, error in columns:
        if len(text) > TEXT_CHARACTERS:
            text = text[:TEXT_CHARACTERS] + "…"
        yield ReportItem(str(pid), tuple(codes), text, None if math.isnan(error) else error)


def render_report(
    quality: SidQuality,
    items: list[ReportItem],
    interactions: InteractionQuality | None = None,
    sections: Sequence[Section] = (),
    title: str = "How good are these SIDs?",
    made_from: Mapping[str, str] | None = None,
) -> str:
    """The page, as HTML.

    Args:
        quality: The result of `measure_sids`.
        items: The result of `report_items`.
        interactions: The result of `measure_interactions`, if there are interactions.
        sections: More sections, in the order in which the page shows them.
        title: Heading of the page.
        made_from: More facts about the catalog and the tokenizer, by name.
    """
    from plotly.offline import get_plotlyjs

    environment = page_environment()
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False}
    environment.filters |= {"count": count_text, "percent": percent_text, "decimal": decimal_text}

    script = page_source(environment, "sid_report.js")
    scripts = {"plotly": get_plotlyjs().replace("\r\n", "\n"), "page": script}
    return environment.get_template("sid_report.html").render(
        title=title,
        quality=quality,
        interactions=interactions,
        sections=sections,
        sampled=quality.items > SAMPLE_ITEMS,
        sample_items=SAMPLE_ITEMS,
        items_by_group_size=items_by_group_size(quality.distributions),
        groups=_groups_with_members(quality.largest_groups[:GROUPS_SHOWN], items),
        worst=_worst_with_rows(quality, items),
        first_codes=[branch for branch in quality.branches if len(branch.prefix) == 1],
        most_nats=math.log(quality.codebook_size),
        made_from=made_from or {},
        style=page_source(environment, "sid_report.css"),
        scripts=scripts,
        script_hashes=[_csp_hash(script) for script in scripts.values()],
        data=_page_data(quality, items, sections),
    )


def _groups_with_members(
    groups: Iterable[SidGroup], items: list[ReportItem]
) -> list[tuple[SidGroup, list[tuple[int, ReportItem]]]]:
    """Each group with its first items, and their positions on the page."""
    members = defaultdict(list)
    for place, item in enumerate(items):
        members[item.codes].append((place, item))
    return [(group, members[group.codes][:GROUP_MEMBERS]) for group in groups]


def _worst_with_rows(quality: SidQuality, items: list[ReportItem]) -> list[tuple[int, ReportItem]]:
    """The worst reconstructed items, and their positions on the page."""
    places = {item.pid: place for place, item in enumerate(items)}
    found = [places[str(worst.pid)] for worst in quality.worst_items[:WORST_SHOWN]]
    return [(place, items[place]) for place in found]


def _page_data(
    quality: SidQuality, items: list[ReportItem], sections: Sequence[Section]
) -> dict[str, Any]:
    """The data that the page's script draws and searches."""
    curves = quality.distributions.error_quantiles
    used = [-np.sort(-counts[counts > 0]) for counts in quality.distributions.code_counts]
    return {
        "items": {
            "pid": [item.pid for item in items],
            "codes": [item.codes for item in items],
            "text": [item.text for item in items],
            "error": [None if i.error is None else round(i.error, 4) for i in items],
        },
        "spelling": {"begin": BEGIN, "layers": LAYER_PREFIXES, "end": END},
        "total": quality.items,
        "codebookSize": quality.codebook_size,
        "evenUse": even_use(quality),
        "fewCodes": FEW_CODES,
        "codeCounts": [counts.tolist() for counts in used],
        "errorCurves": [] if np.isnan(curves).any() else curves.round(4).tolist(),
        "branches": [[list(b.prefix), b.items, b.distinct] for b in quality.branches],
        "groupSizes": list(items_by_group_size(quality.distributions).items()),
        "prefixes": [[p.distinct_share, 1 - p.colliding_share] for p in quality.prefixes],
        "bars": {section.key: asdict(section.bars) for section in sections},
    }


def _csp_hash(script: str) -> str:
    """The hash by which a content security policy allows an inline script."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"

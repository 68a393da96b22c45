"""What the last probe of these SIDs found, for the metadata and the report of `sid_quality`."""

import json
from dataclasses import dataclass
from typing import Any

from upath import UPath

from sid_assets.core.quality.section import NOT_THERE, Bars, Section, count_text

RESULT = "sid_probe.json"
"""The file in the data folder that a probe writes."""

OWN = "pid2sid"
"""The name that a probe gives to the SIDs of the data folder."""

HIT_RATE, NDCG = "hit_rate@10", "ndcg@10"

LABELS = {
    "sids": "these SIDs",
    "dealt": "dealt at random",
    "one token an item": "one token an item",
    "popularity": "popularity",
    "successors of the last item": "successors",
    "nearest vectors of the last item": "nearest vectors",
}
"""Short labels, by kind or by name: names of files come from a user and are no labels."""


@dataclass(frozen=True, eq=False)
class Probed:
    """The result of a probe.

    Attributes:
        scored: What was scored, by label: its entry in the file.
        rows: Rows that were scored (count).
        verdict: Of the difference to the SIDs dealt at random: better, worse or tie; "" if they
            were not compared.
    """

    scored: dict[str, dict[str, Any]]
    rows: int
    verdict: str

    @classmethod
    def read(cls, path: UPath, generation: str, tokenizer: str) -> "Probed | None":
        """The result that is about these SIDs.

        Args:
            path: The file.
            generation: The generation of the SIDs.
            tokenizer: The hash of their tokenizer.

        Returns:
            None if there was no probe of them, or it is not finished.
        """
        try:
            made = json.loads(path.read_text())
            if (made["generation"], made["tokenizer"]) != (generation, tokenizer):
                return None
            scored = {}
            for one in made["scored"]:
                of_own = one["kind"] != "sids" or one["name"] == OWN
                if one["kind"] == "dealt":
                    of_own = one["name"].startswith(f"{OWN},")
                label = LABELS.get(one["kind"]) or LABELS.get(one["name"])
                if of_own and one["finished"] and label:
                    scored[label] = one
            verdicts = [
                one["verdict"]
                for one in made["differences"]
                if one["of"] == OWN
                and one["to"].startswith(f"{OWN},")
                and one["metric"] == HIT_RATE
            ]
            found = cls(scored, int(made["rows"]["scored_rows"]), *(verdicts or [""]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return found if LABELS["sids"] in scored else None

    def figures(self) -> dict[str, int | float]:
        """The numbers by name, flat, for metadata plotted over refreshes."""
        named = {
            "probe_{}": "these SIDs",
            "probe_{}_of_dealt_sids": "dealt at random",
            "probe_{}_of_popularity": "popularity",
        }
        figures: dict[str, int | float] = {}
        for name, label in named.items():
            if label in self.scored:
                figures[name.format("hit_rate_10")] = self.scored[label][HIT_RATE]["mean"]
                figures[name.format("ndcg_10")] = self.scored[label][NDCG]["mean"]
        return figures

    def section(self) -> Section:
        """The section of the report."""
        verdicts = {
            "better": "The model learns more from these SIDs than from the same SIDs dealt to the "
            "items at random, by more than chance.",
            "worse": "The model learns less from these SIDs than from the same SIDs dealt to the "
            "items at random.",
            "tie": "The model learns no more from these SIDs than from the same SIDs dealt to the "
            "items at random: the difference may be chance.",
            "": "These SIDs were not compared with SIDs dealt at random.",
        }
        return Section(
            key="probe",
            short="Probe",
            heading="Can a model learn these SIDs?",
            paragraphs=(
                "A small decoder was trained on the interactions of split 0, and recommended for "
                f"{count_text(self.rows)} rows of split 1. The figures are those of the last "
                "`sid-assets probe` of this generation.",
                verdicts[self.verdict],
                "Good: these SIDs are clearly above those dealt at random, and not far below one "
                "token an item. Bad: no difference to dealt SIDs. A small model that is below the "
                "last item's successors is no fault of the SIDs: on small data counting is hard to "
                "beat.",
            ),
            caption="Rows of split 1 with a right item among the first ten",
            bars=Bars(
                places=tuple(self.scored),
                series={"hit rate at 10": [one[HIT_RATE]["mean"] for one in self.scored.values()]},
                title="%",
                percent=True,
            ),
            header=("", "Hit rate@10", "95% interval", "NDCG@10", "Unseen targets", "Seeds"),
            rows=tuple(
                (
                    label,
                    f"{one[HIT_RATE]['mean']:.4f}",
                    f"{one[HIT_RATE]['low']:.4f} to {one[HIT_RATE]['high']:.4f}",
                    f"{one[NDCG]['mean']:.4f}",
                    NOT_THERE
                    if one[HIT_RATE]["unseen"] is None
                    else f"{one[HIT_RATE]['unseen']:.4f}",
                    count_text(len(one["runs"])) if one["runs"] else NOT_THERE,
                )
                for label, one in self.scored.items()
            ),
        )

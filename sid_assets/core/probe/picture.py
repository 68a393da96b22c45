"""The picture of a probe: hit rates with their intervals."""

from typing import TYPE_CHECKING

from sid_assets.core.probe.result import METRICS, ProbeResult
from sid_assets.core.quality.charts import INK, LAYER_COLOURS, as_png, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "sids": LAYER_COLOURS[0],
    "dealt": LAYER_COLOURS[2],
    "one token an item": LAYER_COLOURS[1],
    "baseline": "#8a949e",
}


def hit_rates_png(result: ProbeResult) -> bytes:
    """Hit rate at 10 of everything that was scored, with 95 % intervals: a PNG."""
    shown = [one for one in result.scored if one.finished][::-1]

    def draw(axes: "Axes") -> None:
        found = [result.interval(one.name, METRICS[0]) for one in shown]
        means = [100 * one.mean for one in found]
        ends = [
            [100 * (one.mean - one.low) for one in found],
            [100 * (one.high - one.mean) for one in found],
        ]
        colours = [COLOURS[one.kind] for one in shown]
        places = range(len(shown))
        axes.barh(places, means, xerr=ends, color=colours, height=0.6, ecolor=INK, capsize=3)
        axes.set_yticks(places, [_label(one.name) for one in shown])
        axes.set_xlim(left=0)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color="#d5dade", linewidth=0.7)
        axes.set_xlabel("hit rate at 10 (%), with 95 % interval")
        set_title(axes, "Recommended items that are right")

    return as_png(draw)


def _label(name: str) -> str:
    """A name that matplotlib does not read as mathematics, and that leaves room for the bars."""
    plain = name.replace("$", r"\$")
    return plain if len(plain) <= 34 else f"…{plain[-33:]}"

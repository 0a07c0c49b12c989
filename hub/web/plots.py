"""Small line plots as SVG, drawn on the server so that they read without JavaScript; static/js/plot.js draws the same
picture live. Labelled in place: each line carries its name at its end, so there is no legend to look up."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

WIDTH, HEIGHT = 640, 240  # user units; the picture scales with its container
LEFT, TOP, BOTTOM = 52, 26, 28  # room for the tick labels
RIGHT_MIN, LETTER = 66, 6.6  # room for the names at the line ends: so many units a letter, and no less
FLAT = 1e-10  # differences below this share of the values are drawn as none
MAX_POINTS = 800  # more than there are pixels adds nothing
LABEL_GAP = 14  # least distance between two names


@dataclass(frozen=True)
class Series:
    name: str
    points: Sequence[tuple[float, float]]  # (x, y) in order of x


def read_series(rows: Sequence[Any]) -> list[Series]:
    """From Series, {"name", "points"} or (name, points); points that are not finite are left out."""
    found = []
    for row in rows:
        if isinstance(row, Series):
            name, points = row.name, row.points
        elif isinstance(row, dict):
            name, points = row["name"], row["points"]
        else:
            name, points = row
        pairs = [(float(x), float(y)) for x, y in points if y is not None]
        found.append(Series(str(name), [(x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]))
    return found


def nice_ticks(low: float, high: float, count: int = 5, is_whole: bool = False) -> list[float]:
    """About `count` round numbers that cover [low, high]; whole ones where there is nothing between, as with steps."""
    if high - low <= FLAT * max(1, abs(low), abs(high)):
        high = low + max(1, abs(low))
    rough = (high - low) / max(count - 1, 1)
    rough = max(rough, 1) if is_whole else rough
    power = 10 ** math.floor(math.log10(rough))
    factors = (1, 2, 5, 10) if is_whole else (1, 2, 2.5, 5, 10)
    step = next(power * factor for factor in factors if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def write_number(value: float) -> str:
    """Short and without noise: 1.2, 0.05, 1500, 2M."""
    for limit, letter in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if letter == 'k' else limit):.4g}{letter}"
    return f"{value:.4g}"


def thin_out(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """At most MAX_POINTS of them, the last one always kept."""
    if len(points) <= MAX_POINTS:
        return points
    stride = math.ceil(len(points) / MAX_POINTS)
    kept = list(points[::stride])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def render_line_plot(
    series: Sequence[Any],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> SafeString:
    """The <svg> of some lines on one pair of axes. Give `x_range` / `y_range` to compare plots on the same axis."""
    lines = read_series(series)
    shown = [point for line in lines for point in line.points]
    if not shown:
        return format_html('<p class="muted">{}</p>', "No values yet.")
    is_whole = all(x.is_integer() for x, _ in shown)
    x_ticks = nice_ticks(*(x_range or spread(point[0] for point in shown)), is_whole=is_whole)
    y_ticks = nice_ticks(*(y_range or spread(point[1] for point in shown)))

    names = [f"{line.name} {write_number(line.points[-1][1])}" if line.points else "" for line in lines]
    edge = WIDTH - max(RIGHT_MIN, 12 + LETTER * max(map(len, names)))

    def place_x(x: float) -> float:
        return LEFT + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (edge - LEFT)

    def place_y(y: float) -> float:
        return HEIGHT - BOTTOM - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (HEIGHT - TOP - BOTTOM)

    parts = [draw_grid(x_ticks, y_ticks, place_x, place_y, x_label, y_label, edge)]
    ends = []
    for index, line in enumerate(lines):
        if not line.points:
            continue
        places = [f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in thin_out(line.points)]
        kind = f"plot__series-{index % 4 + 1}"
        # A value alone is a line to itself, whose round ends make a dot.
        look, path = ("plot__line plot__line--dot", places * 2) if len(places) == 1 else ("plot__line", places)
        parts.append(f'<polyline class="{look} {kind}" points="{" ".join(path)}"/>')
        x, y = line.points[-1]
        ends.append((place_y(y), place_x(x), kind, names[index]))
    parts += draw_labels(ends)
    about = f"{title}: " + "; ".join(describe(line) for line in lines if line.points)
    return mark_safe(  # noqa: S308  every text in it is escaped where it is made
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(about)}">{"".join(parts)}</svg>'
    )


def spread(values: Any) -> tuple[float, float]:
    found = list(values)
    return min(found), max(found)


def describe(line: Series) -> str:
    (x_first, y_first), (x_last, y_last) = line.points[0], line.points[-1]
    return (
        f"{line.name} from {write_number(y_first)} at {write_number(x_first)} "
        f"to {write_number(y_last)} at {write_number(x_last)}"
    )


def draw_grid(
    x_ticks: list[float], y_ticks: list[float], place_x: Any, place_y: Any, x_label: str, y_label: str, edge: float
) -> str:
    parts = []
    for tick in y_ticks:
        y = place_y(tick)
        parts.append(f'<line class="plot__grid" x1="{LEFT}" x2="{edge:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{write_number(tick)}</text>')
    for tick in x_ticks:
        parts.append(
            f'<text x="{place_x(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{write_number(tick)}</text>'
        )
    parts.append(f'<text x="{WIDTH - 2}" y="{HEIGHT - BOTTOM + 18}" text-anchor="end">{escape(x_label)}</text>')
    parts.append(f'<text x="{LEFT - 44}" y="{TOP - 14}">{escape(y_label)}</text>')
    return "".join(parts)


def draw_labels(ends: list[tuple[float, float, str, str]]) -> list[str]:
    """Names at the line ends, pushed apart where they would cover each other."""
    parts = []
    lowest = -math.inf
    for y, x, kind, text in sorted(ends):
        lowest = y = max(y, lowest + LABEL_GAP)
        parts.append(f'<text class="plot__label {kind}" x="{x + 6:.1f}" y="{y + 4:.1f}">{escape(text)}</text>')
    return parts


def write_plot_data(series: Sequence[Any], **options: Any) -> str:
    """The JSON that static/js/plot.js reads from the figure; safe inside a <script> element."""
    data = {"series": [{"name": line.name, "points": list(line.points)} for line in read_series(series)], **options}
    return json.dumps(data).replace("<", "\\u003c")

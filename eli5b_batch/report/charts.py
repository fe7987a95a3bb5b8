"""The figure of a report: report/accuracy.png and report/accuracy.svg, drawn without a browser.

Must not know: how the numbers came about; it draws what `summary.summarize` found.

First comes the figure of the experiment's claim: accuracy per student, generic against tailored hints.
Further panels appear where there is more to show: every condition with the teacher alone as a line, and
student by target of the hint for cross-matched runs.
"""

from __future__ import annotations

import io
import re
import textwrap
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import altair as alt
import orjson

from eli5b_batch.protocols.eli5b.conditions import CONDITIONS, by_hint, own_size
from eli5b_batch.report.wording import arm_label, hint_label, size_of, title
from eli5b_batch.text import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    Panel: TypeAlias = alt.Chart | alt.LayerChart

_PIXELS: Final = 1600
"""Width of the PNG."""

_HEIGHT: Final = 300
"""Height of a panel, in the figure's own units, as all lengths below."""

_LEAST, _ALONE = 260, 520
"""Least width of a panel, and of one that is the whole figure."""

_BAR, _GAP = 30, 22
"""Width of a bar, and of what is left free between the bars of two students."""

_LETTER: Final = 6.2
"""Width of a letter below an axis, about."""

_TITLE_LETTERS: Final = 60
"""Letters of the title that fit above the narrowest figure."""

_HEADROOM: Final = 1.09
"""An axis ends this far above the highest whisker, so that its number fits; below the tick after 100."""

_COLOURS: Final = {
    "none": "#999999",
    "placebo": "#E69F00",
    "generic": "#0072B2",
    "rewritten": "#009E73",
    "tailored_any": "#CC79A7",
    "tailored": "#D55E00",
}
"""Okabe and Ito's palette (2008), which readers with any form of colour blindness can tell apart."""

_SIMULATED: Final = "#B00020"


def draw(summary: dict[str, Any]) -> dict[str, bytes]:
    """The figure as file name -> content; empty where there is no graded answer to draw."""
    if not any(arm["answers"] for arm in summary["arms"]):
        return {}
    chart = _figure(summary)
    svg = io.StringIO()
    chart.save(svg, format="svg")
    width = re.search(r'<svg[^>]*\bwidth="([\d.]+)"', svg.getvalue())
    assert width, "an SVG says how wide it is"
    png = io.BytesIO()
    chart.save(png, format="png", scale_factor=_PIXELS / float(width[1]))
    return {"accuracy.svg": svg.getvalue().encode(), "accuracy.png": png.getvalue()}


def _figure(summary: dict[str, Any]) -> alt.HConcatChart:
    """All panels side by side under one title."""
    arms = by_hint((arm["model"], arm["tags"], arm) for arm in summary["arms"] if arm["answers"])
    students = [one for one in summary["students"] if any(own_size(arms, one, hint) for hint in CONDITIONS)]
    hints = [hint for hint in CONDITIONS if any(own_size(arms, one, hint) for one in students)]
    panels: list[Panel] = []
    pair = ["generic", "tailored"]
    ceiling = arms.get((summary["teacher"], "none", "any"))
    rows = _rows(arms, students, hints)
    # One scale for all panels: a bar that stands twice is as high in both.
    top = _HEADROOM * max([0.0, *(row["high"] for row in rows), *([100 * ceiling["accuracy"]] if ceiling else [])])
    paired, every = set(pair) <= set(hints), bool(hints) and (hints != pair or ceiling is not None)
    least = _LEAST if paired and every else _ALONE
    if paired:
        both = _rows(arms, students, pair)
        heading = "Own-size hints: generic against tailored"
        panels.append(_bars(heading, both, students, pair, None, top=top, least=least))
    if every:
        panels.append(_bars("Every condition, own-size hints", rows, students, hints, ceiling, top=top, least=least))
    crossed = [
        {**_numbers(arm), "student": model, "target": target}
        for (model, hint, target), arm in arms.items()
        if hint == "tailored" and model in students and target in students
    ]
    if any(cell["student"] != cell["target"] for cell in crossed):
        panels.append(_cross(crossed, students))
    if not panels:
        panels.append(_plain([arm for arm in summary["arms"] if arm["answers"]]))
    side_by_side = alt.hconcat(*panels, spacing=40)
    scales = side_by_side.resolve_scale(color="independent", x="independent", xOffset="independent")
    return _dressed(scales, summary)


def _dressed(chart: alt.HConcatChart, summary: dict[str, Any]) -> alt.HConcatChart:
    head = alt.TitleParams(
        _title_lines(summary),
        subtitle="Whiskers: 95% intervals over problems. Failed answers count as wrong.",
        color=_SIMULATED if summary["simulated"] else "black",
        fontSize=17,
        subtitleFontSize=12,
        subtitleColor="#444444",
        anchor="start",
        offset=14,
    )
    dressed: alt.HConcatChart = (
        chart.properties(title=head, padding=16, background="white")
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", gridColor="#E5E5E5")
        .configure_legend(labelFontSize=12, titleFontSize=12, orient="bottom", title=None, columns=6)
        .configure_title(anchor="start", frame="group", fontSize=13)
    )
    return dressed


def _title_lines(summary: dict[str, Any]) -> list[str]:
    """Name and size in one line where they fit, else the size below the name."""
    line = f"{title(summary)}: {size_of(summary)}"
    if len(line) <= _TITLE_LETTERS:
        return [line]
    return [*textwrap.wrap(title(summary), _TITLE_LETTERS), size_of(summary)]


def _numbers(arm: dict[str, Any]) -> dict[str, Any]:
    """What is drawn of an arm, in %."""
    low, high = arm["interval"]
    share = 100 * arm["accuracy"]
    return {"accuracy": share, "low": 100 * low, "high": 100 * high, "text": f"{share:.1f}"}


def _rows(
    arms: dict[tuple[Any, ...], dict[str, Any]], students: Sequence[str], hints: Sequence[str]
) -> list[dict[str, Any]]:
    found = [(student, hint, own_size(arms, student, hint)) for student in students for hint in hints]
    return [{"student": student, "hint": hint_label(hint), **_numbers(arm)} for student, hint, arm in found if arm]


def _bars(
    heading: str,
    rows: list[dict[str, Any]],
    students: Sequence[str],
    hints: Sequence[str],
    ceiling: dict[str, Any] | None,
    *,
    top: float,
    least: int,
) -> alt.LayerChart:
    """Students along x, a bar per condition, whiskers with the value above; the teacher alone as a line."""
    labels = [hint_label(hint) for hint in hints]
    width = max(least, len(students) * (len(hints) * _BAR + _GAP))
    scale = alt.Scale(domain=[0, top], nice=False)
    y = alt.Y("accuracy:Q", title="accuracy, %", scale=scale)
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X(
            "student:N",
            sort=list(students),
            title="student",
            axis=alt.Axis(labelAngle=0, labelExpr=_label_lines(students, width / len(students))),
            scale=alt.Scale(paddingInner=0.15, paddingOuter=0.08),
        ),
        xOffset=alt.XOffset("hint:N", sort=labels, scale=alt.Scale(domain=labels, paddingInner=0.08)),
    )
    colour = alt.Color("hint:N", sort=labels, scale=alt.Scale(domain=labels, range=[_COLOURS[hint] for hint in hints]))
    layers: list[alt.Chart] = [
        base.mark_bar().encode(y=y, color=colour),
        base.mark_rule(strokeWidth=1.3).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q")),
        base.mark_text(dy=-7, fontSize=10.5).encode(y=alt.Y("high:Q"), text="text:N"),
    ]
    if ceiling:
        layers += _ceiling(ceiling)
    return alt.LayerChart(layer=layers).properties(width=width, height=_HEIGHT, title=heading)


def _label_lines(names: Sequence[str], width: float) -> str:
    """A Vega expression that breaks names into lines that fit side by side: behind a dash or the like."""
    most = int(width / _LETTER) - 1
    broken = {name: _lines(name, most) for name in names}
    return f"{orjson.dumps(broken).decode()}[datum.label]"


def _lines(name: str, most: int) -> list[str]:
    lines = [""]
    for part in re.findall(r"[^-_:/ ]*[-_:/ ]?", name):
        if lines[-1] and len(lines[-1]) + len(part) > most:
            lines.append("")
        lines[-1] += part
    return lines


def _ceiling(arm: dict[str, Any]) -> list[alt.Chart]:
    """The teacher alone: a dashed line, its value beside the panel where no bar can be."""
    label = [f"{arm['model']} alone", percent(arm["accuracy"])]
    base = alt.Chart(alt.InlineData(values=[{**_numbers(arm), "label": label}])).encode(y="accuracy:Q")
    return [
        base.mark_rule(strokeDash=[6, 4], strokeWidth=1.5, color="#333333"),
        base.mark_text(align="left", dx=6, baseline="middle", fontSize=12, color="#333333").encode(
            x=alt.value("width"), text="label:N"
        ),
    ]


def _cross(cells: list[dict[str, Any]], students: Sequence[str]) -> alt.LayerChart:
    """Student by target of its tailored hint, with the values written."""
    values = [cell["accuracy"] for cell in cells]
    middle = (min(values) + max(values)) / 2
    base = alt.Chart(alt.InlineData(values=cells)).encode(
        x=alt.X("target:N", sort=list(students), title="hint written for", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("student:N", sort=list(students), title="student"),
    )
    shade = alt.Color("accuracy:Q", scale=alt.Scale(scheme="blues"), legend=None)
    written = alt.condition(alt.datum.accuracy > middle, alt.value("white"), alt.value("black"))
    return alt.LayerChart(
        layer=[
            base.mark_rect().encode(color=shade),
            base.mark_text(fontSize=13).encode(text="text:N", color=written),
        ]
    ).properties(width=max(240, 80 * len(students)), height=_HEIGHT, title="Tailored hints crossed: accuracy, %")


def _plain(arms: Sequence[dict[str, Any]]) -> alt.LayerChart:
    """One bar per arm, for protocols whose arms are not hints."""
    rows = [{"arm": arm_label(arm), **_numbers(arm)} for arm in arms]
    order = [row["arm"] for row in rows]
    top = _HEADROOM * max(row["high"] for row in rows)
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("arm:N", sort=order, title=None, axis=alt.Axis(labelLimit=400))
    )
    x = alt.X("accuracy:Q", title="accuracy, %", scale=alt.Scale(domain=[0, top], nice=False))
    return alt.LayerChart(
        layer=[
            base.mark_bar(color=_COLOURS["generic"]).encode(x=x),
            base.mark_rule(strokeWidth=1.3).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q")),
            base.mark_text(align="left", dx=6, fontSize=11).encode(x=alt.X("high:Q"), text="text:N"),
        ]
    ).properties(width=560, height=max(80, 26 * len(rows)), title="Accuracy by arm")

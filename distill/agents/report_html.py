"""The data report as one HTML file: no script, no other file, no other host. Knows only `report_data`'s figures."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_CSS = Path(__file__).with_name("report.css")
_REASONS_SHOWN = 6
_CHART = (360, 150)
_TITLE_CHARS = 110


def page(figures: Mapping[str, Any]) -> str:
    """The whole file."""
    parts = [
        f"<h1>{_text(figures['title'])}</h1>",
        '<p class="soft">What came through each stage, what did not, and why.</p>',
        _cards(figures),
        "<h2>Stages</h2>",
        _flow(figures["stages"]),
        "<h2>Task categories</h2>",
        _balance(figures["categories"], [stage["name"] for stage in figures["stages"]]),
        "<h2>Lengths</h2>",
        '<div class="charts">',
        *(_histogram(name, bins) for name, bins in figures["lengths"].items()),
        "</div>",
        "<h2>Where records come from</h2>",
        '<div class="charts">',
        *(
            f"<div>{_table((title, 'records'), figures[key].items())}</div>"
            for title, key in (("source", "sources"), ("language", "languages"), ("kind", "kinds"))
        ),
        "</div>",
        "<h2>Scores</h2>",
        _scores(figures["scores"]),
        "<h2>Tokens and cost</h2>",
        _costs(figures["stages"]),
        "<h2>Samples</h2>",
        *(_sample(one) for one in figures["samples"]),
        "<h2>Samples of what was rejected</h2>",
        *(_sample(one) for one in figures["rejected_samples"]),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(figures['title'])}</title><style>{_CSS.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _count(value: float) -> str:
    return f"{value:,}"


def _cards(figures: Mapping[str, Any]) -> str:
    shown = (
        (_count(figures["records"]), "records in the end"),
        (_count(figures["rejected"]), "rejected on the way"),
        (_count(len(figures["categories"])), "task categories"),
        (_count(figures["tokens"]["prompt"]), "prompt tokens"),
        (_count(figures["tokens"]["completion"]), "completion tokens"),
        (f"${figures['cost_usd']:,.2f}", "cost"),
    )
    cards = "".join(f'<div class="card"><b>{value}</b><span>{name}</span></div>' for value, name in shown)
    return f'<div class="cards">{cards}</div>'


def _flow(stages: Sequence[Mapping[str, Any]]) -> str:
    most = max((stage["records"] + stage["rejected"] for stage in stages), default=1) or 1
    rows = []
    for stage in stages:
        widths = ((stage["passed_on"], "kept"), (stage["made"], "made"), (stage["rejected"], "gone"))
        bar = "".join(
            f'<i class="{kind}" style="width:{100 * count / most:.2f}%"></i>' for count, kind in widths
        )
        reasons = list(stage["reasons"].items())
        said = [f"{_text(reason)} {_count(count)}" for reason, count in reasons[:_REASONS_SHOWN]]
        if rest := sum(count for _, count in reasons[_REASONS_SHOWN:]):
            said.append(f"other reasons {_count(rest)}")
        rows.append(
            f'<b class="name">{_text(stage["name"])}</b><div class="bar">{bar}</div>'
            f'<span class="sum">{_count(stage["records"])}</span>'
        )
        if said:
            rows.append(f'<div class="reasons">rejected {_count(stage["rejected"])}: {", ".join(said)}</div>')
    key = "".join(
        f'<span><i class="{kind}"></i>{name}</span>'
        for kind, name in (("kept", "passed on"), ("made", "made or changed here"), ("gone", "rejected"))
    )
    return f'<div class="key">{key}</div><div class="flow">{"".join(rows)}</div>'


def _balance(categories: Mapping[str, Mapping[str, int]], stages: Sequence[str]) -> str:
    rows = [(category, *(counts[stage] for stage in stages)) for category, counts in categories.items()]
    return _table(("category", *stages), rows)


def _scores(scores: Mapping[str, Mapping[str, float]]) -> str:
    if not scores:
        return '<p class="soft">No agent has scored these records.</p>'
    rows = [
        (name, *(one[key] for key in ("records", "mean", "least", "most"))) for name, one in scores.items()
    ]
    return _table(("score", "records", "mean", "least", "most"), rows)


def _costs(stages: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (stage["name"], stage["prompt_tokens"], stage["completion_tokens"], f"${stage['cost_usd']:,.4f}")
        for stage in stages
    ]
    return _table(("stage", "prompt tokens", "completion tokens", "cost"), rows)


def _table(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: object) -> str:
    return _count(value) if isinstance(value, int | float) else _text(value)


def _histogram(name: str, bins: Sequence[Mapping[str, int | None]]) -> str:
    width, height = _CHART
    foot, top = 18, 16
    most = max((one["count"] or 0 for one in bins), default=0) or 1
    step = width / len(bins)
    shapes = [f'<line x1="0" y1="{height - foot}" x2="{width}" y2="{height - foot}"/>']
    for at, one in enumerate(bins):
        count = one["count"] or 0
        tall = (height - foot - top) * count / most
        middle = at * step + step / 2
        label = f"{one['from']}–{one['to'] - 1}" if one["to"] else f"{one['from']}+"
        shapes.append(
            f'<rect x="{at * step + 2:.1f}" y="{height - foot - tall:.1f}" width="{step - 4:.1f}" height="{tall:.1f}" '
            f'rx="2"><title>{label} words: {count}</title></rect>'
            f'<text x="{middle:.1f}" y="{height - 4}" text-anchor="middle">{one["from"]}</text>'
        )
        if count:
            shapes.append(
                f'<text x="{middle:.1f}" y="{height - foot - tall - 4:.1f}" text-anchor="middle">{count}</text>'
            )
    return (
        f'<div><h3>{_text(name)} (from this number on)</h3><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Histogram of {_text(name)}">{"".join(shapes)}</svg></div>'
    )


def _sample(one: Mapping[str, Any]) -> str:
    tags = [one["category"], one["source"], one["language"]]
    if "reason" in one:
        tags = [one["stage"], one["reason"]]
    first = one["instruction"].strip().splitlines() or [""]
    title = first[0] if len(first[0]) <= _TITLE_CHARS else first[0][:_TITLE_CHARS] + " …"
    parts = [
        ("Instruction", one["instruction"]),
        ("Behind the cursor", one["suffix"]),
        ("Response", one["response"]),
    ]
    if one.get("detail"):
        parts.insert(0, ("Why", one["detail"]))
    inner = "".join(f"<h3>{name}</h3><pre>{_text(text)}</pre>" for name, text in parts if text)
    return (
        f'<details class="sample"><summary><span>{_text(" · ".join(filter(None, tags)))}</span>{_text(title)}</summary>'
        f"<div>{inner}</div></details>"
    )

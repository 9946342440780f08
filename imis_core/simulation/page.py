"""A simulation's answer as one HTML page with charts: complete in itself, without scripts and without other hosts.

Charts are drawn by Vega-Lite when the page is made and stand in it as SVG. It computes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from imis_core.simulation.tables import GROUPS, rows

BEFORE: Final = "in force"
AFTER: Final = "proposed"
COLOURS: Final = ("#9aa5b1", "#1f6f8b")
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE: Final = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
p.note { background: #fff6e0; border-left: 4px solid #e0a800; padding: .5rem .8rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem; margin: 1.5rem 0; }
dl div { border: 1px solid #d9dee4; border-radius: .4rem; padding: .6rem .8rem; }
dt { font-size: .85rem; color: #56616e; } dd { margin: 0; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #e4e8ec; text-align: right; }
th:first-child, td:first-child { text-align: left; } thead th { color: #56616e; font-weight: 600; }
figure { margin: 1rem 0; overflow-x: auto; } svg { max-width: 100%; height: auto; }
@media print { body { margin: 0; } h2 { break-after: avoid; } figure, table { break-inside: avoid; } }
"""


def page(answer: Mapping[str, Any], currency: str) -> str:
    """The whole page."""
    title = f"Package {answer['package']}: what the proposal would have cost"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>Scheme {escape(answer['scheme'])}, claims of {answer['from']} to {answer['to']}: {answer['claims']} "
        f"claims with {answer['lines']} lines. Amounts in {escape(currency)}.</p>",
        _note(answer),
        _figures(answer),
    ]
    for group, name in GROUPS:
        if answer[group]:
            parts.append(f"<h2>Cost by {escape(name)}</h2>")
            parts.append(f"<figure>{chart(answer[group], name, currency)}</figure>")
            header = (name, "claims", BEFORE, AFTER, "difference")
            cells = [
                (one["name"], one["claims"], one["before"], one["after"], one["difference"]) for one in answer[group]
            ]
            parts.append(_table(header, cells))
    parts += _sections(answer)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _note(answer: Mapping[str, Any]) -> str:
    if answer["actual"] == answer["like_for_like"]:
        return ""
    return (
        f'<p class="note">The claims that are valuated come to {answer["actual"]} in fact and to '
        f"{answer['like_for_like']} here: they came in another order than that of their days, or something changed "
        "since.</p>"
    )


def _figures(answer: Mapping[str, Any]) -> str:
    families, paid = answer["families"], answer["contributions"]
    figures = [
        (f"Cost, {BEFORE}", answer["before"]), (f"Cost, {AFTER}", answer["after"]),
        ("Difference", answer["difference"]), ("Families better off", families["better"]),
        ("Families worse off", families["worse"]), ("Families as before", families["same"]),
    ]  # fmt: skip
    if paid is not None:
        figures += [
            (f"Contributions, {BEFORE}", paid["before"]), (f"Contributions, {AFTER}", paid["after"]),
            ("To break even, contributions times", paid["break_even"] or "no contributions"),
            ("To break even, for each policy", paid["per_policy"] or "no policies"),
        ]  # fmt: skip
    boxes = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in figures)
    return f"<dl>{boxes}</dl>"


def _sections(answer: Mapping[str, Any]) -> list[str]:
    """The tables without a chart."""
    found: list[str] = []
    for section, title in (
        ("rejections", "Lines that are refused"), ("ceilings", "Ceilings reached"), ("families", "Families"),
        ("contributions", "Contributions"),
    ):  # fmt: skip
        cells = [row[1:] for row in rows(answer) if row[0] == section]
        if cells:
            header = ("", f"{BEFORE} (count)", f"{AFTER} (count)", BEFORE, AFTER, "difference")
            found += [f"<h2>{title}</h2>", _table(header, cells)]
    return found


def _table(header: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def chart(groups: Sequence[Mapping[str, Any]], name: str, currency: str) -> str:
    """Two bars a group, before and after, as SVG."""
    import altair
    import vl_convert

    values = [
        {"name": one["name"], "terms": terms, "cost": float(one[key])}
        for one in groups
        for key, terms in (("before", BEFORE), ("after", AFTER))
    ]
    order = [one["name"] for one in groups]
    drawn = (
        altair.Chart({"values": values}, width=max(240, 60 * len(order)), height=220)
        .mark_bar()
        .encode(
            x=altair.X("name:N", sort=order, title=name, axis=altair.Axis(labelAngle=0 if len(order) < 9 else -45)),
            xOffset=altair.XOffset("terms:N", sort=[BEFORE, AFTER]),
            y=altair.Y("cost:Q", title=f"cost in {currency}"),
            color=altair.Color(
                "terms:N", sort=[BEFORE, AFTER], title=None,
                scale=altair.Scale(domain=[BEFORE, AFTER], range=list(COLOURS)),
                legend=altair.Legend(orient="top"),
            ),
        )
    )  # fmt: skip
    svg: str = vl_convert.vegalite_to_svg(drawn.to_dict())
    return svg

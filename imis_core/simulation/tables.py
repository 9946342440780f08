"""A simulation's answer as rows: for the terminal, for a CSV file, and for the page. It computes nothing.

It works on the answer of `claims.simulate` as the doors give it, plain data with amounts as decimal strings.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any, Final

GROUPS: Final = (
    ("by_category", "category"),
    ("by_level", "level of the facility"),
    ("by_month", "month"),
    ("by_age", "age"),
    ("by_sex", "sex"),
)
COLUMNS: Final = ("section", "name", "count_before", "count_after", "before", "after", "difference")
Row = tuple[str, str, Any, Any, str, str, str]


def rows(answer: Mapping[str, Any]) -> Iterator[Row]:
    """Every figure of the answer as a row of `COLUMNS`; what does not apply is empty."""
    yield (
        "all", "cost", answer["claims"], answer["claims"], answer["before"], answer["after"], answer["difference"]
    )  # fmt: skip
    yield "all", "actual", "", "", answer["actual"], "", ""
    yield "all", "like_for_like", "", "", answer["like_for_like"], "", ""
    for group, _ in GROUPS:
        for one in answer[group]:
            claims = one["claims"]
            yield group, one["name"], claims, claims, one["before"], one["after"], one["difference"]
    for one in answer["rejections"]:
        yield "rejections", one["reason"], one["before"], one["after"], "", "", ""
    ceilings = answer["ceilings"]
    yield (
        "ceilings", "policies", ceilings["policies_before"], ceilings["policies_after"], ceilings["above_before"],
        ceilings["above_after"], "",
    )  # fmt: skip
    families = answer["families"]
    yield "families", "better", "", families["better"], "", families["gain"], ""
    yield "families", "worse", "", families["worse"], "", families["loss"], ""
    yield "families", "same", "", families["same"], "", "", ""
    paid = answer["contributions"]
    if paid is not None:
        policies = paid["policies"]
        yield "contributions", "all", policies, policies, paid["before"], paid["after"], paid["difference"]
        yield "contributions", "persons", paid["persons"], paid["persons"], "", "", ""
        yield "contributions", "break_even_factor", "", "", "", paid["break_even"] or "", ""
        yield "contributions", "break_even_per_policy", "", "", "", paid["per_policy"] or "", ""
        yield "contributions", "break_even_per_person", "", "", "", paid["per_person"] or "", ""


def as_csv(answer: Mapping[str, Any]) -> str:
    """All rows under their columns."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows(answer))
    return out.getvalue()


def as_text(answer: Mapping[str, Any]) -> str:
    """The answer for a terminal: what it is about, then a table for each section."""
    title = (
        f"{answer['scheme']}, package {answer['package']}, {answer['from']} to {answer['to']}: "
        f"{answer['claims']} claims, {answer['lines']} lines"
    )
    parts = [title]
    if answer["actual"] != answer["like_for_like"]:
        parts.append(
            f"note: the claims that are valuated come to {answer['actual']} in fact and to {answer['like_for_like']} "
            "here; they came in another order than that of their days, or something changed since"
        )
    section = ""
    lines: list[Sequence[str]] = []
    for row in rows(answer):
        if row[0] != section:
            parts += [_table(lines)] if lines else []
            section, lines = row[0], [(row[0], *COLUMNS[2:])]
        lines.append(tuple(str(cell) for cell in row[1:]))
    return "\n\n".join([*parts, _table(lines)])


def _table(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    written = []
    for line in lines:
        first, *rest = line
        cells = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(rest, widths[1:], strict=True))]
        written.append("  ".join(cells).rstrip())
    return "\n".join(written)

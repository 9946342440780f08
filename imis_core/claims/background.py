"""Processing all checked claims of a scheme in the background, in chunks that never share a policy.

Claims that draw on the same cover come into the same chunk, and are valuated there in their order (target date, then
code): the amounts are those of `claims.process` at once, however many workers take part and whatever dies between.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.claims.commands import scheme_problem
from imis_core.claims.inputs import ProcessedClaims
from imis_core.claims.processing import process_checked
from imis_core.claims.states import CHECKED, NUMBERS
from imis_core.claims.verdicts import COVER, COVER_KIND, LINES_IN_FORCE
from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Refusal
from imis_core.jobs_doors import BegunJob, begin
from imis_core.jobs_kinds import Chunk, ChunkedJob

JOB: Final = "claims.process"
CHUNK_ITEMS: Final = 2_000  # claims; a chunk ends with the policy that reaches this many
CHUNK_LIMIT: Final = 5_000  # claims of one policy beyond this many fill chunks of their own, one after the other


@frozen(kw_only=True)
class ProcessInBackground:
    scheme: str


@command("claims.process_in_background", input=ProcessInBackground, result=BegunJob, permission="claims.process")
def process_in_background(context: Context, items: tuple[ProcessInBackground, ...]) -> list[BegunJob | Refusal]:
    """Valuate all checked claims of a scheme in the background; `jobs.show` tells how far it has come."""
    return [scheme_problem(context, item.scheme) or begin(context, JOB, item, "claims.process") for item in items]


# Of all lines, rejected ones too: a review may have brought one back.
_COVERS: Final = sa.text(
    f"""
    SELECT k.claim, array_agg(DISTINCT {COVER_KIND} || ' ' || {COVER}) FILTER (WHERE {COVER} IS NOT NULL) AS covers
    FROM {LINES_IN_FORCE} JOIN core.claims c ON c.id = k.claim
    WHERE t.scheme = :scheme AND t.state = :checked AND NOT t.awaits_review
    GROUP BY k.claim, c.target_date, c.code ORDER BY c.target_date, c.code
    """
)


def cut(context: Context, asked: ProcessInBackground) -> Sequence[Chunk]:
    """The scheme's checked claims, policies kept together."""
    rows = context.execute(_COVERS, {"scheme": asked.scheme, "checked": NUMBERS[CHECKED]})
    chunks: list[Chunk] = []
    for position, part in enumerate(filled(together((row.claim, row.covers or ()) for row in rows))):
        lock = f"policy {position}" if len(part) > CHUNK_LIMIT else None  # one after the other, in order
        for start in range(0, len(part), CHUNK_LIMIT):
            claims = part[start : start + CHUNK_LIMIT]
            chunks.append(Chunk(len(claims), claims, lock))
    return chunks


def together(claims: Iterable[tuple[int, Iterable[Hashable]]]) -> list[list[int]]:
    """Claims in groups that share no cover or whatever is named, directly or through others; all in the order given."""
    above: dict[Hashable, Hashable] = {}

    def root(cover: Hashable) -> Hashable:
        while above[cover] != cover:
            above[cover] = cover = above[above[cover]]
        return cover

    first: list[tuple[int, Hashable]] = []
    for claim, covers in claims:
        names = list(covers) or [f"claim {claim}"]
        for name in names:
            above.setdefault(name, name)
        for other in names[1:]:
            above[root(other)] = root(names[0])
        first.append((claim, names[0]))
    groups: dict[Hashable, list[int]] = {}
    for claim, cover in first:
        groups.setdefault(root(cover), []).append(claim)
    return list(groups.values())


def filled(groups: Iterable[list[int]], items: int | None = None, limit: int | None = None) -> list[list[int]]:
    """Chunks of whole groups: one ends with the group that reaches `items`; a group of more than `limit` is alone."""
    items, limit = items or CHUNK_ITEMS, limit or CHUNK_LIMIT
    chunks: list[list[int]] = []
    for group in groups:
        if not chunks or len(chunks[-1]) >= items or len(chunks[-1]) + len(group) > limit:
            chunks.append([])
        chunks[-1].extend(group)
    return chunks


def work(context: Context, asked: ProcessInBackground, claims: Any) -> ProcessedClaims:
    """Valuate one chunk's claims."""
    return process_checked(context, asked.scheme, claims)


JOBS: Final = (ChunkedJob(JOB, ProcessInBackground, cut, work, "Valuate the checked claims of a scheme"),)
COMMANDS: Final = (process_in_background,)

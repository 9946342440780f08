"""The check of new members before they are registered: what the registry and plugins object to, once per batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from imis_core import hookspecs
from imis_core.errors import Refusal

if TYPE_CHECKING:
    from imis_core.context import Context


@frozen
class BeneficiaryBatch:
    """Groups that are about to be registered or to take a member: equally long columns, one position per item.

    `places` are keys of locations, None for a group without one. `context.approved_change` says whether the
    command runs as a change request that a second person approved.
    """

    command: str
    kinds: tuple[str, ...]
    places: tuple[int | None, ...]

    def __len__(self) -> int:
        return len(self.places)


def check_batch(context: Context, batch: BeneficiaryBatch) -> Sequence[Refusal | None]:
    """The first objection to each position, in the order of the plugins' names; None where nobody objects."""
    found: list[Refusal | None] = [None] * len(batch)
    if not batch.places:
        return found
    plugins = context.app.plugins
    spec = hookspecs.imis_beneficiary_check_batch
    for name in plugins.implementers(spec):
        for position, refusal in plugins.call_plugin(name, spec, context, batch).items():
            found[position] = found[position] or refusal
    return found

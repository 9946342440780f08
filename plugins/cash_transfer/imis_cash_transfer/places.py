"""Free places of packages for moves that are decided one by one: the maximum, and the quota of each place.

Counts under the package's lock, which the caller holds; selections count in their own statement (`selection`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from attrs import define, field

from imis_cash_transfer.selection import NOWHERE, named_places, occupied
from imis_cash_transfer.targets import Target
from imis_core.api import Context, Refusal


@define
class FreePlaces:
    """What is taken of the packages of a batch, as its items take places and give them back."""

    in_all: Counter[int] = field(factory=Counter)
    by_place: Counter[tuple[int, int]] = field(factory=Counter)
    named: dict[tuple[int, int], tuple[int, str]] = field(factory=dict)  # (package, location): named place and its code

    @classmethod
    def load(cls, context: Context, targets: Sequence[Target]) -> FreePlaces:
        """Two statements for all packages of the batch."""
        places = cls()
        limited = {t.package: t for t in targets if t.terms.max_beneficiaries is not None or t.terms.quota is not None}
        if not limited:
            return places
        quotas = [(package, t.terms.quota) for package, t in limited.items() if t.terms.quota is not None]
        if quotas:
            selects = []
            for package, quota in quotas:
                named = named_places(quota)
                number = sa.cast(sa.literal(package, sa.BigInteger), sa.BigInteger).label("package")
                selects.append(sa.select(number, named.c.location, named.c.named, named.c.code))
            rows: Any = context.execute(sa.union_all(*selects))
            places.named = {(row.package, row.location): (row.named, row.code) for row in rows}
        taken = occupied(sorted(limited))
        for row in context.execute(sa.select(taken.c.package, taken.c.place, taken.c.taken)):
            places.in_all[row.package] += row.taken
            places.by_place[row.package, places._area(row.package, row.place)] += row.taken
        return places

    def take(self, target: Target, place: int | None) -> Refusal | None:
        """Take a place, or say that there is none."""
        package, terms = target.package, target.terms
        most = terms.max_beneficiaries
        if most is not None and self.in_all[package] >= most:
            message = f"all {most} places of {target.version.code} are taken"
            return Refusal("targeting.no_place", message)
        area = self._area(package, place)
        if terms.quota is not None:
            _, code = self.named.get((package, place or NOWHERE), (NOWHERE, ""))
            quota = terms.quota.places.get(code, terms.quota.others)
            if self.by_place[package, area] >= quota:
                where = f"in {code}" if code else "in this place"
                message = f"all {quota} places of {target.version.code} {where} are taken"
                return Refusal("targeting.no_place", message)
        self.in_all[package] += 1
        self.by_place[package, area] += 1
        return None

    def give_back(self, target: Target, place: int | None) -> None:
        """A place that is free again for the items behind."""
        self.in_all[target.package] -= 1
        self.by_place[target.package, self._area(target.package, place)] -= 1

    def _area(self, package: int, place: int | None) -> int:
        """The place whose quota counts: the nearest that is named, else the place itself."""
        named = self.named.get((package, place or NOWHERE))
        return named[0] if named is not None else place or NOWHERE

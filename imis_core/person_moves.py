"""What follows a person of the kernel's rooms when two persons are found to be one; the registry itself knows none.

Claims, orders and entitlements are mass nouns: they stay as they were written, with the person of their time.
"""

from __future__ import annotations

from typing import Final

from imis_core.beneficiaries.merging import PersonMove
from imis_core.coverage.tables import coverage_members, coverages
from imis_core.employment.tables import employments, wages
from imis_core.payments.tables import recipients
from imis_core.payroll.tables import recoveries
from imis_core.registry.tables import exclusions

PERSON_MOVES: Final = (
    PersonMove(exclusions, "person", "EXISTS (SELECT FROM core.exclusions k WHERE k.person = n.kept)"),
    # Two addresses for one scheme, two covers by one package, two spells with one employer: the kept person's stands.
    PersonMove(
        recipients,
        "person",
        "t.active AND EXISTS (SELECT FROM core.recipients k "
        "WHERE k.person = n.kept AND k.scheme = t.scheme AND k.active)",
    ),
    PersonMove(coverages, "person"),
    PersonMove(recoveries, "person"),
    PersonMove(
        coverage_members,
        "person",
        "EXISTS (SELECT FROM core.coverage_members k "
        "WHERE k.person = n.kept AND k.package = t.package AND (k.held && t.held OR k.coverage = t.coverage))",
    ),
    PersonMove(
        employments,
        "person",
        "EXISTS (SELECT FROM core.employments k WHERE k.person = n.kept AND k.employer = t.employer "
        "AND daterange(k.starts, k.ends, '[]') && daterange(t.starts, t.ends, '[]'))",
    ),
    PersonMove(
        wages,
        "person",
        "EXISTS (SELECT FROM core.wages k WHERE k.person = n.kept AND k.employer = t.employer "
        "AND k.month = t.month AND k.scheme = t.scheme)",
    ),
)

"""Who lived in which household before: found by person, for conditions about the patient of an older claim."""

from __future__ import annotations

from imis_core.migrations import online

revision = "core_0020"
down_revision = "core_0019"


def upgrade() -> None:
    online.create_index("ix_memberships_left", "core.memberships", ["person"], where="left_on IS NOT NULL")

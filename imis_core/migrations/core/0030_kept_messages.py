"""Messages of payment providers whose words are still kept are found by their age."""

from __future__ import annotations

from imis_core.migrations import online

revision = "core_0030"
down_revision = "core_0029"


def upgrade() -> None:
    online.create_index("ix_provider_messages_kept", "core.provider_messages", ["received_at"], where="body <> ''")

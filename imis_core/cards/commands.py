"""The commands of cards, collected for the kernel's list of rooms."""

from __future__ import annotations

from imis_core.cards.issuing import issue, rotate_keys
from imis_core.cards.revoking import revoke

COMMANDS = (issue, revoke, rotate_keys)

"""Tables of the room notifications."""

from __future__ import annotations

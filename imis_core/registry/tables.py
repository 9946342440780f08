"""Tables of the room registry."""

from __future__ import annotations

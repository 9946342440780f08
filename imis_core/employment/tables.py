"""Tables of the room employment."""

from __future__ import annotations

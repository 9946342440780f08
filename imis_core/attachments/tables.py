"""Tables of the room attachments."""

from __future__ import annotations

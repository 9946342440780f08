"""Tables of the room payroll."""

from __future__ import annotations

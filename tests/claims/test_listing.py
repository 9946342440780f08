"""Lists of claims: by what names them, in short and in full."""

from __future__ import annotations

from typing import Any

import pytest

from tests.claims.conftest import Clinic

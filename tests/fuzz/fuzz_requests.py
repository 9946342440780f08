"""`nox -s fuzz`: the whole OpenAPI document, over real HTTP; counts and seed are printed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from imis_core.testing.app import TestApp
from imis_core.testing.auditor import assert_sound
from tests.fuzz.importers import prepare
from tests.fuzz.requests import SCHEMES, fuzz
from tests.web.conftest import served

EACH = int(os.environ.get("IMIS_FUZZ_EACH", "120"))
SEED = int(os.environ.get("IMIS_FUZZ_SEED", "20210101"))


def test_no_request_breaks_the_server(make_app: Callable[..., TestApp]) -> None:
    """No 5xx, no status, media type or body that the document does not tell of; and what was written is sound."""
    app: Any = prepare(make_app(settings=SCHEMES))
    with served(app) as site:
        run = fuzz(site.client, SEED, EACH)
    print(f"\nseed {SEED}, {EACH} requests to each operation: {run.report()}")
    assert run.as_nobody == 0, run.report()
    assert run.failures == {}
    assert_sound(app)

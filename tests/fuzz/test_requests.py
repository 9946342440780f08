"""A small share of what `nox -s fuzz` sends: one request to each operation, right or wrong."""

from __future__ import annotations

from collections.abc import Callable

from imis_core.testing.app import TestApp
from tests.fuzz.importers import prepare
from tests.fuzz.requests import SCHEMES, fuzz
from tests.web.conftest import served


def test_no_request_breaks_the_server(make_app: Callable[..., TestApp]) -> None:
    """No 5xx, and no answer that the document does not tell of."""
    with served(prepare(make_app(settings=SCHEMES))) as site:
        run = fuzz(site.client, 7, 1)
    assert run.sent > 100
    assert run.as_nobody == 0, run.report()
    assert run.failures == {}, run.report()

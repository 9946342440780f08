"""The pytest plugin: fixtures `playground`, `make_app` and `app`. Registered by the entry point `pytest11`.

One embedded server serves all workers of a test run; every test gets a database cloned from a migrated template.
`IMIS_TEST_DATABASE_URL` (a login that may create databases and roles) makes the tests run on that server instead.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from imis_core.opening import Playground
    from imis_core.testing.app import TestApp


@pytest.fixture(scope="session")
def playground(request: pytest.FixtureRequest) -> Iterator[Playground]:
    """Throw-away databases, on one embedded server for the whole run."""
    from imis_core.database import embedded
    from imis_core.database.embedded import EmbeddedServerError
    from imis_core.database.server import ThrowAway
    from imis_core.opening import THROW_AWAY_SETTINGS, Playground

    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    prefix = f"t{hashlib.sha256(f'{run}{worker}'.encode()).hexdigest()[:8]}"
    url = os.environ.get("IMIS_TEST_DATABASE_URL")
    if url:
        ground = Playground(ThrowAway(url, prefix), prefix)
        yield ground
        ground.close()
        return
    # A folder that another account can reach: as root the server does not run as root.
    folder = Path(tempfile.gettempdir()) / f"imis-tests-{hashlib.sha256(run.encode()).hexdigest()[:12]}"
    folder.mkdir(mode=0o755, exist_ok=True)
    lease = embedded.acquire(folder, settings={**THROW_AWAY_SETTINGS, "max_connections": "200"})
    try:
        yield Playground(ThrowAway(lease.url(), prefix), prefix)
    finally:
        lease.release()
        if not embedded.status(folder).in_use:
            with suppress(EmbeddedServerError):  # another worker of the run uses or removes it in this moment
                embedded.remove(folder)


AppMaker = Callable[..., "TestApp"]


@pytest.fixture
def make_app(playground: Playground) -> Iterator[AppMaker]:
    """Makes applications on fresh databases: `make_app(today=..., settings={...}, extra={...})`."""
    from imis_core.testing.app import test_application

    with ExitStack() as stack:

        def make(
            *, today: date = date(2021, 1, 1), settings: Mapping[str, Any] | None = None,
            extra: Mapping[str, object] | None = None, plugins: Sequence[str] | None = None,
        ) -> TestApp:  # fmt: skip
            return stack.enter_context(test_application(playground, today, settings, extra, plugins))

        yield make


@pytest.fixture
def app(make_app: AppMaker) -> TestApp:
    """An application on a fresh database, with the scheme `chf` if health insurance is installed."""
    app: TestApp = make_app()
    return app

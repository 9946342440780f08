"""The pytest plugin: fixtures `playground`, `make_app` and `app`. Registered by the entry point `pytest11`.

One embedded server serves all workers of a test run; every test gets a database cloned from a migrated template.
`IMIS_TEST_DATABASE_URL` (a login that may create databases and roles) makes the tests run on that server instead.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from imis_core.opening import Playground
    from imis_core.testing.app import TestApp
    from imis_core.testing.conformance import Conformance


@pytest.fixture(scope="session")
def playground(request: pytest.FixtureRequest) -> Iterator[Playground]:
    """Throw-away databases, on one embedded server for the whole run."""
    from imis_core.database import embedded
    from imis_core.database.embedded import EmbeddedServerError
    from imis_core.database.server import ThrowAway
    from imis_core.opening import THROW_AWAY_SETTINGS, Playground, throw_away_folder

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
    folder = throw_away_folder() / f"imis-tests-{hashlib.sha256(run.encode()).hexdigest()[:12]}"
    folder.mkdir(mode=0o755, exist_ok=True)
    lease = embedded.acquire(folder, settings={**THROW_AWAY_SETTINGS, "max_connections": "200"})
    try:
        with closing(ThrowAway(lease.url(), prefix)) as databases:
            yield Playground(databases, prefix)
    finally:
        lease.release()
        if not embedded.status(folder).in_use:
            with suppress(EmbeddedServerError):  # another worker of the run uses or removes it in this moment
                embedded.remove(folder)


AppMaker = Callable[..., "TestApp"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "audited: the auditor looks at the test's applications when it ends")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--imis-audit", action="store_true", help="let the auditor look at every application when its test ends"
    )


@pytest.fixture
def make_app(playground: Playground, request: pytest.FixtureRequest) -> Iterator[AppMaker]:
    """Makes applications on fresh databases: `make_app(today=..., settings={...}, extra={...})`.

    With `--imis-audit`, and in tests marked `audited`, the auditor looks at each of them at the end of the test.
    """
    from imis_core.testing.app import test_application
    from imis_core.testing.auditor import assert_sound

    audited = request.config.getoption("--imis-audit") or request.node.get_closest_marker("audited") is not None
    with ExitStack() as stack:

        def make(
            *, today: date = date(2021, 1, 1), settings: Mapping[str, Any] | None = None,
            extra: Mapping[str, object] | None = None, plugins: Sequence[str] | None = None,
        ) -> TestApp:  # fmt: skip
            app = stack.enter_context(test_application(playground, today, settings, extra, plugins))
            made.append(app)
            return app

        made: list[TestApp] = []
        yield make
        for app in made if audited else ():
            assert_sound(app)


class ScenarioRunner(Protocol):
    """The fixture `scenario`: runs a file, fails with every step that does not do as it says."""

    def __call__(self, path: Path, /, *, extra: Mapping[str, object] | None = None) -> None: ...


@pytest.fixture
def scenario(playground: Playground) -> ScenarioRunner:
    """Runs a scenario file on a database of its own; afterwards the auditor looks at it: `scenario(path)`."""
    from imis_core.scenarios.files import read_scenario
    from imis_core.scenarios.runner import run
    from imis_core.testing.auditor import assert_sound

    def check(path: Path, /, *, extra: Mapping[str, object] | None = None) -> None:
        result = run(read_scenario(path, extra=extra), playground, extra=extra, at_end=assert_sound)
        steps = [f"  step {f.step}, {f.do}: {f.reason}" for f in result.failures]
        if steps or not result.steps:
            raise AssertionError("\n".join([f"{path.name} ({result.title}) does not hold:", *steps]))

    return check


@pytest.fixture
def conformance(playground: Playground) -> Conformance:
    """Fails with everything that a plugin does not keep to: `conformance("school_feeding", terms={...})`."""
    from imis_core.testing.conformance import assert_conforms

    def check(plugin: str, /, **more: Any) -> None:
        assert_conforms(playground, plugin, **more)

    return check


@pytest.fixture
def app(make_app: AppMaker) -> TestApp:
    """An application on a fresh database, with the scheme `chf` if health insurance is installed."""
    app: TestApp = make_app()
    return app

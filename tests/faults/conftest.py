"""Deployments for fault tests: on a database of the test server, or with an embedded server of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imis_core.database import embedded
from imis_core.database.server import Addresses
from imis_core.opening import Playground, migrate_deployment
from tests.faults.harness import Deployment
from tests.faults.world import EMBEDDED, SETTINGS, make_world, outcome_of


@pytest.fixture(scope="session")
def world_template(playground: Playground) -> Iterator[str]:
    """A database with the world in it, to be cloned."""
    name = f"{playground.prefix}_world"
    addresses = playground.databases.template(name)
    with Folder() as folder:
        write_settings(folder, addresses)
        migrate_deployment(folder)
        with Deployment(folder, "", folder).application() as hands:
            make_world(hands)
    yield name
    playground.databases.drop(name)
    playground.databases.drop_roles(name)


def write_settings(folder: Path, addresses: Addresses, plugins: Mapping[str, str] | None = None) -> None:
    text = SETTINGS.format(app=addresses.app, owner=addresses.owner)
    if plugins:  # they speak for every scheme that does not name its plugins
        text = text.replace('"cash_transfer"]', f'"cash_transfer", {", ".join(map(repr, plugins))}]')
        text = text.replace("plugins = []", "")
    (folder / "imis.toml").write_text(text, "utf-8")


class Folder:
    """A folder of its own that every account may enter."""

    def __enter__(self) -> Path:
        self.path = Path(tempfile.mkdtemp(prefix="imis-faults-"))
        self.path.chmod(0o755)
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


Maker = Callable[..., Deployment]


@pytest.fixture
def make_deployment(playground: Playground, world_template: str, tmp_path: Path) -> Iterator[Maker]:
    """Makes deployments with the world in them, each on a database of its own on the test server."""
    with ExitStack() as stack:
        made: list[Deployment] = []

        def make(plugins: Mapping[str, str] | None = None) -> Deployment:
            name = f"{world_template}_{len(made)}_{tmp_path.name[-8:].strip('_')}"
            addresses = playground.databases.clone(world_template, name)
            stack.callback(playground.databases.drop, name)
            folder = stack.enter_context(Folder())
            write_settings(folder, addresses, plugins or {})
            admin = sa.make_url(playground.databases._admin).set(database=name)
            scratch = tmp_path / name
            scratch.mkdir()
            deployment = Deployment(folder, admin.render_as_string(hide_password=False), scratch, plugins=plugins or {})
            stack.callback(deployment.close)
            made.append(deployment)
            return deployment

        yield make


@pytest.fixture
def deployment(make_deployment: Maker) -> Deployment:
    return make_deployment()


@pytest.fixture
def breaking(make_deployment: Maker) -> Deployment:
    """A deployment with the plugin that breaks, and two counters at 0."""
    deployment = make_deployment({"breaking": "tests.faults.breaking"})
    deployment.execute("INSERT INTO core.locations (code, name, level) VALUES ('A', '0', 'x'), ('B', '0', 'x')")
    return deployment


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Deployment]:
    """A deployment with an embedded server of its own, as production starts it, and the world in it."""
    with Folder() as folder:
        (folder / "imis.toml").write_text(EMBEDDED, "utf-8")
        migrate_deployment(folder)
        lease = embedded.acquire(folder / "var" / "postgres")
        deployment = Deployment(folder, lease.url("faulty"), tmp_path)
        try:
            with deployment.application() as hands:
                make_world(hands)
            yield deployment
        finally:
            deployment.close()
            lease.release()
            embedded.remove(folder / "var" / "postgres")


@pytest.fixture
def undisturbed(make_deployment: Maker) -> Callable[[Callable[[Any], object]], dict[str, Any]]:
    """What comes out when the same is done in a world where nothing breaks."""

    def run(act: Callable[[Any], object]) -> dict[str, Any]:
        with make_deployment().application() as hands:
            act(hands)
            return outcome_of(hands)

    return run

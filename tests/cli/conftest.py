"""A small deployment on a database of the test run's server, and a way to call the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from imis_core.cli import main
from imis_core.opening import Playground

SETTINGS = """
[deployment]
name = "small"
country = "XX"
currency = "USD"
[database]
url = "{app}"
owner_url = "{owner}"
[plugins]
enabled = ["health_insurance"]
[schemes.chf]
type = "health_insurance"
packages = "packages/chf"
[roles.clerk]
permissions = ["locations.*"]
"""


@frozen
class Answer:
    """What one call of the command line did."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Imis = Callable[..., Answer]


@pytest.fixture(scope="session")
def small(playground: Playground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a migrated deployment."""
    folder = tmp_path_factory.mktemp("small")
    name = f"{playground.prefix}_cli"
    addresses = playground.databases.template(name)
    (folder / "imis.toml").write_text(SETTINGS.format(app=addresses.app, owner=addresses.owner), "utf-8")
    assert main(["-C", str(folder), "migrate"]) == 0
    yield folder
    playground.databases.drop(name)


@pytest.fixture
def imis(capsys: pytest.CaptureFixture[str]) -> Imis:
    """Calls the command line in this process."""

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        printed = capsys.readouterr()
        return Answer(code, printed.out, printed.err)

    return call

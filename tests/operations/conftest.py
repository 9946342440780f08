"""A deployment with something of everything in it, on an embedded database, and folders for more of them."""

from __future__ import annotations

import base64
import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from imis_core.audit_seals import seal_due
from imis_core.cli import main
from imis_core.clock import SetClock
from imis_core.database import embedded
from imis_core.database.embedded import EmbeddedServerError
from imis_core.events import deliver_due
from imis_core.opening import Playground, migrate_deployment, open_application
from imis_core.operations.backup import BackedUp, back_up
from imis_core.operations.restore import Restored, restore

TODAY = date(2021, 6, 30)
PASSWORD = "correct horse battery"
LETTER = b"%PDF-1.7 a letter of Awa Diop"
SETTINGS = """
[deployment]
name = "living"
country = "XX"
currency = "USD"
[deployment.attributes]
telephone = { type = "text", of = "person", masked = true }
occupation = { type = "choice", choices = ["farmer", "trader"] }
[plugins]
enabled = ["grievance", "health_insurance"]
[schemes.chf]
type = "health_insurance"
packages = "packages/chf"
[roles.clerk]
permissions = ["*"]
"""
CLAIM = {
    "code": "C-1", "provider": "HC", "number": "100000001", "from": "2021-02-01", "diagnosis": "A09",
    "lines": [{"item": "LAB", "quantity": 2, "price": "100"}],
}  # fmt: skip
AWA = {
    "number": "100000001", "given_name": "Awa", "family_name": "Diop", "sex": "F", "birth_date": "1980-05-17",
    "relationship": "head", "attributes": {"telephone": "+221770000001", "occupation": "farmer"},
}  # fmt: skip
CHILD = {
    "number": "100000002", "given_name": "Moussa", "family_name": "Diop", "sex": "M", "birth_date": "2015-02-03",
    "relationship": "child",
}  # fmt: skip


@frozen
class Answer:
    """What one call of the command line did."""

    code: int
    out: str
    err: str


@pytest.fixture
def imis(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Calls the command line in this process."""

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        printed = capsys.readouterr()
        return Answer(code, printed.out, printed.err)

    return call


@contextlib.contextmanager
def folders() -> Iterator[Path]:
    """A folder that every account may enter; the embedded servers below it are removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="operations-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        for lock in folder.rglob("start.lock"):
            with contextlib.suppress(EmbeddedServerError):  # a server that a test spoilt on purpose
                embedded.remove(lock.parent)
        shutil.rmtree(folder)


@pytest.fixture
def base() -> Iterator[Path]:
    with folders() as folder:
        yield folder


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Any]:
    """The deployment's application on the day of these tests."""
    with open_application(folder, clock=SetClock(TODAY)) as app:
        yield app


def fill(folder: Path) -> None:
    """People, a policy that was paid, a claim that was valuated, a letter, a message, a complaint, a user."""
    with opened(folder) as app:

        def do(name: str, data: dict[str, Any], key: str | None = None) -> Any:
            return app.run(name, data, app.system, key=key)

        do("locations.add", {"code": "N", "name": "North", "level": "region"})
        do("users.add", {"name": "anna", "roles": ["clerk"], "password": PASSWORD})
        do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
        do("catalogue.define_item", {"code": "LAB", "name": "Lab", "kind": "service", "price": "100"})
        do("catalogue.define_price_list", {"code": "PL", "valid_from": "2019-01-01", "prices": {"LAB": "100"}})
        facility = {"code": "HC", "name": "Facility", "level": "health_centre", "care_type": "both"}
        do("providers.register", {**facility, "price_lists": ["PL"]})
        terms = {"insurance_months": 12, "premium_adult": "50", "premium_child": "10", "items": {"LAB": {}}}
        package = {"scheme": "chf", "code": "BASIC", "name": "Basic", "valid_from": "2019-01-01", "terms": terms}
        do("benefit_packages.define", package)
        do("beneficiaries.register_group", {"code": "FAM", "members": [AWA, CHILD]})
        policy = do("coverage.enrol", {"scheme": "chf", "package": "BASIC", "group": "FAM", "on": "2021-01-01"})
        paid = {"coverage": policy["id"], "amount": policy["due"], "receipt": "R-1", "on": "2021-01-01"}
        do("contributions.record", paid, key="receipt-1")
        do("claims.submit", CLAIM, key="claim-1")
        do("claims.process", {"scheme": "chf"})
        letter = {"name": "awa.pdf", "media_type": "application/pdf"}
        do("attachments.add", {**letter, "content": base64.b64encode(LETTER).decode()})
        do("notifications.send", {"person": "100000001", "text": "Dear Awa Diop, your card is ready"})
        do("grievances.define_category", {"code": "pay", "name": "Payments", "days": 10})
        complaint = {"category": "pay", "description": "Awa Diop was not paid", "reporter": "Awa Diop"}
        do("grievances.open", complaint)
        deliver_due(app)
        app.queue.run_due()
        seal_due(app)


@pytest.fixture(scope="session")
def living() -> Iterator[Path]:
    """The folder of the deployment; tests leave it as it is."""
    with folders() as base:
        folder = base / "living"
        (folder / "packages" / "chf").mkdir(parents=True)
        (folder / "packages" / "chf" / "note.txt").write_text("kept with the packages")
        (folder / "imis.toml").write_text(SETTINGS, "utf-8")
        (folder / "refused.csv").write_text("Awa,Diop", "utf-8")  # somebody's working file
        migrate_deployment(folder)
        fill(folder)
        yield folder


@pytest.fixture(scope="session")
def archive(living: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it."""
    return saved(living, tmp_path_factory.mktemp("backup") / "living.imis.tar").path


def saved(folder: Path, target: Path, **more: Any) -> BackedUp:
    return back_up(folder, target, told=lambda _: None, **more)


def restored(folder: Path, path: Path) -> Restored:
    return restore(folder, path, lambda _: None)


@pytest.fixture
def on_server(base: Path, server: Callable[[str], tuple[str, str]]) -> Callable[[str], Path]:
    """Makes folders to restore into, whose settings name an empty database on the test run's server."""

    def make(name: str) -> Path:
        service, owner = server(f"{name}_{secrets.token_hex(3)}")
        folder = base / name
        folder.mkdir()
        text = SETTINGS.replace("[plugins]", f'[database]\nurl = "{service}"\nowner_url = "{owner}"\n[plugins]')
        (folder / "imis.toml").write_text(text, "utf-8")
        return folder

    return make


@pytest.fixture
def there(on_server: Callable[[str], Path]) -> Path:
    """One such folder."""
    return on_server("there")


@pytest.fixture
def server(playground: Playground) -> Iterator[Callable[[str], tuple[str, str]]]:
    """Makes empty databases on the test run's server: the addresses of the service and of the owner."""
    names: list[str] = []

    def make(what: str) -> tuple[str, str]:
        name = f"{playground.prefix}_{what}"
        names.append(name)
        addresses = playground.databases.template(name)
        return addresses.app, addresses.owner

    yield make
    for name in names:
        playground.databases.drop(name)

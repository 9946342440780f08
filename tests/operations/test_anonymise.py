"""`imis backup --anonymise`: nobody is found again in the copy, and the copy is a whole deployment that works."""

from __future__ import annotations

import gzip
import tarfile
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imis_core.errors import ImisError
from imis_core.operations.anonymise import without_ways_out
from imis_core.operations.archive import read_archive

from .conftest import AWA, CHILD, CLAIM, LETTER, TODAY, Answer, opened, restored

SECRETS = ("Awa", "Diop", "Moussa", "221770000001", "100000001", "100000002", "was not paid", "card is ready", "anna")


@pytest.fixture(scope="module")
def copy(living: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The anonymised archive of the living deployment."""
    from imis_core.operations.anonymise import back_up_anonymised

    return back_up_anonymised(living, tmp_path_factory.mktemp("copy") / "copy.tar", lambda _: None).path


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]


def test_nothing_of_anybody_is_left(living: Path, copy: Path) -> None:
    """No name, number, telephone, word or file of people stands anywhere in the archive; its keys are new."""
    inside = members(copy)
    script = gzip.decompress(b"".join(v for name, v in sorted(inside.items()) if name.startswith("database/")))
    plain = b"\n".join(v for name, v in inside.items() if not name.startswith("database/"))
    for secret in (*SECRETS, str(AWA["birth_date"]), LETTER.decode()):
        assert secret.encode() not in script, secret
        assert secret.encode() not in plain, secret
    assert inside["keys/ids.key"] != (living / "keys" / "ids.key").read_bytes()
    assert inside["settings/packages/chf/note.txt"] == b"kept with the packages"
    assert read_archive(copy).manifest["anonymised"] is True


def test_a_copy_pays_and_writes_to_nobody() -> None:
    """The tables through which money and messages leave do not go along, whatever stands around them."""
    text = """[deployment]
name = "x"

[payment_gateways.MM]
url = "https://payments.example.org"
token_variable = "TOKEN"

[ "payment_gateways" . "M 2" ]
url = "https://other.example.org"
[notifications]
fallback = "log"
[notifications.sms]
url = "https://sms.example.org"

[roles.clerk]  # stays
permissions = ["*"]
"""
    left = tomllib.loads(without_ways_out(text))
    assert left == {"deployment": {"name": "x"}, "roles": {"clerk": {"permissions": ["*"]}}}
    for other in ('payment_gateways.MM.url = "u"', 'payment_gateways = { MM = { url = "u" } }'):
        with pytest.raises(ImisError) as refused:
            without_ways_out(other)
        assert refused.value.code == "backup.settings"


def test_the_copy_works(living: Path, copy: Path, there: Path) -> None:
    """Restored, amounts, states and ties are those of before, and claims are made for the people who are in it."""
    restored(there, copy)
    sums = (
        "SELECT account, sum(amount) FROM core.ledger_postings GROUP BY 1 ORDER BY 1",
        "SELECT state, count(*) FROM core.claim_current GROUP BY 1",
        "SELECT count(*) FROM core.persons p JOIN core.memberships m ON m.person = p.id",
        "SELECT sex, birth_date > DATE '2003-06-30' FROM core.persons ORDER BY id",
        "SELECT kind, status FROM core.groups",
        "SELECT count(*) FROM grievance.grievances",
    )

    def facts(folder: Path) -> list[Any]:
        with opened(folder) as app, app.database.query(app.system) as connection:
            return [[tuple(row) for row in connection.execute(sa.text(sql))] for sql in sums]

    assert facts(there) == facts(living)
    with opened(there) as app:
        people = app.run("beneficiaries.list", {}, app.system)
        assert len({person["number"] for person in people}) == 2
        assert not {AWA["number"], CHILD["number"]} & {person["number"] for person in people}
        adult = next(p for p in people if p["sex"] == "F")
        shown = app.run("beneficiaries.show_person", {"person": adult["number"]}, app.system)
        assert shown["attributes"]["occupation"] == "farmer"
        assert shown["attributes"]["telephone"].startswith("+")
        assert shown["birth_date"] != AWA["birth_date"]
        claim = {**CLAIM, "code": "C-9", "number": adult["number"]}
        assert app.run("claims.submit", claim, app.system)["status"] == "checked"
        (user,) = [u for u in app.run("users.list", {}, app.system) if u["name"] != "administrator"]
        assert user["name"].startswith("user-")
        with app.database.query(app.system) as connection:
            persons = connection.execute(sa.text("SELECT given_name, family_name FROM core.persons ORDER BY id")).all()
            history = connection.execute(
                sa.text(
                    "SELECT DISTINCT ON (id) given_name, family_name FROM core.persons_history "
                    "ORDER BY id, version DESC"
                )
            ).all()
            assert [tuple(p) for p in persons] == [tuple(h) for h in history]
            assert persons[0].family_name == persons[1].family_name  # the same name is the same stand-in


def test_children_stay_children(make_app: Any, playground: Any) -> None:
    """Births move to the side on which everybody is of the same age class today, never into the future."""
    from imis_core.operations.anonymise import _FUNCTIONS

    app = make_app(plugins=[])
    admin = playground.databases._admin.set(drivername="postgresql+psycopg", database=app.database.url.database)
    engine = sa.create_engine(admin)
    with engine.connect() as connection:
        sql = _FUNCTIONS.format(salt="'s'", names="'{A,B}'", count=2, today=f"DATE '{TODAY}'", majority=18)
        connection.exec_driver_sql(sql.replace("%", "%%"))
        rows = connection.execute(
            sa.text(
                "SELECT born, anon.birth(n, born) AS moved FROM generate_series(1, 40) n, "
                "unnest(ARRAY[DATE '2021-06-30', '2021-06-01', '2003-06-30', '2003-07-01', '2003-05-01', '1950-01-01'])"
                " AS b(born)"
            )
        ).all()
        connection.rollback()
    engine.dispose()

    def adult(born: date) -> bool:
        return (TODAY.year - born.year - ((TODAY.month, TODAY.day) < (born.month, born.day))) >= 18

    assert all(adult(row.moved) == adult(row.born) and row.moved <= TODAY for row in rows)
    assert sum(row.moved != row.born for row in rows) > len(rows) * 0.9


def test_the_command(living: Path, tmp_path: Path, imis: Callable[..., Answer]) -> None:
    """It says that the copy is anonymised; other options make no sense with it."""
    both = imis("-C", living, "backup", tmp_path / "x.tar", "--anonymise", "--without-keys")
    assert (both.code, "goes with no other option" in both.err) == (2, True)

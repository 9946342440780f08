"""Stored files: kept once by their content, named safely, and seen by whoever may see what they are about."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from imis_core.attachments.commands import FILE_MAX
from imis_core.attachments.store import FOLDER, NewFile, path_of, read_content, store_files, write_content
from imis_core.context import Context
from imis_core.errors import ImisError, Unavailable

CONTENT = b"%PDF-1.7 \x00\xff a letter"
ROLES = {
    "roles": {
        "clerk": {"permissions": ["attachments.*", "beneficiaries.*", "locations.*"], "scope": "place"},
        "registry": {"permissions": ["attachments.*", "beneficiaries.*"]},
        "archive": {"permissions": ["attachments.*"]},
    }
}


def _file(content: bytes = CONTENT, **fields: Any) -> dict[str, Any]:
    encoded = base64.b64encode(content).decode()
    return {"name": "letter.pdf", "media_type": "application/pdf", "content": encoded, **fields}


def _stored(app: Any) -> list[Path]:
    return sorted(path for path in (app.var / FOLDER).rglob("*") if path.is_file())


def test_a_file_comes_back_as_it_was_stored(app: Any) -> None:
    """`attachments.add` gives size and SHA-256; `attachments.read` gives the same bytes."""
    added = app.do("attachments.add", _file())
    assert (added["name"], added["size"]) == ("letter.pdf", len(CONTENT))
    assert added["digest"] == hashlib.sha256(CONTENT).hexdigest()
    read = app.do("attachments.read", {"attachment": added["id"]})
    assert base64.b64decode(read["content"]) == CONTENT
    assert (read["name"], read["media_type"]) == ("letter.pdf", "application/pdf")
    shown = app.do("attachments.show", {"attachment": added["id"]})
    assert (shown["id"], shown["digest"], shown["about"]) == (added["id"], added["digest"], None)


def test_equal_content_lies_on_the_disk_once(app: Any) -> None:
    """Two attachments of one content are two rows and one file, named by the digest, nothing temporary beside it."""
    one, two = app.do_all("attachments.add", [_file(), _file(name="copy.pdf")])
    assert one["id"] != two["id"]
    assert _stored(app) == [path_of(app.var / FOLDER, one["digest"])]
    assert [a["name"] for a in app.do("attachments.list")] == ["letter.pdf", "copy.pdf"]


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({"content": "no base64!"}, "content", "base64"),
        ({"content": "YWJj\n"}, "content", "base64"),
        ({"content": 5}, "content", "type"),
        ({"name": "../up.pdf"}, "name", "format"),
        ({"name": " "}, "name", "format"),
        ({"media_type": "pdf"}, "media_type", "format"),
        ({"media_type": "text/html\r\nX: y"}, "media_type", "format"),
    ],
)
def test_a_file_whose_form_is_wrong_is_refused(app: Any, fields: dict[str, Any], path: str, reason: str) -> None:
    """What is no base64, no file name or no media type is `input.invalid` at its field, and nothing is stored."""
    with pytest.raises(ImisError) as error:
        app.do("attachments.add", {**_file(), **fields})
    assert (error.value.code, error.value.refusal.problems[0].path) == ("input.invalid", path)
    assert error.value.refusal.problems[0].reason == reason
    assert _stored(app) == []


def test_a_file_has_at_most_ten_mebibytes(app: Any) -> None:
    """The largest file is taken, one byte more is `input.invalid` at `content`; empty files are files too."""
    assert app.do("attachments.add", _file(b"x" * FILE_MAX))["size"] == FILE_MAX
    assert app.do("attachments.add", _file(b""))["size"] == 0
    with pytest.raises(ImisError) as error:
        app.do("attachments.add", _file(b"x" * (FILE_MAX + 1)))
    assert [(p.path, p.reason) for p in error.value.refusal.problems] == [("content", "too_large")]


def _person(app: Any, number: str, place: str) -> str:
    given = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1990-01-01"}
    return str(app.do("beneficiaries.register_person", {"number": number, "location": place, **given})["id"])


def test_who_sees_a_subject_sees_its_files(make_app: Any) -> None:
    """A file about a person is seen in that person's place and by scope `all`, and nowhere else."""
    app = make_app(settings=ROLES)
    for code in ("P1", "P2"):
        app.do("locations.add", {"code": code, "name": code, "level": "region"})
    person = _person(app, "1", "P1")
    here, there = app.as_user("ann", "clerk", ["P1"]), app.as_user("bob", "clerk", ["P2"])
    added = app.do("attachments.add", _file(about=person), as_=here)
    other = app.as_user("eve", "clerk", ["P1"])
    assert app.do("attachments.show", {"attachment": added["id"]}, as_=other)["about"] == person
    assert [a["id"] for a in app.do("attachments.list", {"about": person}, as_=other)] == [added["id"]]
    assert app.do("attachments.list", as_=there) == []
    for name, data in (
        ("attachments.read", {"attachment": added["id"]}),
        ("attachments.show", {"attachment": added["id"]}),
        ("attachments.list", {"about": person}),
        ("attachments.add", _file(about=person)),
    ):
        with pytest.raises(ImisError) as error:
            app.do(name, data, as_=there)
        assert error.value.code == "not_found"
    assert len(app.do("attachments.list", as_=app.as_user("reg", "registry"))) == 1


def test_a_file_about_nothing_is_its_adders_own(make_app: Any) -> None:
    """Without `about` a file is seen by whoever added it and by scope `all`."""
    app = make_app(settings=ROLES)
    app.do("locations.add", {"code": "P1", "name": "P1", "level": "region"})
    ann, bob = app.as_user("ann", "clerk", ["P1"]), app.as_user("bob", "clerk", ["P1"])
    app.do("attachments.add", _file(), as_=ann)
    counts = [len(app.do("attachments.list", as_=user)) for user in (ann, bob, app.as_user("arc", "archive"))]
    assert counts == [1, 0, 1]


def test_an_id_of_nothing_is_not_found(app: Any) -> None:
    """`about` must name something that is there; so must `attachment`, whose noun counts."""
    user = app.do("users.list")[0]["id"]
    for name, data in (
        ("attachments.add", _file(about="nothing")),
        ("attachments.add", _file(about=app.ids.encode("persons", 99))),
        ("attachments.read", {"attachment": user}),
    ):
        with pytest.raises(ImisError) as error:
            app.do(name, data)
        assert error.value.code == "not_found"


def test_the_audit_keeps_the_request_without_the_file(app: Any) -> None:
    """The entry of `attachments.add` says what was stored, and its row by which digest, but holds no bytes."""
    app.do("attachments.add", _file())
    entries = app.rows("SELECT input FROM core.audit_entries WHERE command = 'attachments.add'")
    assert [entry["input"][0]["content"] for entry in entries] == ["***"]


def test_a_damaged_or_missing_file_is_told(app: Any) -> None:
    """What is no longer what was stored is never handed out."""
    added = app.do("attachments.add", _file())
    path = path_of(app.var / FOLDER, added["digest"])
    path.write_bytes(b"other")
    codes = []
    for _ in range(2):
        with pytest.raises(Unavailable) as error:
            app.do("attachments.read", {"attachment": added["id"]})
        codes.append(error.value.code)
        path.unlink(missing_ok=True)
    assert codes == ["attachments.damaged", "attachments.missing"]


def test_a_disk_that_takes_nothing_stores_no_row(app: Any) -> None:
    """A file that cannot be written leaves no row: the row comes after the file."""
    app.var.joinpath(FOLDER).write_text("in the way")
    with pytest.raises(Unavailable) as error:
        app.do("attachments.add", _file())
    assert error.value.code == "attachments.unwritable"
    app.var.joinpath(FOLDER).unlink()
    assert app.do("attachments.list") == []


def test_rooms_store_files_in_their_own_transaction(app: Any) -> None:
    """`store_files` gives the numbers in order, in a constant number of statements."""
    counts = []
    for count in (2, 40):
        with app.database.command(app.system) as (connection, audit):
            context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit, "test")
            before = app.database.statements
            numbers = store_files(context, [NewFile(f"{n}.txt", "text/plain", str(n).encode()) for n in range(count)])
            counts.append(app.database.statements - before)
    assert counts[0] == counts[1]
    rows = app.rows("SELECT id, digest FROM core.attachments WHERE id = ANY(:ids) ORDER BY id", ids=numbers)
    assert [read_content(app.var / FOLDER, row["digest"]) for row in rows] == [str(n).encode() for n in range(40)]


def test_a_file_is_private_to_its_account(tmp_path: Path) -> None:
    """Folders are 0700, files 0600, and writing the same again changes nothing."""
    digest = write_content(tmp_path / "var", CONTENT)
    path = path_of(tmp_path / "var", digest)
    first = path.stat()
    assert (first.st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert write_content(tmp_path / "var", CONTENT) == digest
    assert path.stat().st_mtime_ns == first.st_mtime_ns

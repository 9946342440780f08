"""`imis backup --anonymise`: an archive for training and tests, in which nobody is to be found again.

The database is carried into a throw-away server, changed there in statements over whole tables, and backed up from
there; the deployment's own is only read. What is replaced is what the tables declare (`database.personal`): the same
value becomes the same stand-in everywhere, amounts and keys between tables stay. Stored files become one stand-in,
keys and the stand-ins' secret are new. Dates of events, places, sexes and amounts stay: with knowledge of its own a
reader may still recognise somebody by them, so the copy is for people bound to secrecy, not for publication.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from psycopg import sql as pgsql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from imis_core.application import Composition
from imis_core.beneficiaries.numbers import NumberRule
from imis_core.database import embedded
from imis_core.database.engine import Roles, driver_url
from imis_core.database.personal import HARMLESS, PERSONAL, holds_words, is_emptied
from imis_core.database.server import database_name, embedded_logins, find_database, prepare
from imis_core.deployment import ADMINISTRATOR, AttributeRule, Settings, load_settings
from imis_core.errors import refused
from imis_core.ids import KEY_BYTES, SEALS_KEY_BYTES
from imis_core.migrations.runner import tables_of
from imis_core.opening import THROW_AWAY_SETTINGS
from imis_core.operations import facts
from imis_core.operations.archive import FILES, HEADER, KEYS, SETTINGS, Told, Writer, read_archive
from imis_core.operations.backup import BackedUp, about, add_database, header, settings_files, target_of, writing
from imis_core.operations.restore import load_database

PLACEHOLDER: Final = b"%PDF-1.4\n% This file stands for one that the anonymised copy does not hold.\n%%EOF\n"
# Of the folder, beside packages; nothing else goes along: `data/` and files that lie about may hold lists of people.
_TAKEN: Final = frozenset({
    "imis.toml", "README.md", "requirements.txt", "compose.yaml", ".copier-answers.yml", ".dockerignore", ".gitignore",
    "packages", "scenarios", "translations", "plugins", "service",
})  # fmt: skip
_ADDRESS: Final = re.compile(r"^(\s*(?:owner_)?url\s*=).*$", re.MULTILINE)
_WAYS_OUT: Final = ("payment_gateways", "notifications")
_HEADER: Final = re.compile(r"\s*\[")
_WAY_OUT: Final = re.compile(rf"""\s*\[\s*["']?({"|".join(_WAYS_OUT)})["']?\s*[.\]]""")
_NAMES: Final = (
    "Abena", "Adaeze", "Alba", "Amara", "Anouk", "Arno", "Basma", "Bilal", "Bora", "Chidi", "Cosima", "Dalia", "Dario",
    "Edda", "Elio", "Emeka", "Farid", "Femi", "Gala", "Hana", "Hugo", "Ilse", "Imani", "Ines", "Jabari", "Jora", "Kai",
    "Kofi", "Lale", "Leta", "Lior", "Malik", "Mira", "Nadim", "Noor", "Odile", "Omar", "Pia", "Quito", "Rafa", "Rana",
    "Sadiq", "Selma", "Tariq", "Thea", "Uma", "Vida", "Wanja", "Yara", "Zeno",
)  # fmt: skip
_EMPTY: Final = {JSONB: "'{}'::jsonb", sa.ARRAY: "'{}'", ARRAY: "'{}'"}  # of columns that may not be NULL
# Everything over a secret of this run, so that nobody computes the stand-in of a known value.
_FUNCTIONS: Final = """
CREATE SCHEMA anon;
CREATE TABLE anon.rules (owner text, name text, masked boolean, keep boolean, PRIMARY KEY (owner, name));
CREATE TABLE anon.numbers (id bigint PRIMARY KEY, number text NOT NULL);
CREATE FUNCTION anon.h(value text) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT hashtextextended(value || {salt}, 0) & 9223372036854775807 $$;
CREATE FUNCTION anon.name(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT (CAST({names} AS text[]))[1 + (anon.h(lower(value)) % {count})::int] $$;
CREATE FUNCTION anon.words(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT CASE WHEN value = '' THEN '' ELSE 'Text ' || to_hex(anon.h(value) & 1048575) END $$;
CREATE FUNCTION anon.shape(value text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE made text := ''; h bigint := anon.h(value); c text;
BEGIN
    FOREACH c IN ARRAY regexp_split_to_array(value, '') LOOP
        h := anon.h(h::text);
        made := made || CASE WHEN c ~ '[0-9]' THEN (h % 10)::text
            WHEN c ~ '[[:upper:]]' THEN chr(65 + (h % 26)::int) WHEN c ~ '[[:alpha:]]' THEN chr(97 + (h % 26)::int)
            ELSE c END;
    END LOOP;
    RETURN made;
END $$;
CREATE FUNCTION anon.birth(person bigint, born date) RETURNS date LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE shift int := 1 + (anon.h('born' || person) % 90)::int; moved date;
BEGIN  -- to the side on which the person is of the same age class today, in the same year where that is possible
    FOREACH moved IN ARRAY ARRAY[born - shift, born + shift, born - shift / 9, born + shift / 9] LOOP
        IF moved <= {today} AND (moved + make_interval(years => {majority}) <= {today})
            = (born + make_interval(years => {majority}) <= {today}) THEN RETURN moved; END IF;
    END LOOP;
    RETURN born;
END $$;
CREATE FUNCTION anon.attribute(owner text, name text, value jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN jsonb_typeof(value) <> 'string' THEN
                    CASE WHEN coalesce((SELECT masked FROM anon.rules r WHERE r.name = $2 AND r.owner = $1), false)
                         THEN 'null'::jsonb ELSE value END
                WHEN (SELECT keep FROM anon.rules r WHERE r.name = $2 AND r.owner = $1) THEN value
                ELSE to_jsonb(anon.shape(value #>> '{{}}')) END $$;
CREATE FUNCTION anon.attributes(owner text, value jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_object_agg(key, anon.attribute($1, key, v)), '{{}}') FROM jsonb_each(value) AS e(key, v) $$;
"""


def back_up_anonymised(folder: Path, target: Path, told: Told) -> BackedUp:
    """Write an anonymised archive to `target`, as `back_up` does with a real one; needs room for the database twice."""
    begun = time.monotonic()
    settings = load_settings(folder)
    composition = Composition(settings, str(folder / "imis.toml"))
    made_at = datetime.now(UTC)
    path = target_of(target, f"{settings.name}-anonymised", made_at)
    with _throw_away() as lease:
        name = database_name(settings.name)
        logins = embedded_logins(lease.password)
        prepare(lease.url(), name, logins)
        owner = lease.url(name, next(iter(logins)))
        _carry_over(settings, owner, Roles.of(name), told)
        digest = hashlib.sha256(PLACEHOLDER).hexdigest()
        _change(lease.url(name), settings, composition, digest)
        with writing(path) as file, Writer(file, told) as writer:
            writer.text(HEADER, header(settings.name, made_at))
            _add_settings(writer, folder, settings)
            fingerprints = _add_keys(writer)
            found = add_database(writer, owner)
            writer.content(f"{FILES}attachments/{digest[:2]}/{digest}", PLACEHOLDER)
            writer.finish({"keys": fingerprints, "anonymised": True, **found, **about(settings, made_at)})
    rows = sum(found["rows"].values())
    return BackedUp(path, path.stat().st_size, time.monotonic() - begun, rows, writer.by_content)


@contextmanager
def _throw_away() -> Iterator[embedded.Lease]:
    folder = Path(tempfile.mkdtemp(prefix="imis-anonymise-"))
    folder.chmod(0o711)  # as root the server runs under another account, which must reach its data
    try:
        lease = embedded.acquire(folder / "postgres", settings=THROW_AWAY_SETTINGS)
        try:
            yield lease
        finally:
            lease.release()
            embedded.remove(folder / "postgres")
    finally:
        shutil.rmtree(folder)


def _carry_over(settings: Settings, owner: str, roles: Roles, told: Told) -> None:
    """The deployment's database as it is into the throw-away server."""
    addresses = find_database(settings.database.url, settings.database.owner_url, settings.folder, settings.name)
    try:
        with tempfile.NamedTemporaryFile(prefix="imis-anonymise-") as file:
            with Writer(file, told) as writer:
                writer.text(HEADER, header(settings.name, datetime.now(UTC)))
                writer.finish({"keys": {}, **add_database(writer, addresses.owner)})
            file.flush()
            load_database(read_archive(Path(file.name)), owner, roles, told)
    finally:
        addresses.release()


def _change(url: str, settings: Settings, composition: Composition, digest: str) -> None:
    """All replacements, in one transaction of the superuser: triggers and keys sleep while it runs."""
    engine = sa.create_engine(driver_url(url), poolclass=sa.NullPool)
    tables = [t for m in composition.plugins.manifests.values() for t in tables_of(m)]
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        _prepare(connection, settings)
        for table in tables:
            for statement in _statements(table, digest):
                connection.exec_driver_sql(statement)
        for queue in ("events", "jobs", "workers", "periodic_defers"):
            connection.exec_driver_sql(f"DELETE FROM jobs.procrastinate_{queue}")
        _drop_unknown(connection, tables)
        connection.exec_driver_sql("DROP SCHEMA anon CASCADE")
    engine.dispose()


def _prepare(connection: sa.Connection, settings: Settings) -> None:
    today = datetime.now(UTC).date()
    names = "{" + ",".join(_NAMES) + "}"
    connection.exec_driver_sql(
        _FUNCTIONS.format(
            salt=_literal(secrets.token_hex(16)), names=_literal(names), count=len(_NAMES),
            today=f"DATE {_literal(date.isoformat(today))}", majority=int(settings.deployment.age_of_majority),
        ).replace("%", "%%")
    )  # fmt: skip
    for name, rule in (settings.deployment.attributes or {}).items():
        connection.execute(
            sa.text("INSERT INTO anon.rules VALUES (:owner, :name, :masked, :keep)"),
            {"owner": rule.of, "name": name, "masked": rule.masked, "keep": _is_kept(rule)},
        )
    numbers = NumberRule(settings.deployment.person_number)
    ids = connection.exec_driver_sql("SELECT id FROM core.persons ORDER BY anon.h('order' || id)").scalars()
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy("COPY anon.numbers (id, number) FROM STDIN") as copy:
        for serial, identity in enumerate(ids.all(), start=1):
            copy.write_row((identity, numbers.generate(serial)))


def _is_kept(rule: AttributeRule) -> bool:
    """Choices, dates and numbers that nobody masked say nothing of who it is."""
    return not rule.masked and not rule.unique and rule.type != "text"


def _statements(table: sa.Table, digest: str) -> Iterator[str]:
    if is_emptied(table):
        yield f"DELETE FROM {table.fullname}"
        return
    changes = dict(_changes(table, digest))
    if changes:
        assignments = ", ".join(f'"{name}" = {value}' for name, value in changes.items())
        yield f"UPDATE {table.fullname} t SET {assignments}".replace("%", "%%")


def _changes(table: sa.Table, digest: str) -> Iterator[tuple[str, str]]:
    """Columns with the expressions that take their places; one that nobody declared is emptied, never carried over."""
    owner = "group" if table.name.startswith("groups") else "person"
    for column in table.columns:
        name, kind = f't."{column.name}"', column.info.get(PERSONAL)
        empty = "NULL" if column.nullable else _EMPTY.get(type(column.type), "''")
        if kind is None and holds_words(column) and HARMLESS not in column.info:
            kind = "drop"
        match kind:
            case None:
                continue
            case "number":
                value = "(SELECT n.number FROM anon.numbers n WHERE n.id = t.id)"
            case "code":
                value = f"upper(left({name}, 1)) || '-' || t.id"
            case "name":
                value = f"anon.name({name})"
            case "shape":
                value = f"anon.shape({name})"
                if "attribute" in table.c:  # a unique attribute: as it stands with its owner
                    value = f"""anon.attribute(t."of", t.attribute, to_jsonb({name})) #>> '{{}}'"""
            case "text":
                value = f"anon.words({name})"
            case "birth_date":
                value = f"anon.birth(t.id, {name})"
            case "attributes":
                value = f"anon.attributes('{owner}', {name})"
            case "login":
                value = f"CASE WHEN {name} = '{ADMINISTRATOR}' THEN {name} ELSE 'user-' || t.id END"
            case "file":
                value = f"'{digest}'" if column.name == "digest" else "'file-' || t.id"
            case _:
                yield column.name, empty
                continue
        yield column.name, f"CASE WHEN {name} IS NULL THEN NULL ELSE {value} END"
    if table.name == "attachments":
        yield "size", str(len(PLACEHOLDER))


def _drop_unknown(connection: sa.Connection, tables: list[sa.Table]) -> None:
    """Schemas of plugins that are not switched on, whose columns nobody declares here, do not go along."""
    roles = facts.roles_in(connection)
    known = {table.schema for table in tables} | {"jobs", "core"}
    for schema in facts.schemas_of(connection, roles.owner):
        if schema not in known:
            connection.exec_driver_sql(f'DROP SCHEMA "{schema}" CASCADE')


def _literal(text: str) -> str:
    return pgsql.Literal(text).as_string(None)


def _add_settings(writer: Writer, folder: Path, settings: Settings) -> None:
    """What configures the deployment, without addresses of databases, lists of data and anything beside."""
    packages = tuple(f"{Path(s.packages).as_posix()}/" for s in settings.schemes.values() if s.packages)
    for name, path in settings_files(folder):
        if name.partition("/")[0] not in _TAKEN and not name.startswith(packages):
            continue
        if name == "imis.toml":
            text = _ADDRESS.sub(r'\1 "embedded"', without_ways_out(path.read_text("utf-8")))
            writer.content(f"{SETTINGS}{name}", re.sub(r"^\s*owner_url.*\n", "", text, flags=re.MULTILINE).encode())
        else:
            writer.file(f"{SETTINGS}{name}", path)


def without_ways_out(text: str) -> str:
    """imis.toml without the tables through which money and messages leave: a copy pays and writes to nobody.

    Raises `backup.settings` for settings that write such a table in another form than `[table]`.
    """
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        if _HEADER.match(line):
            inside = _WAY_OUT.match(line) is not None
        if not inside:
            kept.append(line)
    left = "".join(kept)
    for table in _WAYS_OUT:
        if tomllib.loads(left).get(table):
            message = f"imis.toml has {table} in a form that cannot be left out of a copy; write it as [{table}...]"
            raise refused("backup.settings", message)
    return left


def _add_keys(writer: Writer) -> Mapping[str, Any]:
    """Keys of the copy's own: an id of the deployment means nothing in it."""
    found = {}
    for name, length in (("ids.key", KEY_BYTES), ("seals.key", SEALS_KEY_BYTES)):
        content = (os.urandom(length).hex() + "\n").encode()
        writer.content(f"{KEYS}{name}", content)
        found[name] = hashlib.sha256(content).hexdigest()
    return found

"""The conformance check: a sound plugin passes, and each way of breaking what the kernel relies on is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imis_core.opening import Playground
from imis_core.testing.conformance import Complaint, assert_conforms, check_plugin
from imis_core.testing.conformance.surface import check_surface, compose_with_schemes
from tests.conformance.plugins import hook, write_plugin

ROWS = (500, 5_000)
DEPLOYMENT = {"name": "here", "country": "XX", "currency": "USD"}
_names = iter(f"probe{n}" for n in range(1000))


@pytest.fixture
def complain(playground: Playground, tmp_path: Path) -> Any:
    """Writes a plugin (see `write_plugin`) and gives the complaints about it."""

    def run(*swaps: tuple[str, str, str], page: str = "", surface: bool = False, **more: Any) -> list[Complaint]:
        name = next(_names)

        def change(file: str, text: str) -> str:
            for where, old, new in swaps:
                if file == where:
                    assert old in text, (file, old)
                    text = text.replace(old, new.format(name=name))
            return text

        module = write_plugin(tmp_path, name, 9000, change, page.replace("NAME", name))
        if surface:
            tables = {"deployment": DEPLOYMENT, "plugins": {"enabled": [name]}}
            composed = compose_with_schemes(tables, {name: module}, name)
            found = composed if isinstance(composed, list) else list(check_surface(composed, name))
        else:
            found = check_plugin(playground, name, source=module, rows=ROWS, **more)
        assert all(c.plugin == name and c.where and c.what and c.mend for c in found)
        return found

    return run


def test_a_sound_plugin_passes(complain: Any) -> None:
    """No complaint about a plugin with a table, a hook and a settings class."""
    page = hook(
        """
        def imis_register_queries():
            from attrs import frozen
            from imis_core.api import Listing, query
            from imis_NAME.tables import visits

            @frozen(kw_only=True)
            class All:
                pass

            @query("visits_of_NAME.list", input=All, result=All, listing=True)
            def every(context, asked):
                '''Every visit.'''
                import sqlalchemy as sa
                select = sa.select(visits).where(context.scoped(visits))
                return Listing(select, (visits.c.id,), lambda rows: [All() for _ in rows])

            return [every]
        """
    )
    assert complain(page=page) == []


DOOR = """
def imis_register_commands():
    from attrs import frozen
    from imis_core.api import command

    @frozen(kw_only=True)
    class Nothing:
        pass

    @command("visits_of_NAME.add", input=Nothing, result=Nothing{more})
    def add(context, items):
        {doc}
        return list(items)

    return [add]
"""
SETTINGS = """
from attrs import define

@define
class Settings:
    days: int = 3
"""
# The plugin's page or files spoilt, and the complaint: a part of where, of what is wrong, and of how to mend it.
SPOILT: list[tuple[str, list[tuple[str, str, str]], str, tuple[str, str, str]]] = [
    ("unknown hook", [], hook("def imis_payrol_lines_sql(run): ..."),
     ("plugins.enabled", "there is no hook 'imis_payrol_lines_sql'", "hookspecs.py")),
    ("argument that the hook does not give", [], hook("def imis_payroll_lines_sql(runs): ..."),
     ("plugins.enabled", "imis_payroll_lines_sql", "hookspecs.py")),
    ("default", [], hook("def imis_payroll_lines_sql(run=None): ..."),
     ("plugins.enabled", "an argument with a default", "without defaults")),
    ("annotation", [], hook("def imis_payroll_lines_sql(run: 'Context'): return ()"),
     ("imis_payroll_lines_sql", "annotated as Context, the hook gives PayrollRun", "annotate it as PayrollRun")),
    ("asynchronous", [], hook("async def imis_payroll_lines_sql(run): return ()"),
     ("imis_payroll_lines_sql", "it is asynchronous", "a plain function")),
    ("not idempotent", [], "done = []" + hook(
        """
        def imis_register_jobs():
            from imis_core.api import Job
            done.append(1)
            return [Job(f"NAME.job{len(done)}", dict, print, "Does something")]
        """),
     ("imis_register_jobs", "asked twice it answers", "build the answer anew")),
    ("noun's name", [("plugin.py", '"visits_of_', '"VisitsOf_')], "",
     ("noun 'VisitsOf_", "lower case", "in the plural")),
    ("noun's number", [("plugin.py", "9000", "9")], "",
     ("plugins.enabled", "the number 9", "from 1000")),
    ("settings class", [("plugin.py", 'version="1"', 'version="1", settings=dict')], "",
     ("settings class dict", "no attrs class", "@frozen(kw_only=True)")),
    ("settings not frozen", [("plugin.py", "\n\n@hookimpl\ndef imis_plugin",
                              SETTINGS + "\n\n@hookimpl\ndef imis_plugin"),
                             ("plugin.py", 'version="1"', 'version="1", settings=Settings')], "",
     ("settings class Settings", "it is not frozen", "@frozen")),
    ("permission's name", [], hook(DOOR.format(more=', permission="AddVisits"', doc='"""Add a visit."""')),
     ("visits_of_", "permission 'AddVisits' is not named", "leave `permission` out")),
    ("permission's noun", [], hook(DOOR.format(more=', permission="nobody.adds"', doc='"""Add a visit."""')),
     ("visits_of_", "permission 'nobody.adds' belongs to no noun", "name it visits_of_")),
    ("no sentence", [], hook(DOOR.format(more="", doc="pass")),
     ("visits_of_", "it says nothing", "docstring")),
    ("imports the kernel's rooms", [("tables.py", "from imis_core.api import",
                                     "from imis_core.beneficiaries.tables import groups\nfrom imis_core.api import")],
     "", ("tables.py:6", "imports imis_core.beneficiaries.tables", "import it from imis_core.api")),
    ("imports another plugin", [("tables.py", "import sqlalchemy as sa\n",
                                 "import sqlalchemy as sa\nimport imis_eii\n")], "",
     ("tables.py:5", "imports another plugin, imis_eii", "a port")),
    ("reads the clock", [("tables.py", "metadata =", "from datetime import date\nTODAY = date.today()\nmetadata =")],
     "",
     ("tables.py:9", "reads a clock with date.today()", "context.today")),
    ("migrations do not run", [("migrations/0001_first_tables.py", "CREATE TABLE", "CREATE TABEL")], "",
     ("migrations imis_", "they do not run", "from an empty schema")),
    ("table in another schema", [("migrations/0001_first_tables.py", "def upgrade():",
                                  "def upgrade():\n    op.execute('CREATE TABLE core.extra (id bigint)')")], "",
     ("migrations", "makes table core.extra", "from an empty schema")),
    ("column in the kernel", [("migrations/0001_first_tables.py", "def upgrade():",
                               "def upgrade():\n    op.execute('ALTER TABLE core.persons ADD COLUMN extra text')")], "",
     ("migrations", "makes column core.persons.extra", "from an empty schema")),
    ("column without a revision", [("tables.py", 'day("seen_on"),', 'day("seen_on"), text("note", nullable=True),')],
     "",
     ("tables imis_", "op.add_column('visits'", "next_revision")),
    ("no row security", [("migrations/0001_first_tables.py", "ENABLE ROW", "DISABLE ROW")], "",
     ("visits", "refer to core.persons, and every caller sees them", "`row_security`")),
    ("merge without an index", [("migrations/0001_first_tables.py",
                                 'op.execute("CREATE INDEX ix_visits_person', 'op.execute("SELECT 1") #'),
                                ("tables.py", 'sa.Index("ix_visits_person", "person"),', "")], "",
     ("imis_person_merge_sql", "pages at 500 rows", "by an index")),
]  # fmt: skip


@pytest.mark.parametrize(("swaps", "page", "told"), [s[1:] for s in SPOILT], ids=[s[0] for s in SPOILT])
def test_what_is_broken_is_named(
    complain: Any, swaps: list[tuple[str, str, str]], page: str, told: tuple[str, str, str]
) -> None:
    """The plugin, the hook or table or file, and the mend."""
    of_tables = any("migrations" in file or "note" in new for file, _, new in swaps)
    found = complain(*swaps, page=page, surface=not of_tables)  # what needs no database is told without one
    where, what, mend = told
    assert any(where in c.where and what in c.what and mend in c.mend for c in found), "\n".join(map(str, found))


SCAN = hook(
    """
    def imis_payroll_lines_sql(run):
        import sqlalchemy as sa
        from imis_core.api import persons
        from imis_NAME.tables import visits

        # No index leads with the day: each person's visits are looked for from the beginning of the table.
        v = visits.c
        on_birthday = sa.select(sa.func.count()).where(v.seen_on > persons.c.birth_date).correlate(persons)
        return [sa.select(persons.c.id, on_birthday.scalar_subquery().label("amount_minor")).limit(30)]
    """
) + hook(
    """
    def imis_register_scheme_types():
        from attrs import frozen
        from imis_core.api import SchemeType

        @frozen(kw_only=True)
        class Terms:
            '''Nothing to say.'''

        return [SchemeType(name="NAME", terms=Terms, check_terms=lambda terms, check: ())]
    """
)


def test_an_inner_scan_is_found(complain: Any) -> None:
    """Lines of a payroll that read a table anew for each row do not scale, and are told by the hook's name."""
    found = complain(page=SCAN)
    assert any(
        c.where == "imis_payroll_lines_sql" and c.what.startswith("visits is read from its beginning once for each row")
        for c in found
    ), "\n".join(map(str, found))


def test_a_table_may_be_open_for_a_reason(complain: Any) -> None:
    """Only a reason that is given lets a table about somebody be without row security."""
    swap = ("migrations/0001_first_tables.py", "ENABLE ROW", "DISABLE ROW")
    assert complain(swap, unscoped={"visits": "everybody may know who was seen"}) == []
    assert [c.where.partition(".")[2] for c in complain(swap, unscoped={"visits": " "})] == ["visits"]


def test_a_failure_tells_all_of_it(playground: Playground) -> None:
    """One message with a line for each complaint; a plugin that is not there is one."""
    with pytest.raises(AssertionError, match=r"plugin 'nowhere', .*is not installed.*; mend: install the plugin"):
        assert_conforms(playground, "nowhere")

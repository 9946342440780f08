"""Generating a payroll: who is owed what for a cycle, written in one statement however many they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from imis_core import hookspecs
from imis_core.beneficiaries.lookup import merged_persons
from imis_core.benefit_packages.lookup import Version, parsed_terms, scheme_type
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.payroll.reach import whole_payrolls
from imis_core.payroll.recovering import deducted, lock_open, undeducted
from imis_core.payroll.runs import REGULAR_SOURCE, CycleRow, PayrollRun
from imis_core.payroll.showing import PayrollShown
from imis_core.payroll.tables import (
    cycles,
    entitlement_amounts,
    entitlement_arrears,
    entitlement_current,
    entitlement_states,
    entitlements,
    payrolls,
    recovery_deductions,
)
from imis_core.payroll.versions import packages_named, version_for, versions_of
from imis_core.places.lookup import places_below, resolve_locations
from imis_core.places.tables import locations

_KEYS: Final = ("group_key", "person_key", "source_kind", "source", "once")
_NOBODY: Final = 0  # stands for no group or no person in keys: a null equals nothing
# After a large import the planner may know nothing of a table yet. It would take a million lines for a handful and walk
# over all of another table once for each; until it knows, joins of a payroll's lines hash.
_WITHOUT_STATISTICS: Final = sa.text(
    """
    SELECT set_config('enable_nestloop', 'off', true) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY(CAST(:schemas AS text[])) AND c.relkind = 'r' AND c.reltuples < 0
      AND pg_relation_size(c.oid) > 1000000 LIMIT 1
    """
)


@frozen(kw_only=True)
class GeneratePayroll:
    """`location`: only that place and those below it."""

    scheme: str
    package: str
    cycle: str
    location: str | None = None


@frozen
class _Reach:
    """Whose entitlements: `root` the payroll's own place, `places` that one and all below; None: everybody's."""

    root: int | None
    places: tuple[int, ...] | None


@command("payroll.generate", input=GeneratePayroll, result=PayrollShown)
def generate(context: Context, items: tuple[GeneratePayroll, ...]) -> list[PayrollShown | Refusal]:
    """Make a payroll of a cycle: an entitlement for everyone who has none yet; it waits for somebody's approval."""
    return [_generate(context, item) for item in items]


def _generate(context: Context, item: GeneratePayroll) -> PayrollShown | Refusal:
    prepared = prepare(context, item)
    if isinstance(prepared, Refusal):
        return prepared
    return fill(context, prepared, new_payroll(context, prepared, "awaiting_approval"))


@frozen
class Prepared:
    """A payroll that can be made: what it is for, and the plugins that say who is owed what."""

    run: PayrollRun
    reach: _Reach
    speakers: Sequence[str]


def prepare(context: Context, item: GeneratePayroll) -> Prepared | Refusal:
    """Whether a payroll can be made, and what of; from here on the package's other generations wait."""
    kind = scheme_type(context, item.scheme)
    if isinstance(kind, Refusal):
        return kind
    speakers = _speakers(context, item.scheme)
    if not speakers:
        message = f"no plugin that speaks for {item.scheme!r} knows who is owed what in a cycle"
        return invalid(Problem("scheme", "no_payroll", message))
    package = packages_named(context, {(item.scheme, item.package)}).get((item.scheme, item.package))
    if package is None:
        return not_found("package", "benefit package", item.package)
    # Generations of one package follow each other: what one writes, the next one leaves out.
    context.execute(sa.text("SELECT FROM core.packages WHERE id = :package FOR NO KEY UPDATE"), {"package": package.id})
    opened = _cycles_of(context, item.scheme, package.id)
    cycle = _named_cycle(context, item, opened)
    if isinstance(cycle, Refusal):
        return cycle
    reach = _reach(context, item.location)
    if isinstance(reach, Refusal):
        return reach
    version = version_for(versions_of(context, (package.id,))[package.id], cycle.starts, cycle.ends)
    if version is None:
        message = f"no version of {package.code} is in force in the cycle {cycle.code}"
        return invalid(Problem("package", "no_version", message))
    return Prepared(_run(context, item.scheme, version, cycle, opened, reach), reach, speakers)


def new_payroll(context: Context, prepared: Prepared, state: str) -> int:
    """Write a payroll without entitlements; its number."""
    run = prepared.run
    number: int = context.execute(
        sa.insert(payrolls)
        .values(
            scheme=run.scheme, package=run.package, package_version=run.version, cycle=run.cycle.id,
            place=prepared.reach.root, currency=run.currency, state=state, maker=context.caller.user,
            generated_at=context.now,
        )
        .returning(payrolls.c.id)
    ).scalar_one()  # fmt: skip
    return number


def fill(context: Context, prepared: Prepared, number: int) -> PayrollShown:
    """Write the entitlements of a payroll that waits for its approval; a constant number of statements."""
    run = prepared.run
    with whole_payrolls(context):
        lines = [select for name in prepared.speakers for select in _lines_of(context, name, run)]
        return _written(context, run, prepared.reach, number, lines)


def _run(
    context: Context, scheme: str, version: Version, cycle: CycleRow, opened: Sequence[CycleRow], reach: _Reach
) -> PayrollRun:
    return PayrollRun(
        scheme=scheme,
        currency=context.settings.currency_of(scheme),
        package=version.package,
        package_code=version.code,
        version=version.id,
        terms=parsed_terms(context, (version,))[version.id],
        cycle=cycle,
        active_on=min(cycle.ends, context.today),
        today=context.today,
        context=context,
        earlier=tuple(c for c in opened if c.starts < cycle.starts),
        places=reach.places,
    )


def _speakers(context: Context, scheme: str) -> list[str]:
    return context.app.speaking(hookspecs.imis_payroll_lines_sql, scheme)


def _lines_of(context: Context, plugin: str, run: PayrollRun) -> Sequence[sa.Select[Any]]:
    return context.app.plugins.call_for(plugin, sa.Select, hookspecs.imis_payroll_lines_sql, run)


def _cycles_of(context: Context, scheme: str, package: int) -> list[CycleRow]:
    """The opened cycles that a package goes through, by their first days."""
    rows = context.execute(
        sa.select(cycles.c.id, cycles.c.code, cycles.c.starts, cycles.c.ends)
        .where(cycles.c.scheme == scheme, sa.or_(cycles.c.package.is_(None), cycles.c.package == package))
        .order_by(cycles.c.starts, cycles.c.id)
    )
    return [CycleRow(row.id, row.code, row.starts, row.ends) for row in rows]


def _named_cycle(context: Context, item: GeneratePayroll, opened: Sequence[CycleRow]) -> CycleRow | Refusal:
    number = context.ids.decode("cycles", item.cycle)
    found = [c for c in opened if c.code == item.cycle] or [c for c in opened if c.id == number]
    if found:
        return found[0]
    other = context.execute(
        sa.select(cycles.c.id).where(
            cycles.c.scheme == item.scheme, sa.or_(cycles.c.code == item.cycle, cycles.c.id == number)
        )
    ).first()
    if other is not None:
        message = f"the cycle {item.cycle!r} is of another package"
        return invalid(Problem("cycle", "other_package", message))
    return not_found("cycle", "cycle", item.cycle)


def _reach(context: Context, location: str | None) -> _Reach | Refusal:
    """The places of a payroll: those named, within the caller's own."""
    if location is not None:
        found = resolve_locations(context, {location}, within_scope=True).get(location)
        if found is None:
            return not_found("location", "location", location)
        return _Reach(found.id, places_below(context.connection, (found.id,)))
    if context.caller.everywhere:
        return _Reach(None, None)
    roots = context.execute(
        sa.select(locations.c.id).where(
            locations.c.id == any_of(context.caller.places),
            sa.or_(locations.c.parent.is_(None), locations.c.parent != sa.all_(_array(context.caller.places))),
        )
    ).all()
    if len(roots) != 1:
        return invalid(Problem("location", "required", "you have several places, or none; name the one to be paid"))
    return _Reach(roots[0].id, context.caller.places)


def _written(
    context: Context, run: PayrollRun, reach: _Reach, number: int, lines: Sequence[sa.Select[Any]]
) -> PayrollShown:
    shown = {"id": context.ids.encode("payrolls", number), "status": "awaiting_approval"}
    if not lines:
        return PayrollShown(**shown, beneficiaries=0, amount=context.money(0, run.scheme), by_state={})
    context.execute(_WITHOUT_STATISTICS, {"schemas": ["core", *_speakers(context, run.scheme)]})
    recovered = lock_open(context, run.scheme)
    row = context.execute(_insertion(context, run, reach, number, lines, recovered)).one()
    context.execute(sa.text("SET LOCAL enable_nestloop TO DEFAULT"))
    states = {"awaiting_approval": row.waiting, "generated": row.entitlements - row.waiting}
    return PayrollShown(
        **shown, beneficiaries=row.beneficiaries, amount=context.money(row.amount_minor, run.scheme),
        by_state={state: count for state, count in states.items() if count},
    )  # fmt: skip


def _insertion(
    context: Context,
    run: PayrollRun,
    reach: _Reach,
    payroll: int,
    lines: Sequence[sa.Select[Any]],
    recovered: bool,
) -> sa.Select[Any]:
    """All rows of a payroll in one statement, whatever their number; answers the sums that are shown.

    `recovered`: something of the scheme is being taken back, so each line is looked up among what is.
    """
    asked = sa.union_all(*[_columns(select, position) for position, select in enumerate(lines)]).subquery("asked")
    within = sa.true() if reach.places is None else asked.c.place == any_of(reach.places)
    line = _known_as(asked).where(within).subquery("line")
    existing = _existing(run)
    # A full join never walks over all entitlements once for each line, whatever the planner expects; a condition that
    # it could read as "only lines" would make another join of it.
    both = line.join(existing, _same(line, existing), full=True)
    is_line = sa.func.coalesce(line.c.group, line.c.person).is_not(None)
    # An entitlement that was cancelled with its payroll takes up its place again; every other one stays as it is. New
    # ones are numbered by beneficiary and, for each, in the order of the lines: the order in which they are listed.
    unpaid = (
        sa.select(
            existing.c.id.label("moved"),
            (sa.func.coalesce(existing.c.version, 0) + 1).label("version"),
            line.c.person, line.c.group, line.c.place, line.c.source_kind, line.c.source, line.c.once,
            line.c.package_version, line.c.amount_minor, line.c.steps, line.c.waits, line.c.arrears, line.c.position,
        )
        .select_from(both)
        .where(is_line, sa.func.coalesce(existing.c.free, True))
        .subquery("unpaid")
    )  # fmt: skip
    owed = deducted(run.scheme, unpaid) if recovered else undeducted(unpaid)
    o = owed.clause.c
    ordered = (
        sa.select(
            o.moved, o.version, o.person, o.group, o.place, o.source_kind, o.source, o.once, o.package_version,
            o.waits, o.arrears, owed.amount_minor.label("amount_minor"), owed.steps.label("steps"),
            owed.recovery.label("recovery"), owed.taken_minor.label("taken_minor"),
        )
        .order_by(o.group, o.person, o.position, o.source)
        .subquery("owed")
    )  # fmt: skip
    fresh = (
        sa.select(
            sa.func.coalesce(ordered.c.moved, sa.literal_column("nextval('core.entitlements_id_seq')")).label("id"),
            ordered.c.moved.is_not(None).label("moved"),
            *[column for column in ordered.c if column.name != "moved"],
        )
        .cte("fresh")
        .prefix_with("MATERIALIZED")
    )
    beneficiaries = sa.select(fresh.c.group, fresh.c.person).distinct().subquery("beneficiaries")
    return sa.select(
        sa.func.count().label("entitlements"),
        sa.func.count().filter(fresh.c.waits).label("waiting"),
        sa.cast(sa.func.coalesce(sa.func.sum(fresh.c.amount_minor), 0), sa.BigInteger).label("amount_minor"),
        sa.select(sa.func.count()).select_from(beneficiaries).scalar_subquery().label("beneficiaries"),
    ).add_cte(*_writes(context, run, payroll, fresh, recovered))


def _columns(select: sa.Select[Any], position: int) -> sa.Select[Any]:
    """A plugin's select by names and types, in whatever order it lists them, with its place among the selects."""
    given = select.subquery()
    types: dict[str, Any] = {
        "person": sa.BigInteger, "group": sa.BigInteger, "place": sa.BigInteger, "source_kind": sa.Text,
        "source": sa.BigInteger, "once": sa.Boolean, "package_version": sa.BigInteger, "amount_minor": sa.BigInteger,
        "steps": JSONB, "waits": sa.Boolean, "arrears": ARRAY(sa.BigInteger),
    }  # fmt: skip
    typed = [sa.cast(given.c[name], kind).label(name) for name, kind in types.items()]
    return sa.select(*typed, sa.cast(position, sa.Integer).label("position"))


def _known_as(asked: sa.Subquery) -> sa.Select[Any]:
    """The lines with their keys. Who was merged into another person is that one, who has a regular line already."""
    merged = merged_persons()
    person = sa.func.coalesce(merged.c.merged_into, asked.c.person)
    others = [column for column in asked.c if column.name != "person"]
    return (
        sa.select(*others, person.label("person"), *_keys(asked.c, person))
        .select_from(asked.outerjoin(merged, merged.c.id == asked.c.person))
        .where(sa.or_(merged.c.id.is_(None), asked.c.source != REGULAR_SOURCE))
    )


def _keys(columns: Any, person: sa.ColumnElement[Any]) -> list[sa.ColumnElement[Any]]:
    """Beneficiary keys that hash and compare. What has a source is known by it alone, whoever it is paid to by now."""
    regular = sa.and_(columns.source == REGULAR_SOURCE, sa.not_(columns.once))
    return [
        sa.case((regular, sa.func.coalesce(column, _NOBODY)), else_=_NOBODY).label(f"{name}_key")
        for name, column in (("group", columns.group), ("person", person))
    ]


def _existing(run: PayrollRun) -> sa.Subquery:
    """What a line's beneficiary and source have already; `free` if all of it was cancelled with its payroll.

    Entitlements of the cycle; those of other cycles that are paid once in all; and later ones that made the cycle good
    (without an `id`: these are not the cycle's own). Each is found by an index of its own.
    """
    merged = merged_persons()
    person = sa.func.coalesce(merged.c.merged_into, entitlements.c.person)
    columns = (entitlements.c.source_kind, entitlements.c.source, entitlements.c.once, *_keys(entitlements.c, person))
    own = (
        sa.select(entitlements.c.id, entitlement_current.c.version, entitlement_current.c.free, *columns)
        .join(entitlement_current, entitlement_current.c.entitlement == entitlements.c.id)
        .outerjoin(merged, merged.c.id == entitlements.c.person)
        .where(entitlements.c.package == run.package)
    )
    made_good = (
        sa.select(
            sa.cast(sa.null(), sa.BigInteger), sa.cast(sa.null(), sa.Integer), entitlement_current.c.free, *columns
        )
        .select_from(entitlement_arrears)
        .join(entitlements, entitlements.c.id == entitlement_arrears.c.entitlement)
        .join(
            entitlement_current,
            sa.and_(
                entitlement_current.c.entitlement == entitlement_arrears.c.entitlement,
                entitlement_current.c.payroll == entitlement_arrears.c.payroll,
            ),
        )
        .outerjoin(merged, merged.c.id == entitlements.c.person)
        .where(
            entitlement_arrears.c.cycle == run.cycle.id,
            entitlements.c.package == run.package,
            sa.not_(entitlements.c.once),
        )
    )
    found = sa.union_all(
        own.where(entitlements.c.cycle == run.cycle.id),
        own.where(entitlements.c.once, entitlements.c.cycle != run.cycle.id),
        made_good,
    ).subquery("found")
    keys = [found.c[name] for name in _KEYS]
    # Two persons who turned out to be one may both have had theirs: the newer one goes on.
    newest = sa.func.max(postgresql.array([found.c.id, sa.cast(found.c.version, sa.BigInteger)]))
    latest = (
        sa.select(
            newest.filter(found.c.id.is_not(None)).label("latest"),
            sa.func.bool_and(found.c.free).label("free"),
            *keys,
        )
        .group_by(*keys)
        .subquery("latest")
    )
    return sa.select(
        latest.c.latest[1].label("id"),
        latest.c.latest[2].label("version"),
        latest.c.free,
        *[latest.c[name] for name in _KEYS],
    ).subquery("existing")


def _same(line: sa.Subquery, other: sa.Subquery) -> sa.ColumnElement[bool]:
    return sa.and_(*[line.c[name] == other.c[name] for name in _KEYS])


def _writes(context: Context, run: PayrollRun, payroll: int, fresh: sa.CTE, recovered: bool) -> list[sa.CTE]:
    """The rows of every table of a payroll's entitlements."""
    state = sa.case((fresh.c.waits, sa.literal_column("'awaiting_approval'")), else_=sa.literal_column("'generated'"))
    audit = sa.cast(context.audit, sa.BigInteger)
    number = sa.cast(payroll, sa.BigInteger)
    new = sa.not_(fresh.c.moved)

    def insertion(name: str, table: sa.Table, values: dict[str, Any], *chosen: sa.ColumnElement[bool]) -> sa.CTE:
        source = sa.select(*values.values()).select_from(fresh).where(*chosen)
        return sa.insert(table).from_select(list(values), source).cte(name)

    same_names = ("group", "person", "place", "source_kind", "source", "once")
    identity = {
        "id": fresh.c.id,
        "scheme": sa.cast(run.scheme, sa.Text),
        "package": sa.cast(run.package, sa.BigInteger),
        "cycle": sa.cast(run.cycle.id, sa.BigInteger),
        **{name: fresh.c[name] for name in same_names},
        "audit": audit,
    }
    computed = {
        "payroll": number,
        "entitlement": fresh.c.id,
        **{name: fresh.c[name] for name in ("package_version", "amount_minor", "steps")},
    }
    moved = {"entitlement": fresh.c.id, "version": fresh.c.version, "state": state, "audit": audit}
    current = {
        "entitlement": fresh.c.id, "payroll": number, "state": state, "version": fresh.c.version,
        "amount_minor": fresh.c.amount_minor,
    }  # fmt: skip
    again = (
        sa.update(entitlement_current)
        .where(entitlement_current.c.entitlement == fresh.c.id, fresh.c.moved)
        .values(
            payroll=number, state=state, version=fresh.c.version, amount_minor=fresh.c.amount_minor, free=sa.false()
        )
        .cte("again")
    )
    made_good = {"cycle": sa.func.unnest(fresh.c.arrears), "entitlement": fresh.c.id, "payroll": number}
    taken = {
        "payroll": number, "entitlement": fresh.c.id, "recovery": fresh.c.recovery, "amount_minor": fresh.c.taken_minor
    }  # fmt: skip
    writes = [
        insertion("identified", entitlements, identity, new),
        insertion("computed", entitlement_amounts, computed),
        insertion("stated", entitlement_states, moved),
        insertion("standing", entitlement_current, current, new),
        again,
        insertion("made_good", entitlement_arrears, made_good, fresh.c.arrears.is_not(None)),
    ]
    if recovered:
        writes.append(insertion("recovered", recovery_deductions, taken, fresh.c.recovery.is_not(None)))
    return writes


def _array(numbers: Sequence[int]) -> sa.ColumnElement[Any]:
    return sa.literal(list(numbers), ARRAY(sa.BigInteger))


COMMANDS = (generate,)

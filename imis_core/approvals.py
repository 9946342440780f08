"""The second person: commands under `[approvals]` are stored, and run when somebody else approves them.

At approval the request is parsed again and runs against today's state with the maker as actor and the business date of
the request; the approver is recorded. A refused run leaves the request pending with its error.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal

import attrs
import msgspec
import sqlalchemy as sa
from attrs import evolve, frozen

from imis_core.audit import write_entry
from imis_core.commands import Command, Reply, command, digest_of, mask, perform
from imis_core.context import Context
from imis_core.database.bulk import take_ids
from imis_core.database.engine import set_scope
from imis_core.errors import ImisError, Refusal, invalid, not_found, refused
from imis_core.parsing import InvalidInput, outside_name, parse, plain
from imis_core.queries import Listing, query
from imis_core.reads import names_in
from imis_core.runtime_tables import approvals
from imis_core.security.login import caller_of
from imis_core.security.tables import users
from imis_core.states import StateTable

EXPIRY: Final = timedelta(days=30)
_SEALED: Final = "sealed"
STATES: Final = StateTable(
    "approvals",
    {
        "awaiting_approval": ("approved", "rejected", "withdrawn", "expired"),
        "approved": (),
        "rejected": (),
        "withdrawn": (),
        "expired": (),
    },
)


@frozen
class Request:
    """What waits for a second person: a command with its inputs, whose form is right.

    `single`: one object rather than a list. `change`: a change request of the registry, with its reason.
    """

    definition: Command
    items: Sequence[Any]
    single: bool
    change: bool = False
    because: str | None = None


def store(context: Context, requests: Sequence[Request]) -> list[int]:
    """Store requests; their numbers, in order. One statement."""
    if not requests:
        return []
    caller = context.caller
    # Of a caller who is limited to providers only those who see everything decide.
    places = sorted(caller.places) if caller.places and not caller.everywhere else None
    numbers = take_ids(context.connection, approvals, len(requests))
    context.execute(
        sa.insert(approvals).values(
            [
                {
                    "id": number,
                    "command": one.definition.name,
                    "request": _put_away(context, one),
                    "single": one.single,
                    "business_date": context.today,
                    "maker": caller.user,
                    "requested_at": context.now,
                    "expires_at": context.now + EXPIRY,
                    "state": "awaiting_approval",
                    "approvers": [],
                    "change": one.change,
                    "asked_because": one.because,
                    "places": places,
                }
                for number, one in zip(numbers, requests, strict=True)
            ]
        )
    )
    return numbers


def _secret_fields(definition: Command) -> set[str]:
    return {outside_name(a) for a in attrs.fields(definition.input) if a.metadata.get("secret") is True}


def _put_away(context: Context, request: Request) -> Any:
    """The inputs as they wait: passwords only under the deployment's key, so that neither a reader of the table nor a
    backup without `keys/` has them."""
    secret = _secret_fields(request.definition)
    return [
        {k: _sealed(context, v) if k in secret and v is not None else v for k, v in item.items()}
        for item in plain(request.items)
    ]


def _sealed(context: Context, value: Any) -> dict[str, str]:
    return {_SEALED: base64.b64encode(context.ids.wrap(msgspec.json.encode(value))).decode()}


def _taken_out(context: Context, definition: Command, items: Sequence[Any]) -> list[Any]:
    """The inputs as they were asked for."""
    secret = _secret_fields(definition)
    return [{k: _opened(context, v) if k in secret else v for k, v in item.items()} for item in items]


def _opened(context: Context, value: Any) -> Any:
    if not isinstance(value, dict) or set(value) != {_SEALED}:
        return value
    content = context.ids.unwrap(base64.b64decode(value[_SEALED]))
    if content is None:
        raise refused("keys.invalid", "the request was stored under another key; put keys/ids.key back")
    return msgspec.json.decode(content)


def hold(context: Context, definition: Command, items: Sequence[Any], single: bool) -> Reply:
    """Store a request for a second person. A request whose form is wrong is refused at once, as a whole."""
    outcomes: list[Any] = []
    for item in items:
        try:
            parse(item, definition.input)
            outcomes.append(None)
        except InvalidInput as error:
            outcomes.append(invalid(*error.problems))
    if any(outcomes):
        return Reply(
            tuple(
                o or Refusal("approvals.batch_refused", "another item of this request is wrong; a list is one request")
                for o in outcomes
            )
        )
    (number,) = store(context, [Request(definition, items, single)])
    answer = {"approval": context.ids.encode("approvals", number), "status": "awaiting_approval"}
    digest = digest_of(context.app, definition, items)
    write_entry(context, len(items), 0, digest, mask(definition.input, items if len(items) == 1 else None))
    return Reply(tuple(answer for _ in items), awaiting=True)


@frozen(kw_only=True)
class Decide:
    approval: str
    reason: str | None = None


@frozen(kw_only=True)
class Decided:
    status: str
    result: object = None


def _locked(context: Context, name: str) -> Any:
    number = context.ids.decode("approvals", name)
    if number is None:
        return None
    return context.execute(
        sa.select(approvals).where(approvals.c.id == number, context.scoped(approvals)).with_for_update()
    ).first()


def _state(row: Any, now: datetime) -> str:
    """Expiry follows from the date; nothing needs to store it."""
    return "expired" if row.state == "awaiting_approval" and row.expires_at <= now else str(row.state)


def _decidable(context: Context, row: Any, wanted: str, noun: str = "approvals") -> Refusal | None:
    state = _state(row, context.now)
    if not STATES.allows(state, wanted):
        return evolve(STATES, noun=noun).refusal("the request", state, wanted)
    if wanted in ("approved", "rejected"):
        if row.maker == context.caller.user and wanted == "approved":
            return Refusal(f"{noun}.same_person", "whoever asked for it does not approve it; ask somebody else")
        roles = context.settings.approvals[row.command].roles if row.command in context.settings.approvals else ()
        if roles and not set(roles) & set(context.caller.roles) and "administrator" not in context.caller.roles:
            return Refusal("permission.denied", f"only these roles decide on {row.command}: {', '.join(roles)}")
    elif row.maker != context.caller.user:
        return Refusal("permission.denied", "only whoever asked for it can withdraw it")
    return None


@command("approvals.approve", input=Decide, result=Decided, approval=True)
def approve(context: Context, items: tuple[Decide, ...]) -> list[Decided | Refusal]:
    """Agree to somebody else's request; with the last approver needed it runs."""
    return [_approve(context, _locked(context, item.approval), item) for item in items]


def _approve(context: Context, row: Any, item: Decide, noun: str = "approvals") -> Decided | Refusal:
    if row is None:
        return not_found("approval", "approval", item.approval)
    refusal = _decidable(context, row, "approved", noun)
    if refusal is not None:
        return refusal
    if context.caller.user in row.approvers:
        return Refusal(f"{noun}.same_person", "you have approved it already; another person is needed")
    approvers = [*row.approvers, context.caller.user]
    table = context.settings.approvals.get(row.command)
    if table is not None and len(approvers) < table.approvers:
        _update(context, row.id, approvers=approvers)
        return Decided(status="awaiting_approval")
    outcome = _run(context, row)
    if isinstance(outcome, Refusal):
        # The one write for a refused item: the request keeps why its last run failed.
        _update(context, row.id, error=outcome.as_json())
        return outcome
    _update(context, row.id, state="approved", approvers=approvers, reason=item.reason, error=None, request=[])
    return Decided(status="approved", result=outcome)


def _run(context: Context, row: Any) -> Any:
    """Run the stored request as its maker, in the maker's scope; one refused item refuses the whole of it."""
    definition = context.app.commands.get(row.command)
    if definition is None:
        return Refusal("approvals.command_gone", f"{row.command} is not available any more; reject the request")
    maker = caller_of(context, row.maker)
    if maker is None or not maker.may(definition.permission):
        return Refusal("permission.denied", f"whoever asked for it may not do {row.command} any more")
    savepoint = context.connection.begin_nested()
    audit = int(
        context.execute(sa.text("SELECT set_config('imis.audit', nextval('core.audit_ids')::text, true)")).scalar_one()
    )
    inner = Context(context.app, context.connection, maker, context.now, row.business_date, audit, definition.name)
    inner.approved_change = row.change
    set_scope(context.connection, maker)
    items = _taken_out(context, definition, row.request)
    digest = digest_of(context.app, definition, items)
    try:
        outcomes = perform(inner, definition, items, digest, approver=context.caller.user)
        refusal = next((o for o in outcomes if isinstance(o, Refusal)), None)
    except ImisError as error:
        refusal = error.refusal
    if refusal is not None:
        savepoint.rollback()
        return refusal
    savepoint.commit()
    set_scope(context.connection, context.caller)
    context.execute(sa.text("SELECT set_config('imis.audit', :audit, true)"), {"audit": str(context.audit)})
    return outcomes[0] if row.single else list(outcomes)


def _update(context: Context, number: int, **values: Any) -> None:
    context.execute(sa.update(approvals).where(approvals.c.id == number).values(**values))


@command("approvals.reject", input=Decide, result=Decided, approval=True)
def reject(context: Context, items: tuple[Decide, ...]) -> list[Decided | Refusal]:
    """Refuse somebody's request."""
    return [_end(context, _locked(context, item.approval), item, "rejected") for item in items]


@command("approvals.withdraw", input=Decide, result=Decided, approval=True)
def withdraw(context: Context, items: tuple[Decide, ...]) -> list[Decided | Refusal]:
    """Take back one's own request."""
    return [_end(context, _locked(context, item.approval), item, "withdrawn") for item in items]


def _end(context: Context, row: Any, item: Decide, state: str, noun: str = "approvals") -> Decided | Refusal:
    if row is None:
        return not_found("approval", "approval", item.approval)
    refusal = _decidable(context, row, state, noun)
    if refusal is not None:
        return refusal
    _update(context, row.id, state=state, reason=item.reason, request=[])
    return Decided(status=state)


def decide_change(
    context: Context, name: str, wanted: Literal["approved", "rejected"], reason: str | None
) -> Decided | Refusal:
    """Decide on a change request as the registry does; its refusals carry the registry's codes."""
    row = _locked(context, name)
    if row is None or not row.change:
        return not_found("change", "change request", name)
    item = Decide(approval=name, reason=reason)
    if wanted == "approved":
        return _approve(context, row, item, "registry")
    return _end(context, row, item, wanted, "registry")


@frozen(kw_only=True)
class PendingInput:
    pass


@frozen(kw_only=True)
class Pending:
    id: str
    command: str
    by: str
    at: datetime
    on: date
    summary: str
    error: object = None
    reason: str | None = None  # of a change request


@query("approvals.pending", input=PendingInput, result=Pending, listing=True)
def pending(context: Context, asked: PendingInput) -> Listing:
    """Requests that wait for a second person."""
    select = (
        sa.select(approvals, users.c.name.label("maker_name"))
        .join(users, users.c.id == approvals.c.maker)
        .where(
            approvals.c.state == "awaiting_approval", approvals.c.expires_at > context.now, context.scoped(approvals)
        )
    )

    def build(rows: Sequence[Any]) -> list[Pending]:
        ids = context.ids.encode_all("approvals", [row.id for row in rows])
        return [
            Pending(
                id=identity, command=row.command, by=row.maker_name, at=row.requested_at, on=row.business_date,
                summary=_summary(context, row), error=row.error, reason=row.asked_because,
            )
            for identity, row in zip(ids, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (approvals.c.id,), build)


def _summary(context: Context, row: Any) -> str:
    """The request on one line: secrets masked, and of tables and lists only how much there is, never a value."""
    definition = context.app.commands.get(row.command)
    shown = mask(definition.input, row.request) if definition is not None else []
    fields = shown[0] or {} if shown else {}
    context.tells_of(names=names_in({name: value for name, value in fields.items() if isinstance(value, str)}))
    # JSON in the database has an order of its own; readers know that of the command.
    known = [outside_name(a) for a in attrs.fields(definition.input)] if definition is not None else []
    first = ", ".join(f"{name}={_shown(fields[name])}" for name in known if name in fields)
    more = f" and {len(row.request) - 1} more" if len(row.request) > 1 else ""
    return first[:200] + more


def _shown(value: Any) -> Any:
    # What lies deeper may be masked for whoever decides: attributes, members with theirs.
    if isinstance(value, dict):
        return f"({', '.join(map(str, value))})"
    return f"({len(value)})" if isinstance(value, list) else value


COMMANDS = (approve, reject, withdraw)
QUERIES = (pending,)

__all__ = ["COMMANDS", "EXPIRY", "QUERIES", "STATES", "Request", "decide_change", "hold", "store"]

"""The door for writes. A command is a name, an input class, a permission and a handler; all else follows from it.

The door parses, checks the permission, keeps the idempotency key, stores what needs a second person, opens the one
transaction, runs the handler on the whole batch, writes the audit entry and the outbox, and commits. It knows no room.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import attrs
import sqlalchemy as sa
from attrs import field, frozen

from imis_core import logs
from imis_core.audit import request_digest, write_entry
from imis_core.context import Context
from imis_core.database.engine import retried
from imis_core.errors import ImisError, Problem, Refusal, invalid
from imis_core.events import write_events
from imis_core.parsing import InvalidInput, outside_name, parse, plain
from imis_core.runtime_tables import idempotency
from imis_core.security.caller import Caller, denied

if TYPE_CHECKING:
    from imis_core.application import Application

I = TypeVar("I")  # noqa: E741 - the input class of a command
Outcome = Any  # a result (an attrs instance) or a Refusal
Handler = Callable[[Context, tuple[Any, ...]], Sequence[Outcome]]
BATCH_MAX: Final = 50_000


@frozen
class Command:
    """A command: its door's whole definition.

    `handler(context, inputs)` returns one outcome per input, in order: a `result` or a `Refusal`. It writes nothing for
    an item that it refuses; an exception fails the whole batch.
    """

    name: str
    input: type
    result: type
    handler: Handler
    permission: str
    summary: str
    approval: bool = False  # it decides on somebody's request, so it cannot itself wait for one

    @property
    def noun(self) -> str:
        return self.name.partition(".")[0]


def command(
    name: str,
    *,
    input: type[I],  # noqa: A002
    result: type,
    permission: str | None = None,
    approval: bool = False,
) -> Callable[[Callable[[Context, tuple[I, ...]], Sequence[Any]]], Command]:
    """Make a handler into a command; the first line of its docstring is the summary that users read."""

    def wrap(handler: Callable[[Context, tuple[I, ...]], Sequence[Any]]) -> Command:
        summary = (handler.__doc__ or "").strip().partition("\n")[0]
        return Command(name, input, result, cast(Handler, handler), permission or name, summary, approval)

    return wrap


@frozen
class Reply:
    """What the door answers: one outcome per item, plain data or refusals; `awaiting` if a second person must agree."""

    outcomes: tuple[Any, ...]
    awaiting: bool = False
    repeated: bool = field(default=False, kw_only=True)  # the stored answer of an earlier request with this key

    @property
    def refusals(self) -> list[Refusal]:
        return [o for o in self.outcomes if isinstance(o, Refusal)]


class AllOrNothing(Exception):
    """One item of an atomic batch was refused: everything is rolled back."""

    def __init__(self, outcomes: Sequence[Any]) -> None:
        super().__init__("an item of an atomic batch was refused")
        self.outcomes = tuple(outcomes)


def run_command(
    app: Application,
    name: str,
    items: Sequence[Any],
    caller: Caller,
    *,
    key: str | None = None,
    atomic: bool = False,
    single: bool = False,
) -> Reply:
    """Run a command on a batch of plain inputs. `single` marks a request of one object rather than a list.

    Deadlocks and serialization failures are retried; everything else that fails raises and leaves nothing behind.
    """
    definition = app.commands.get(name)
    if definition is None:
        raise ImisError(app.unknown_name(name))
    begun = time.monotonic()
    with logs.work(command=name, actor=caller.user):
        refusal = _not_allowed(definition, items, caller, key)
        if refusal is not None:
            app.told(name, {refusal.code: len(items)}, time.monotonic() - begun)
            raise ImisError(refusal)
        digest = digest_of(app, definition, items)
        try:
            reply = retried(lambda: _transact(app, definition, items, caller, key, digest, atomic, single))
        except AllOrNothing as failed:
            reply = Reply(failed.outcomes)
        except Exception as error:
            failed_as = error.code if isinstance(error, ImisError) else "failed"
            app.told(name, {failed_as: len(items)}, time.monotonic() - begun)
            raise
        app.told(name, outcomes_of(reply), time.monotonic() - begun)
        return reply


def outcomes_of(reply: Reply) -> dict[str, int]:
    """What became of the items of a batch, by how many: `done`, `awaiting`, `repeated`, or a refusal's code."""
    well = "repeated" if reply.repeated else "awaiting" if reply.awaiting else "done"
    return dict(Counter(o.code if isinstance(o, Refusal) else well for o in reply.outcomes))


def _not_allowed(definition: Command, items: Sequence[Any], caller: Caller, key: str | None) -> Refusal | None:
    if not caller.may(definition.permission):
        return denied(definition.permission)
    if len(items) > BATCH_MAX:
        return invalid(Problem("", "too_many", f"{len(items)} items in one request; send at most {BATCH_MAX}"))
    if key is not None and not (0 < len(key) <= 200 and key.isprintable()):
        return invalid(Problem("idempotency-key", "format", "a key has 1 to 200 printable characters"))
    return None


def digest_of(app: Application, definition: Command, items: Sequence[Any]) -> str:
    """A request's digest that tells nobody a password: secret fields enter it sealed with the deployment's key."""
    secret = _secrets(definition.input)
    if secret:
        items = [
            {k: app.ids.seal(str(v)) if k in secret and v is not None else v for k, v in item.items()}
            if isinstance(item, Mapping)
            else item
            for item in items
        ]
    return request_digest(definition.name, items)


def _secrets(kind: type) -> set[str]:
    return {outside_name(a) for a in attrs.fields(kind) if a.metadata.get("secret")}


def _transact(
    app: Application, definition: Command, items: Sequence[Any], caller: Caller,
    key: str | None, digest: str, atomic: bool, single: bool,
) -> Reply:  # fmt: skip
    with app.database.command(caller) as (connection, audit):
        context = Context(app, connection, caller, app.clock.now(), app.clock.today(), audit, definition.name)
        logs.bind(audit=audit)
        if key is not None:
            # One object and a list of one, all or none and one by one: these are other requests.
            shape = ("" if single else " list") + (" atomic" if atomic else "")
            stored = _claim_key(context, key, digest + shape)
            if stored is not None:
                return stored
        if definition.name in app.settings.approvals:
            reply = app.hold_for_approval(context, definition, items, single)
        else:
            reply = Reply(perform(context, definition, items, digest))
        if atomic and reply.refusals:
            raise AllOrNothing(reply.outcomes)
        if key is not None:
            context.execute(
                sa.update(idempotency)
                .where(idempotency.c.actor == caller.user, idempotency.c.key == key)
                .values(answer=_stored(reply))
            )
        return reply


_NEXT_ENTRY: Final = sa.text("SELECT set_config('imis.audit', nextval('core.audit_ids')::text, true)::bigint")
_BACK_TO_ENTRY: Final = sa.text("SELECT set_config('imis.audit', :audit, true)")


def perform_within(context: Context, name: str, items: Sequence[Any]) -> list[Any]:
    """Run another command inside the running one's transaction, with an audit entry of its own.

    The actor and his or her scope stay; the permission is not asked again, since the outer command was allowed and its
    plugin answers for what it does. One under [approvals] waits for its second person as always.
    """
    app = context.app
    definition = app.commands[name]
    audit = int(context.execute(_NEXT_ENTRY).scalar_one())
    inner = attrs.evolve(context, audit=audit, command=name, events=[])
    with logs.work(command=name, audit=audit, within=context.command):
        if name in app.settings.approvals:
            outcomes = app.hold_for_approval(inner, definition, items, single=len(items) == 1).outcomes
        else:
            outcomes = perform(inner, definition, items, digest_of(app, definition, items))
    context.execute(_BACK_TO_ENTRY, {"audit": str(context.audit)})
    return list(outcomes)


def perform(
    context: Context, definition: Command, items: Sequence[Any], digest: str, *, approver: int | None = None
) -> tuple[Any, ...]:
    """Parse, handle and record a batch inside an open transaction; plain results and refusals in order."""
    parsed: list[Any] = []
    positions: list[int] = []
    outcomes: list[Any] = [None] * len(items)
    for position, item in enumerate(items):
        try:
            parsed.append(parse(item, definition.input))
            positions.append(position)
        except InvalidInput as error:
            outcomes[position] = invalid(*error.problems)
    answers = definition.handler(context, tuple(parsed)) if parsed else ()
    if len(answers) != len(parsed):
        raise AssertionError(f"{definition.name} answered {len(answers)} outcomes for {len(parsed)} inputs")
    for position, answer in zip(positions, answers, strict=True):
        outcomes[position] = answer if isinstance(answer, Refusal) else plain(answer)
    refused_count = sum(isinstance(o, Refusal) for o in outcomes)
    if refused_count < len(outcomes):
        shown = items if len(items) == 1 else None
        write_entry(
            context,
            len(outcomes) - refused_count,
            refused_count,
            digest,
            mask(definition.input, shown),
            approver=approver,
        )
    write_events(context)
    return tuple(outcomes)


def mask(kind: type, items: Sequence[Any] | None) -> Any:
    """A request as the audit keeps it: fields marked secret are not shown."""
    if items is None:
        return None
    secret = _secrets(kind)
    return [
        {k: "***" if k in secret else v for k, v in item.items()} if isinstance(item, Mapping) else None
        for item in items
    ]


def _claim_key(context: Context, key: str, digest: str) -> Reply | None:
    """Take the key for this request (a concurrent twin waits here), or give the stored answer."""
    taken = context.execute(
        sa.text(
            "INSERT INTO core.idempotency (actor, key, digest, at) VALUES (:actor, :key, :digest, :at) "
            "ON CONFLICT DO NOTHING RETURNING 1"
        ),
        {"actor": context.caller.user, "key": key, "digest": digest, "at": context.now},
    ).first()
    if taken is not None:
        return None
    row = context.execute(
        sa.select(idempotency.c.digest, idempotency.c.answer).where(
            idempotency.c.actor == context.caller.user, idempotency.c.key == key
        )
    ).one()
    if row.digest != digest:
        raise ImisError(
            Refusal("idempotency.key_reused", f"the key {key!r} was used for another request; take a fresh key")
        )
    return _restored(row.answer)


def _stored(reply: Reply) -> dict[str, Any]:
    return {"outcomes": outcomes_as_json(reply.outcomes), "awaiting": reply.awaiting}


def outcomes_as_json(outcomes: Sequence[Any]) -> list[dict[str, Any]]:
    """Each item's outcome as `{"result": ...}` or `{"error": ...}`, as every door shows a batch."""
    return [{"error": o.as_json()} if isinstance(o, Refusal) else {"result": o} for o in outcomes]


def _restored(answer: Mapping[str, Any]) -> Reply:
    return Reply(
        tuple(refusal_from(o["error"]) if "error" in o else o["result"] for o in answer["outcomes"]),
        answer["awaiting"],
        repeated=True,
    )


def refusal_from(error: Mapping[str, Any]) -> Refusal:
    """A refusal as it was before `Refusal.as_json`."""
    known = {"code", "detail", "errors"}
    return Refusal(
        error["code"],
        error["detail"],
        tuple(Problem(e["path"], e["reason"], e["message"]) for e in error.get("errors", ())),
        {k: v for k, v in error.items() if k not in known},
    )

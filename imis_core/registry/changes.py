"""Change requests: a command that is asked for, and run when somebody else approves it.

They are rows of the approvals' own store by another name, so `approvals.approve` decides on them too. Such a command
runs with the maker as actor, and a closed registration period does not stop it.
"""

from __future__ import annotations

from typing import Any

import attrs
from attrs import frozen

from imis_core.approvals import Request, decide_change, store
from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid, suggestion
from imis_core.parsing import InvalidInput, parse
from imis_core.security.caller import denied


@frozen(kw_only=True)
class RequestChange:
    """`do`: a command's name, `with` what it is given, as in a scenario's step."""

    do: str
    with_: dict[str, Any]
    reason: str


@frozen
class ChangeRequested:
    id: str
    status: str


@command("registry.request_change", input=RequestChange, result=ChangeRequested)
def request_changes(context: Context, items: tuple[RequestChange, ...]) -> list[ChangeRequested | Refusal]:
    """Ask for a command to be run; nothing changes until somebody else approves it."""
    outcomes: list[Any] = [_refusal(context, item) for item in items]
    asked = [position for position, refusal in enumerate(outcomes) if refusal is None]
    requests = [
        Request(context.app.commands[item.do], [item.with_], True, change=True, because=item.reason)
        for item in (items[position] for position in asked)
    ]
    ids = context.ids.encode_all("approvals", store(context, requests))
    for position, identity in zip(asked, ids, strict=True):
        outcomes[position] = ChangeRequested(identity, "requested")
    return outcomes


def _refusal(context: Context, item: RequestChange) -> Refusal | None:
    """A request that could never run is refused at once."""
    definition = context.app.commands.get(item.do)
    if definition is None:
        message = f"there is no command {item.do[:60]!r}{suggestion(item.do, context.app.commands)}"
        return invalid(Problem("do", "unknown", message))
    if definition.approval or definition.name == request_changes.name:
        message = f"{item.do} decides on requests, so it cannot itself be requested"
        return invalid(Problem("do", "approval", message))
    if any(a.metadata.get("secret") for a in attrs.fields(definition.input)):
        return invalid(Problem("do", "secret", f"{item.do} carries a secret; run it yourself"))
    if not context.caller.may(definition.permission):
        return denied(definition.permission)
    if not item.reason.strip():
        return invalid(Problem("reason", "required", "say why the change is needed"))
    try:
        parse(item.with_, definition.input)
    except InvalidInput as error:
        return invalid(*(problem.at("with") for problem in error.problems))
    return None


@frozen(kw_only=True)
class DecideChange:
    change: str
    reason: str | None = None


@frozen
class ChangeDecided:
    """`status`: applied, rejected, or requested where a further approver is needed; `result`: the command's."""

    status: str
    result: object = None


@command("registry.approve_change", input=DecideChange, result=ChangeDecided, approval=True)
def approve_changes(context: Context, items: tuple[DecideChange, ...]) -> list[ChangeDecided | Refusal]:
    """Agree to somebody else's change request: its command is run now."""
    outcomes: list[ChangeDecided | Refusal] = []
    for item in items:
        decided = decide_change(context, item.change, "approved", item.reason)
        if isinstance(decided, Refusal):
            outcomes.append(decided)
        else:
            status = "applied" if decided.status == "approved" else "requested"
            outcomes.append(ChangeDecided(status, decided.result))
    return outcomes


@command("registry.reject_change", input=DecideChange, result=ChangeDecided, approval=True)
def reject_changes(context: Context, items: tuple[DecideChange, ...]) -> list[ChangeDecided | Refusal]:
    """Refuse a change request: its command is never run."""
    outcomes: list[ChangeDecided | Refusal] = []
    for item in items:
        decided = decide_change(context, item.change, "rejected", item.reason)
        outcomes.append(decided if isinstance(decided, Refusal) else ChangeDecided(decided.status))
    return outcomes


COMMANDS = (request_changes, approve_changes, reject_changes)

"""Checks of accounts: a provider is asked whether it can pay to the accounts of those enrolled with it.

Nothing is paid and no enrolment changes: what cannot be paid to is listed (`payments.unpayable_accounts`). Asking twice
harms nobody, so a check that goes wrong is asked for anew.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.bulk import insert_rows, take_ids
from imis_core.database.engine import retried
from imis_core.errors import Refusal, Unavailable, not_found
from imis_core.jobs_kinds import Job
from imis_core.payments.order_names import order_number
from imis_core.payments.tables import payment_providers
from imis_core.payments.transmitting.gateways import Reached, reach
from imis_core.payments.transmitting.lines import NotNow, take_turn, went_ill, went_well
from imis_core.payments.transmitting.placing import CORRELATION
from imis_core.payments.transmitting.service import Address, Notice, Unanswered
from imis_core.payments.transmitting.store import transaction
from imis_core.payments.transmitting.tables import account_check_current, account_checks

if TYPE_CHECKING:
    from imis_core.application import Application

ASK: Final = "payments.ask_accounts"
ADDRESS_MAX: Final = 20  # characters of a financialAddress (GovStack, Financial Address Validation)
# Of one request: the answer names every account that fails, and a stranger's message has 64 KiB at most (web.limits).
ACCOUNTS: Final = 400
TOO_LONG: Final = "longer than the 20 characters that a provider takes"


@frozen(kw_only=True)
class CheckAccounts:
    provider: str


@frozen(kw_only=True)
class AccountsAsked:
    """`checks`: how many requests the accounts are asked in."""

    checks: int
    accounts: int


@command("payments.check_accounts", input=CheckAccounts, result=AccountsAsked)
def check_accounts(context: Context, items: tuple[CheckAccounts, ...]) -> list[AccountsAsked | Refusal]:
    """Ask a payment provider whether it can pay to the accounts of those enrolled with it; its answer comes later."""
    if not context.caller.everywhere:
        refusal = Refusal("permission.denied", "only a role of scope all has a provider's accounts checked: it is all")
        return [refusal] * len(items)
    known = dict(context.named(payment_providers, {item.provider for item in items}))
    done: dict[int, AccountsAsked | Refusal] = {}
    outcomes: list[AccountsAsked | Refusal] = []
    for item in items:
        provider = known.get(item.provider)
        if provider is None:
            outcomes.append(not_found("provider", "payment provider", item.provider))
            continue
        if provider.id not in done:
            done[provider.id] = _check(context, provider)
        outcomes.append(done[provider.id])
    return outcomes


COMMANDS: Final = (check_accounts,)
_PARTS: Final = """
    WITH chosen AS (
        SELECT r.id, r.account, length(r.account) > :longest AS long,
               (row_number() OVER (ORDER BY r.id) - 1) / :most AS part
        FROM core.recipients r
        WHERE r.active AND r.payment_provider = :provider AND btrim(coalesce(r.account, '')) <> '')
"""
_COUNT: Final = sa.text(f"{_PARTS} SELECT part, count(*) AS accounts FROM chosen GROUP BY part ORDER BY part")
_PLACE: Final = sa.text(
    f"""{_PARTS}
    INSERT INTO core.account_check_rows (account_check, recipient, account, failure)
    SELECT n.number, c.id, c.account, CASE WHEN c.long THEN :too_long END
    FROM chosen c JOIN unnest(CAST(:parts AS bigint[]), CAST(:numbers AS bigint[])) AS n(part, number)
         ON n.part = c.part ORDER BY 1, 2
    """
)


def _check(context: Context, provider: Any) -> AccountsAsked | Refusal:
    one = reach(context.app, provider)
    if one is None or one.service.check is None:
        message = f"{provider.code} has no service that could be asked; say in [payment_gateways.{provider.code}] where"
        return Refusal("payments.no_service", message)
    named = {"provider": one.provider, "most": ACCOUNTS, "longest": ADDRESS_MAX}
    parts = context.execute(_COUNT, named).all()
    count = len(parts)
    numbers = take_ids(context.connection, account_checks, count)
    if count:
        insert_rows(
            context.connection,
            account_checks,
            {
                "id": numbers,
                "payment_provider": [one.provider] * count,
                "correlation": [f"A{secrets.token_hex(CORRELATION)[: CORRELATION - 1]}" for _ in parts],
                "accounts": [part.accounts for part in parts],
                "asked_at": [context.now] * count,
                "audit": [context.audit] * count,
            },
        )
        insert_rows(context.connection, account_check_current, {"account_check": numbers, "state": ["waiting"] * count})
        context.execute(_PLACE, named | {"parts": [p.part for p in parts], "numbers": numbers, "too_long": TOO_LONG})
        for number in numbers:
            context.defer(ASK, {"check": number}, lock=f"account check {number}")
    return AccountsAsked(checks=count, accounts=sum(part.accounts for part in parts))


# --- asking


@frozen(kw_only=True)
class AskAccounts:
    check: int


_ROW: Final = sa.text(
    "SELECT k.id, k.correlation, p.id AS provider, p.code, p.channel, c.state FROM core.account_checks k "
    "JOIN core.account_check_current c ON c.account_check = k.id "
    "JOIN core.payment_providers p ON p.id = k.payment_provider WHERE k.id = :number"
)
_ADDRESSES: Final = sa.text(
    "SELECT recipient, account FROM core.account_check_rows WHERE account_check = :number AND failure IS NULL "
    "ORDER BY recipient"
)
_STATE: Final = sa.text(
    "UPDATE core.account_check_current SET state = :state, reason = :reason "
    "WHERE account_check = :number AND state IN ('waiting', 'failed')"
)


@frozen
class _Provider:
    id: int
    code: str
    channel: str


def ask_accounts(app: Application, asked: AskAccounts) -> None:
    """Ask a provider about the accounts of one check. Raises `Unavailable`, and is tried again then."""
    with app.database.query(app.system) as connection:
        row = connection.execute(_ROW, {"number": asked.check}).one()
        addresses = [Address(r.recipient, r.account) for r in connection.execute(_ADDRESSES, {"number": asked.check})]
    one = reach(app, _Provider(row.provider, row.code, row.channel))
    if row.state not in ("waiting", "failed") or one is None or one.service.check is None:
        return
    try:
        retried(lambda: _turn(app, one))
        if addresses:
            one.service.check(one.gateway, row.correlation, addresses)
    except (Unanswered, NotNow) as error:
        reason, ill = str(error), isinstance(error, Unanswered)
        retried(lambda: _set(app, one, row.id, "failed", reason, ill=ill))
        raise Unavailable(Refusal("payments.unanswered", f"{row.code} does not answer: {reason}")) from None
    retried(lambda: _set(app, one, row.id, "asked" if addresses else "answered", None, ill=False))


def _turn(app: Application, one: Reached) -> None:
    with transaction(app, ASK) as context:
        take_turn(context, one)


def _set(app: Application, one: Reached, number: int, state: str, reason: str | None, *, ill: bool) -> None:
    with transaction(app, ASK) as context:
        if ill:
            went_ill(context, one, reason or "it failed")
        elif state != "failed":
            went_well(context, one)
        context.execute(_STATE, {"number": number, "state": state, "reason": reason})


JOBS: Final = (Job(ASK, AskAccounts, ask_accounts, "Ask a payment provider whether it can pay to accounts"),)


# --- the answer

_ANSWER: Final = sa.text(
    """
    UPDATE core.account_check_current c SET state = 'answered', failures = :failures, reason = NULL
    FROM core.account_checks k
    WHERE k.id = c.account_check AND k.payment_provider = :provider AND k.correlation = :name
    RETURNING c.account_check
    """
)
_FAIL: Final = sa.text(
    """
    UPDATE core.account_check_rows r SET failure = n.failure
    FROM unnest(CAST(:recipients AS bigint[]), CAST(:failures AS text[])) AS n(recipient, failure)
    WHERE r.account_check = :number AND r.recipient = n.recipient
    """
)


def take_check(context: Context, provider: int, notice: Notice) -> None:
    """Keep what a provider found; an answer to nothing that was asked changes nothing."""
    failed = {n: reason for name, reason in notice.checked or () if (n := order_number(name)) is not None}
    for name in notice.about:
        asked = {"provider": provider, "name": name, "failures": len(failed)}
        number = context.execute(_ANSWER, asked).scalar()
        if number is not None and failed:
            context.execute(_FAIL, {"number": number, "recipients": list(failed), "failures": list(failed.values())})

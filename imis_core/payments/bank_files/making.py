"""Writing bank files for a batch's orders that were sent through banks: each order into one file, once and for all.

A file is made with its orders' rows in one transaction; asked for again, it is what it was, and nothing is written
anew. An order that failed is retried as another order, which gets into another file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.attachments.store import FOLDER, StoredFile, keep_files, write_stream
from imis_core.audit import write_facts
from imis_core.beneficiaries.tables import persons
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.bulk import insert_returning, take_ids
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.payments.bank_files.credit_transfer import ACCOUNT_MAX, NAME_MAX, Debtor, Transfer, is_iban, write
from imis_core.payments.bank_files.reports import order_reference
from imis_core.payments.channels import BANK_FILE
from imis_core.payments.nothing_owed import pay_nothing, settle_nothing
from imis_core.payments.sources import batch_of
from imis_core.payments.tables import (
    bank_files,
    order_current,
    orders,
    payment_providers,
    recipients,
)
from imis_core.places.tables import providers
from imis_core.values import Money

MEDIA_TYPE: Final = "application/xml"
NOUN: Final = "bank_files"
ORDERS: Final = 100_000  # of one file, unless it is asked otherwise; `[payment_limits.CODE]` may allow a bank fewer
ORDERS_MAX: Final = 1_000_000
READ_AT_ONCE: Final = 5_000


@frozen(kw_only=True)
class SetBank:
    """Who pays by bank files of this provider: name and account of the debtor, `bank` its BIC."""

    provider: str
    debtor: str
    account: str
    bank: str | None = None


@frozen(kw_only=True)
class BankSet:
    provider: str


@command("payments.set_bank", input=SetBank, result=BankSet)
def set_bank(context: Context, items: tuple[SetBank, ...]) -> list[BankSet | Refusal]:
    """Say from whose account, and at which bank, the files of a payment provider are paid."""
    known = dict(context.named(payment_providers, {item.provider for item in items}))
    outcomes: list[Any] = [_bank_refusal(item, known) for item in items]
    chosen = {known[i.provider].id: i for i, refusal in zip(items, outcomes, strict=True) if refusal is None}
    if chosen:
        context.execute(
            sa.text(
                "UPDATE core.payment_providers p SET debtor_name = n.name, debtor_account = n.account, "
                "debtor_bank = n.bank FROM unnest(CAST(:ids AS bigint[]), CAST(:names AS text[]), "
                "CAST(:accounts AS text[]), CAST(:banks AS text[])) AS n(id, name, account, bank) WHERE p.id = n.id"
            ),
            {
                "ids": list(chosen),
                "names": [item.debtor.strip() for item in chosen.values()],
                "accounts": [item.account.strip() for item in chosen.values()],
                "banks": [item.bank for item in chosen.values()],
            },
        )
    return [
        BankSet(provider=known[item.provider].code) if refusal is None else refusal
        for item, refusal in zip(items, outcomes, strict=True)
    ]


def _bank_refusal(item: SetBank, known: dict[str, Any]) -> Refusal | None:
    provider = known.get(item.provider)
    if provider is None:
        return not_found("provider", "payment provider", item.provider)
    if provider.channel != BANK_FILE.name:
        return invalid(Problem("provider", "channel", f"{item.provider} is paid through {provider.channel}"))
    found = []
    if not 1 <= len(item.debtor.strip()) <= NAME_MAX:
        found.append(Problem("debtor", "format", f"the debtor's name has 1 to {NAME_MAX} characters"))
    account = item.account.strip()
    if not (is_iban(account) or 1 <= len(account) <= ACCOUNT_MAX):
        found.append(Problem("account", "format", f"an account is an IBAN, or has 1 to {ACCOUNT_MAX} characters"))
    if item.bank is not None and not (len(item.bank) in (8, 11) and item.bank.isalnum() and item.bank.isupper()):
        found.append(Problem("bank", "format", "a BIC has 8 or 11 capitals and digits"))
    return invalid(*found) if found else None


@frozen(kw_only=True)
class MakeBankFiles:
    """`on`: the day on which the bank is asked to pay, today or later; `orders_max`: of one file, at most a million."""

    payroll: str | None = None
    claims_batch: str | None = None
    refunds: str | None = None
    on: date | None = None
    orders_max: int = ORDERS


@frozen(kw_only=True)
class BankFile:
    """A file: `id` is also the name that the bank's reports give it (without dashes); `attachment` its content."""

    id: str
    provider: str
    orders: int
    amount: Money
    execute_on: date
    digest: str
    attachment: str


@frozen(kw_only=True)
class BankFilesMade:
    """`files` are new; `unwritable` are orders whose account does not fit into a bank file."""

    files: tuple[BankFile, ...]
    unwritable: int


@command("payments.bank_files", input=MakeBankFiles, result=BankFilesMade)
def make_bank_files(context: Context, items: tuple[MakeBankFiles, ...]) -> list[BankFilesMade | Refusal]:
    """Write the orders of a batch that were sent through banks into files (ISO 20022), each order once and for all."""
    return [_make(context, item) for item in items]


COMMANDS = (set_bank, make_bank_files)


def _make(context: Context, item: MakeBankFiles) -> BankFilesMade | Refusal:
    if not context.caller.everywhere:
        return Refusal("permission.denied", "only a role of scope all makes bank files: they name every order")
    if not 1 <= item.orders_max <= ORDERS_MAX:
        return invalid(Problem("orders_max", "range", f"orders_max is 1 to {ORDERS_MAX}"))
    on = item.on or context.today
    if on < context.today:
        return invalid(Problem("on", "past", f"the bank cannot pay before today ({context.today})"))
    batch = batch_of(context, item)
    if isinstance(batch, Refusal):
        return batch
    kind, source = batch
    most = _orders_per_file(context, item.orders_max)
    settle_nothing(context, kind, pay_nothing(context, kind, source.number, list(most)))
    for statement in _FRESH_TABLE:
        context.execute(statement)
    chosen = {"kind": kind, "source": source.number, "providers": list(most), "most": list(most.values())}
    context.execute(_CHOOSE, chosen)
    context.execute(_COUNTED)  # without statistics the planner takes a million rows for a handful
    parts = context.execute(_PARTS).all()
    lacking = sorted({part.provider_code for part in parts if part.debtor_account is None})
    if lacking:
        message = f"nobody said from which account {lacking[0]} pays; run payments.set_bank"
        return Refusal("payments.no_bank", message)
    unwritable = context.execute(_UNWRITABLE).scalar_one()
    numbers = take_ids(context.connection, bank_files, len(parts))
    outside = context.ids.encode_all(NOUN, numbers)
    stored = [_written(context, part, identity, on) for part, identity in zip(parts, outside, strict=True)]
    kept = keep_files(context, stored)
    _keep(context, kind, source.number, on, parts, numbers, stored, kept)
    attached = context.ids.encode_all("attachments", kept)
    files = [
        BankFile(
            id=identity, provider=part.provider_code, orders=part.orders, amount=Money(part.amount, part.currency),
            execute_on=on, digest=file.digest, attachment=attachment,
        )
        for part, identity, file, attachment in zip(parts, outside, stored, attached, strict=True)
    ]  # fmt: skip
    # What leaves is known by its digest for ever, in the sealed log too.
    write_facts(
        context,
        [{"file": file.id, "provider": file.provider, "orders": file.orders, "amount": str(file.amount),
          "currency": file.amount.currency, "digest": file.digest} for file in files],
    )  # fmt: skip
    return BankFilesMade(files=tuple(files), unwritable=unwritable)


def _orders_per_file(context: Context, wanted: int) -> dict[int, int]:
    """How many orders go into one file of each provider of the channel."""
    p = payment_providers.c
    rows = context.execute(sa.select(p.id, p.code).where(p.channel == BANK_FILE.name).order_by(p.id))
    return {row.id: min(wanted, context.settings.limits_of(row.code).orders_per_file or wanted) for row in rows}


# The orders of this call with the part of a provider's files that each goes into. Locked, so that two calls at once
# do not both write them; the primary key of bank_file_orders is the second wall.
_FRESH_TABLE: Final = (
    sa.text("DROP TABLE IF EXISTS bank_file_chosen"),  # of an earlier item of this call
    sa.text(
        'CREATE TEMPORARY TABLE bank_file_chosen ("order" bigint, payment_provider bigint, part bigint) ON COMMIT DROP'
    ),
)
_COUNTED: Final = sa.text("ANALYZE bank_file_chosen")
_CHOOSE: Final = sa.text(
    """
    WITH open AS MATERIALIZED (
        SELECT t."order", t.payment_provider, r.account, n.most FROM core.orders o
        JOIN core.order_current t ON t."order" = o.id
        JOIN unnest(CAST(:providers AS bigint[]), CAST(:most AS bigint[])) AS n(payment_provider, most)
             ON n.payment_provider = t.payment_provider
        JOIN core.recipients r ON r.id = t.recipient
        WHERE o.source_kind = :kind AND o.source = :source AND t.state = 'submitted'
          AND NOT EXISTS (SELECT FROM core.bank_file_orders f WHERE f."order" = o.id)
        ORDER BY t."order" FOR UPDATE OF t
    )
    INSERT INTO bank_file_chosen SELECT "order", payment_provider,
        CASE WHEN length(btrim(coalesce(account, ''))) BETWEEN 1 AND 34 THEN
            (count(*) FILTER (WHERE length(btrim(coalesce(account, ''))) BETWEEN 1 AND 34)
             OVER (PARTITION BY payment_provider ORDER BY "order") - 1) / most END
    FROM open
    """
)
_PARTS: Final = sa.text(
    """
    SELECT c.payment_provider, c.part, o.currency, count(*) AS orders, CAST(sum(o.amount_minor) AS bigint) AS amount,
           p.code AS provider_code, p.debtor_name, p.debtor_account, p.debtor_bank
    FROM bank_file_chosen c JOIN core.orders o ON o.id = c."order"
    JOIN core.payment_providers p ON p.id = c.payment_provider
    WHERE c.part IS NOT NULL
    GROUP BY c.payment_provider, c.part, o.currency, p.code, p.debtor_name, p.debtor_account, p.debtor_bank
    ORDER BY p.code, c.part
    """
)
_UNWRITABLE: Final = sa.text("SELECT count(*) FROM bank_file_chosen WHERE part IS NULL")


def _written(context: Context, part: Any, identity: str, on: date) -> StoredFile:
    """One file on the disk, streamed from the database."""
    total = Money(part.amount, part.currency)
    debtor = Debtor(name=part.debtor_name, account=part.debtor_account, bank=part.debtor_bank)

    def content(out: Any) -> None:
        rows = _transfers(context, part)
        write(out, order_reference(identity), context.now, on, debtor, rows, part.orders, total)

    digest, size = write_stream(context.app.var / FOLDER, content)
    name = f"bank-file-{part.provider_code}-{order_reference(identity)}.xml"
    return StoredFile(name, MEDIA_TYPE, digest, size)


def _transfers(context: Context, part: Any) -> Iterator[Transfer]:
    chosen = sa.table("bank_file_chosen", sa.column("order"), sa.column("payment_provider"), sa.column("part"))
    select = (
        sa.select(
            orders.c.id, orders.c.amount_minor, orders.c.currency, orders.c.scheme, recipients.c.account,
            sa.func.coalesce(persons.c.number, providers.c.code).label("holder"),
            sa.func.coalesce(
                providers.c.name,
                sa.func.nullif(sa.func.concat_ws(" ", persons.c.given_name, persons.c.family_name), ""),
            ).label("name"),
        )
        .select_from(
            orders.join(chosen, chosen.c.order == orders.c.id)
            .join(order_current, order_current.c.order == orders.c.id)
            .join(recipients, recipients.c.id == order_current.c.recipient)
            .outerjoin(persons, persons.c.id == recipients.c.person)
            .outerjoin(providers, providers.c.id == recipients.c.provider)
        )
        .where(chosen.c.payment_provider == part.payment_provider, chosen.c.part == part.part)
        .order_by(orders.c.id)
    )  # fmt: skip
    rows = context.execute(select.execution_options(stream_results=True, yield_per=READ_AT_ONCE))
    for chunk in rows.partitions(READ_AT_ONCE):
        outside = context.ids.encode_all("orders", [row.id for row in chunk])
        for row, identity in zip(chunk, outside, strict=True):
            yield Transfer(
                order_reference(identity), row.name or row.holder, row.account.strip(),
                Money(row.amount_minor, row.currency), f"{row.scheme} {row.holder}",
            )  # fmt: skip


def _keep(
    context: Context, kind: str, source: int, on: date, parts: Sequence[Any], numbers: Sequence[int],
    stored: Sequence[StoredFile], attached: Sequence[int],
) -> None:  # fmt: skip
    insert_returning(
        context.connection,
        bank_files,
        {
            "id": list(numbers),
            "source_kind": [kind] * len(parts),
            "source": [source] * len(parts),
            "payment_provider": [part.payment_provider for part in parts],
            "orders": [part.orders for part in parts],
            "amount_minor": [part.amount for part in parts],
            "currency": [part.currency for part in parts],
            "execute_on": [on] * len(parts),
            "digest": [file.digest for file in stored],
            "attachment": list(attached),
            "audit": [context.audit] * len(parts),
        },
    )
    context.execute(
        sa.text(
            'INSERT INTO core.bank_file_orders ("order", file) SELECT c."order", n.file FROM bank_file_chosen c '
            "JOIN unnest(CAST(:providers AS bigint[]), CAST(:parts AS bigint[]), CAST(:files AS bigint[])) "
            "AS n(provider, part, file) ON n.provider = c.payment_provider AND n.part = c.part"
        ),
        {
            "providers": [part.payment_provider for part in parts],
            "parts": [part.part for part in parts],
            "files": list(numbers),
        },
    )

"""Bank files that were written: which there are, and where their content is, however often they are fetched."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.errors import Refusal, not_found
from imis_core.payments.sources import batch_name, batch_of
from imis_core.payments.tables import bank_files, payment_providers
from imis_core.queries import Listing, query
from imis_core.values import Money


@frozen(kw_only=True)
class ListBankFiles:
    """Of one batch, of one provider, or all."""

    payroll: str | None = None
    claims_batch: str | None = None
    refunds: str | None = None
    provider: str | None = None


@frozen(kw_only=True)
class WrittenBankFile:
    """`attachment`: its content, always the same bytes; `digest`: their SHA-256, which the audit log has as well."""

    id: str
    provider: str
    orders: int
    amount: Money
    execute_on: date
    digest: str
    attachment: str


@query("payments.written_bank_files", input=ListBankFiles, result=WrittenBankFile, listing=True)
def list_bank_files(context: Context, asked: ListBankFiles) -> Listing | Refusal:
    """The bank files that were written, in the order of writing; only for callers who see everything."""
    chosen: sa.ColumnElement[bool] = sa.true() if context.caller.everywhere else sa.false()
    if batch_name(asked) is not None:
        batch = batch_of(context, asked)
        if isinstance(batch, Refusal):
            return batch
        chosen = sa.and_(chosen, bank_files.c.source_kind == batch[0], bank_files.c.source == batch[1].number)
    if asked.provider is not None:
        named = context.named(payment_providers, [asked.provider])
        if not named:
            return not_found("provider", "payment provider", asked.provider)
        chosen = sa.and_(chosen, bank_files.c.payment_provider == named[0][1].id)
    select = (
        sa.select(bank_files, payment_providers.c.code)
        .join(payment_providers, payment_providers.c.id == bank_files.c.payment_provider)
        .where(chosen)
    )

    def build(rows: Sequence[Any]) -> list[WrittenBankFile]:
        ids = context.ids.encode_all("bank_files", [row.id for row in rows])
        contents = context.ids.encode_all("attachments", [row.attachment for row in rows])
        return [
            WrittenBankFile(
                id=identity, provider=row.code, orders=row.orders, amount=Money(row.amount_minor, row.currency),
                execute_on=row.execute_on, digest=row.digest, attachment=attachment,
            )
            for identity, attachment, row in zip(ids, contents, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (bank_files.c.id,), build)


QUERIES: Final = (list_bank_files,)

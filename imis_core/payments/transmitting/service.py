"""What a payment provider's service is to us, whatever it speaks: send a batch, ask what came of it, read what it says.

A channel brings a `Service`; what must hold of money (sent once, asked before sent again, one path of reconciliation)
is the business of those who call it, so a service holds no state and touches no database.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence, Set
from decimal import Decimal
from typing import Literal

from attrs import field, frozen

from imis_core.gateway_settings import CALLBACKS, SECRET_MIN, GatewayTable
from imis_core.values import Money

REFERENCE_MAX = 200  # characters of a provider's reference or reason that are kept


@frozen
class Gateway:
    """A provider's service as the settings tell of it. `provider` is the provider's code."""

    provider: str
    settings: GatewayTable

    @property
    def callback_url(self) -> str:
        """Where the provider tells us by itself."""
        return f"{self.settings.callback_url.rstrip('/')}{CALLBACKS}/{self.provider}"

    def token(self) -> str | None:
        """The token that we show; None where none is asked for. Raises `NoSecret`."""
        return _secret(self.settings.token_variable)

    def signing_secret(self) -> str | None:
        """The secret that signs callbacks; None: callbacks are refused. Raises `NoSecret`, too if it is short."""
        return _long(self.settings.secret_variable)


class NoSecret(Exception):
    """The environment variable that the settings name is not set."""


def _secret(variable: str | None) -> str | None:
    if variable is None:
        return None
    value = os.environ.get(variable)
    if not value:
        raise NoSecret(f"the environment variable {variable} is not set")
    return value


def _long(variable: str | None) -> str | None:
    """A secret that signs: one that can be guessed lets anybody speak as the provider."""
    value = _secret(variable)
    if value is not None and len(value) < SECRET_MIN:
        raise NoSecret(f"the environment variable {variable} holds less than {SECRET_MIN} characters")
    return value


@frozen
class Instruction:
    """One order of a batch: its number, what it is paid to (None: nothing), how much, and who is paid.

    `payee`: a person's number or a facility's code.
    """

    order: int
    account: str | None = field(repr=False)
    amount: Money
    payee: str = field(repr=False)


@frozen
class Outgoing:
    """A batch as it is sent: `correlation` names it for ever, also when it is sent again."""

    correlation: str
    scheme: str
    instructions: Sequence[Instruction] = field(repr=False)


@frozen
class Sent:
    """What became of sending.

    `accepted`: the provider has it, and calls it `batch`. `refused`: it read it and took nothing of it.
    `not_taken`: it never got it (no connection, or it said so); sending again is safe. `unknown`: it may have it.
    `ill`: the line itself failed, which the circuit breaker counts. `pause_seconds`: how long it asks to be left alone.
    """

    outcome: Literal["accepted", "refused", "not_taken", "unknown"]
    batch: str | None = None
    reason: str | None = None
    ill: bool = False
    pause_seconds: int | None = None


@frozen
class Told:
    """What a provider says of one instruction, as it says it; `order` names it. `pending`: not decided yet;
    `returned`: the money came back, whether it was ever told as paid or not."""

    order: str
    status: Literal["paid", "failed", "returned", "pending"]
    amount: Decimal | None
    currency: str | None = None
    reference: str | None = None
    reason: str | None = None


@frozen
class Page:
    """A part of a provider's list about a batch. `unreadable`: rows that say nothing that we understand.

    `batch`: what the provider calls it, kept once it is told and given to `ask` from then on.
    """

    batch: str | None
    rows: Sequence[Told] = field(repr=False)
    unreadable: int = 0


class NotKnown(Exception):
    """The provider says that it never had this batch."""


class Unanswered(Exception):
    """The provider gave no answer that tells anything; nothing is known by it."""


class NotListed(Unanswered):
    """The provider answered, and has nothing to tell of this batch yet: no answer about it, and its line is well."""


@frozen
class Notice:
    """What a provider says by itself.

    `told`: about one instruction. `about`: a batch of which it says something, by our name or by its own; it is asked
    for the details. `checked`: the result of an account check, whose name stands in `about`, as (recipient, reason) of
    the accounts that cannot be paid to.
    """

    told: Told | None = None
    about: Sequence[str] = ()
    checked: Sequence[tuple[str, str]] | None = None


@frozen
class VoucherNumber:
    """What redeems the voucher of an order (named as `Told.order` names it): its serial number, and the secret one."""

    order: str
    serial: str
    number: str = field(repr=False)


@frozen
class Address:
    """An account that a provider is asked about: its enrolment's number, and the account."""

    recipient: int
    account: str = field(repr=False)


class Unreadable(Exception):
    """A message that cannot be read; the text says why, without what it says."""


# Called before each request: it may raise, and then nothing is asked. The one before it was answered.
Turn = Callable[[], None]


@frozen
class Service:
    """How providers of a channel are spoken to.

    `send(gateway, outgoing)` sends a batch in one request and never raises for what the provider does.
    `ask(gateway, correlation, batch, turn, stopped)` gives the pages of the provider's list; raises `NotKnown`,
    `Unanswered`. What has to be set going at the provider before anybody is paid is set going by it, but not for the
    orders `stopped` (named as `Told.order` names them): nobody is to be paid by those.
    None: the provider has no list that could be asked; then what its messages say of an order is all there is.
    `read(body)` reads a message that came by itself; raises `Unreadable`.
    `secrets`: fields of messages that are worth money to whoever reads them (lower case); they are never kept.
    `check(gateway, correlation, addresses)` asks whether accounts can be paid to; the answer comes by itself. Raises
    `Unanswered`. None: this service cannot be asked.
    `payee_max`: how many characters of a payee's number an instruction can carry; None: any, or it names nobody. An
    order that does not fit stays approved: sent, it would have its whole batch refused.
    `cancel(gateway, correlation, batch, turn, orders)` has what was made for these orders (named as `Told.order` names
    them) taken back, as far as nobody was paid by it; asked for again, it changes nothing. What came of it, the list
    says, so it is read whatever this gives: why the provider did not take it, or did not answer; None if it took it.
    Raises `NotKnown`, `Unanswered` only where the list cannot be read. None: what was sent cannot be taken back.
    `numbers(body)` reads the numbers of vouchers that a message tells, () of any other message and of one that cannot
    be read; they are kept encrypted until they are worth nothing. None: there are none, or they are not ours to give.
    `orders_max`: how many orders a batch may have, whatever the settings say; None: any number.
    """

    send: Callable[[Gateway, Outgoing], Sent]
    ask: Callable[[Gateway, str, str | None, Turn, Set[str]], Iterator[Page]] | None
    read: Callable[[bytes], Notice]
    check: Callable[[Gateway, str, Sequence[Address]], None] | None = None
    secrets: frozenset[str] = frozenset()
    payee_max: int | None = None
    cancel: Callable[[Gateway, str, str | None, Turn, Set[str]], str | None] | None = None
    numbers: Callable[[bytes], Sequence[VoucherNumber]] | None = None
    orders_max: int | None = None

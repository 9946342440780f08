"""Where providers tell us by themselves: an open address; every message is signed, taken once, and kept as it came.

The signature is `X-Signature`: hexadecimal HMAC-SHA256, with the secret that the provider and we share, of the header
`X-Signature-Time` (seconds since 1970), a dot, the header `X-Signature-Nonce`, a dot, and the body byte by byte. Here a
message is only received; a job reads it (`messages`), in whatever order they come. What is worth money to whoever reads
it (`Service.secrets`) is taken out before the message is kept; numbers of vouchers are kept by themselves, encrypted.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Set
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from imis_core.database.engine import retried
from imis_core.errors import refused
from imis_core.gateway_settings import CALLBACKS
from imis_core.payments.transmitting.gateways import Reached, reached
from imis_core.payments.transmitting.http import encode
from imis_core.payments.transmitting.service import NoSecret
from imis_core.payments.transmitting.store import audited, transaction
from imis_core.payments.transmitting.voucher_numbers import keep_numbers
from imis_core.payments.transmitting.wire import decoded
from imis_core.routes import Answer, Route, RouteRequest

if TYPE_CHECKING:
    from imis_core.application import Application
    from imis_core.context import Context

RECEIVE: Final = "payments.receive"
TAKE: Final = "payments.take_messages"  # the job of `transmitting.messages`
AGE_MAX: Final = timedelta(minutes=5)  # by how much a message may be older or newer than our clock
_NONCE: Final = re.compile(r"[A-Za-z0-9_.~+/=-]{16,64}\Z")
_TIME: Final = re.compile(r"[0-9]{1,12}\Z")
_KEEP: Final = sa.text(
    """
    WITH kept AS (
        INSERT INTO core.provider_messages (payment_provider, nonce, digest, body, received_at)
        VALUES (:provider, :nonce, :digest, :body, :now) ON CONFLICT (payment_provider, nonce) DO NOTHING RETURNING id)
    INSERT INTO core.provider_messages_waiting (message) SELECT id FROM kept RETURNING message
    """
)
# Of many that come together the first one asks for the job; what it leaves behind, the next look of a minute finds.
_FIRST: Final = sa.text("SELECT NOT EXISTS (SELECT FROM core.provider_messages_waiting WHERE message <> :message)")


def receive(request: RouteRequest) -> Answer:
    """Take one message: 202, 200 if it was taken before, 401 if it is not signed as it should be."""
    app, code = request.app, request.names["provider"]
    one = retried(lambda: _signed_by(app, code, request.headers, request.body))
    if one is None:
        # The same for whatever is wrong: who guesses learns nothing.
        raise refused("payments.signature", "the message is not signed as it should be, or its time is over")
    nonce = request.headers["x-signature-nonce"]
    fresh = retried(lambda: _keep(app, one, nonce, request.body))
    return Answer(status=202 if fresh else 200, body={"message": "received" if fresh else "already received"})


def _signed_by(app: Application, code: str, headers: Mapping[str, str], body: bytes) -> Reached | None:
    """The provider whose secret signed it, now and not some time ago; None: nobody's."""
    at, nonce = headers.get("x-signature-time", ""), headers.get("x-signature-nonce", "")
    if not _TIME.match(at) or not _NONCE.match(nonce):
        return None
    if abs(app.clock.now() - datetime.fromtimestamp(0, UTC) - timedelta(seconds=int(at))) > AGE_MAX:
        return None
    with app.database.query(app.system) as connection:
        one = next(iter(reached(_context(app, connection), [code]).values()), None)
    try:
        secret = None if one is None else one.gateway.signing_secret()
    except NoSecret:
        secret = None
    if secret is None:
        return None
    expected = signature(secret, at, nonce, body)
    given = headers.get("x-signature", "").encode("utf-8", "backslashreplace")
    return one if hmac.compare_digest(expected.encode("ascii"), given) else None


def signature(secret: str, at: str, nonce: str, body: bytes) -> str:
    """What stands in `X-Signature`."""
    return hmac.new(secret.encode(), f"{at}.{nonce}.".encode() + body, hashlib.sha256).hexdigest()


def _context(app: Application, connection: sa.Connection) -> Context:
    from imis_core.context import Context

    return Context(app, connection, app.system, app.clock.now(), app.clock.today(), command=RECEIVE)


def _keep(app: Application, one: Reached, nonce: str, body: bytes) -> bool:
    """Keep a message, and have it read; False if it was taken before."""
    numbers = () if one.service.numbers is None else one.service.numbers(body)
    body = without_secrets(body, one.service.secrets)
    with transaction(app, RECEIVE) as context:
        kept = context.execute(
            _KEEP,
            {
                "provider": one.provider,
                "nonce": nonce,
                "digest": hashlib.sha256(body).hexdigest(),
                "body": body,
                "now": context.now,
            },
        ).scalar()
        if kept is None:
            return False
        if numbers:
            numbered = keep_numbers(context, one, numbers)
            audited(context, len(numbers), message=kept, vouchers=len(numbers), kept=numbered)
        if context.execute(_FIRST, {"message": kept}).scalar_one():
            context.defer(TAKE, {}, lock=TAKE)
        return True


def without_secrets(body: bytes, secrets: Set[str]) -> bytes:
    """A message without the fields that are secret, at whatever depth; nothing of one that cannot be read, if there are
    any. What is kept is also what its digest is of: a digest of a short secret would give it away."""
    if not secrets:
        return body
    try:
        return encode(_without(decoded(body), secrets))
    except (ValueError, RecursionError):
        return b""


def _without(value: Any, secrets: Set[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(one, secrets) for name, one in value.items() if name.lower() not in secrets}
    return [_without(one, secrets) for one in value] if isinstance(value, list) else value


ROUTES: Final = (
    Route(name="payments.callbacks", path=f"{CALLBACKS}/{{provider}}", handler=receive, methods=("POST",), open=True),
)

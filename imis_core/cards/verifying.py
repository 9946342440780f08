"""Whether a card is good, from its code, the key set and a revocation list alone: no database, no network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from attrs import frozen

from imis_core.cards.credentials import Card, read
from imis_core.cards.keys import PublicKey
from imis_core.cards.revoking import RevocationList


@frozen(kw_only=True)
class Verdict:
    """`reason` is absent for a good card: else `not_yet_valid`, `expired` or `revoked`."""

    card: Card
    reason: str | None

    @property
    def good(self) -> bool:
        return self.reason is None


def verify(
    code: str, keys: Sequence[PublicKey], revoked: RevocationList | None, *, now: datetime, on: date | None = None
) -> Verdict:
    """Judge a card at an instant, or on a day of the deployment's.

    Raises `cards.unreadable`, `cards.unknown_key` or `cards.bad_signature` for what is no card of this deployment.
    """
    card = read(code, keys)
    if on is None:
        early, late = now < card.not_before, now >= card.expires_at
    else:
        early, late = on < card.first_day, on > card.last_day
    if revoked is not None and card.serial in revoked.serials:
        return Verdict(card=card, reason="revoked")
    return Verdict(card=card, reason="not_yet_valid" if early else "expired" if late else None)

"""How a simulated provider behaves: what it does to which batch, payment and callback, decided by a seed.

A decision depends on the seed, on what is decided and about whom, never on the order of requests: the same payments
meet the same fate in every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from attrs import evolve, fields, frozen

from imis_core.errors import Problem, invalid

REASONS: Final = ("account blocked", "limit of the account reached", "account dormant", "network of the payee down")
NO_ACCOUNT: Final = "account not found"
RETURN_REASONS: Final = ("wallet closed", "reversed by the provider", "payee unknown at the wallet")
SECONDS_MAX: Final = 86_400.0


@frozen(kw_only=True)
class Behaviour:
    """Shares lie between 0 and 1; times are seconds. As it stands it is a provider that does all at once and rightly.

    Batches: `refusals` are refused as a whole (400); `busy` (429) and `errors` (503) are answered and nothing is taken;
    `errors_after` are taken and answered by 500; `timeouts` are taken and never answered; `cuts` are taken and the
    connection is cut. Asked for again under the same correlation id, a batch that was taken is answered.
    Payments: `failures` fail with one of `REASONS`; `unknown_accounts` are accounts that nobody has. What came of a
    payment is known after `delay_seconds` and up to `delay_spread_seconds` more. `returns` of those that were paid to
    an account come back, `return_seconds` and up to `return_spread_seconds` later, with one of `RETURN_REASONS`.
    Callbacks: one for a batch when all of it is known (`batch_callbacks`), and one for each of a share of payments
    (`single_callbacks`). `lost` are never sent, `duplicates` are sent twice (half of them with the nonce of the first),
    `late` come up to `late_seconds` later than others. `lies_amount` of the callbacks for one payment tell another
    amount; `lies_status` of those for a failed payment say that it was paid: the books and the details never lie.
    Vouchers: `unredeemed` are never redeemed; the others are when their delay is over.
    """

    seed: int = 1
    refusals: float = 0.0
    busy: float = 0.0
    errors: float = 0.0
    errors_after: float = 0.0
    timeouts: float = 0.0
    cuts: float = 0.0
    answer_seconds: float = 0.0
    failures: float = 0.0
    unknown_accounts: float = 0.0
    delay_seconds: float = 0.0
    delay_spread_seconds: float = 0.0
    returns: float = 0.0
    return_seconds: float = 0.0
    return_spread_seconds: float = 0.0
    batch_callbacks: bool = True
    single_callbacks: float = 0.0
    lost: float = 0.0
    duplicates: float = 0.0
    late: float = 0.0
    late_seconds: float = 1.0
    lies_amount: float = 0.0
    lies_status: float = 0.0
    unredeemed: float = 0.0

    def chance(self, what: str, *about: object) -> float:
        """A number from 0 up to 1 that belongs to what is decided about somebody."""
        said = "/".join(map(str, (self.seed, what, *about)))
        return int.from_bytes(blake2b(said.encode(), digest_size=7).digest()) / 2**56

    def falls(self, share: str, *about: object) -> bool:
        """Whether somebody is among a share (a field's name)."""
        wanted = getattr(self, share)
        return bool(wanted > 0 and self.chance(share, *about) < wanted)

    def reason(self, request: str, reasons: Sequence[str] = REASONS) -> str:
        """Why a payment that fails does."""
        return reasons[int(self.chance("reason", request) * len(reasons))]

    def changed(self, **more: object) -> Behaviour:
        """Another behaviour with some fields changed; raises ImisError (`input.invalid`) for shares and times that
        cannot be."""
        from imis_core.errors import ImisError

        changed = evolve(self, **more)  # type: ignore[arg-type]
        wrong = [
            Problem(name, "range", f"{name} is {value}; expected 0 to {most:g}")
            for name, value, most in _bounded(changed)
            if not 0 <= value <= most
        ]
        if wrong:
            raise ImisError(invalid(*wrong))
        return changed


def _bounded(behaviour: Behaviour) -> list[tuple[str, float, float]]:
    found = []
    for one in fields(Behaviour):
        if str(one.type) == "float":
            most = SECONDS_MAX if one.name.endswith("_seconds") else 1.0
            found.append((one.name, getattr(behaviour, one.name), most))
    return found

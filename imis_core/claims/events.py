"""What claims tell subscribers after commit."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class ClaimsValuated:
    """A run of valuations: `audit` is the entry of the command, under which its rows in `claim_valuations` stand.

    A claim that is taken back is told of too: its last valuation is one of nothing.
    """

    scheme: str
    audit: int
    claims: int

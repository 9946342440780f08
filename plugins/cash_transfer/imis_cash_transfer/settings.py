"""The plugin's own settings, the table `[plugins.cash_transfer]` of imis.toml."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class CashTransferSettings:
    """`tell_recipients`: whoever is paid is sent a message once the payment was agreed to."""

    tell_recipients: bool = False

"""The tables `[payment_limits.CODE]` of `imis.toml`: what may go through a payment provider, whatever its channel.

A provider with a service may have its limits in `[payment_gateways.CODE]` as well; each limit stands in one of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from attrs import frozen

from imis_core.errors import Problem
from imis_core.values import MINOR_UNITS, Amount, NotExact, to_minor

AMOUNTS: Final = ("order_amount_max", "day_amount_max")
ORDERS_PER_FILE_MAX: Final = 1_000_000


@frozen(kw_only=True)
class LimitsTable:
    """What may go through a payment provider; None: anything.

    `order_amount_max`: of one order. `day_amount_max`: of all orders of a day (of the application's clock). Both are
    amounts in the deployment's currency and hold for orders of it. `orders_per_file`: of one bank file or cash list.
    """

    order_amount_max: Amount | None = None
    day_amount_max: Amount | None = None
    orders_per_file: int | None = None


def limit_problems(tables: Mapping[str, Any], gateways: Mapping[str, Any], currency: object) -> list[Problem]:
    """What types cannot say: ranges, amounts in the currency, and limits that are said twice."""
    found = []
    for code, table in tables.items():
        if not isinstance(table, Mapping):
            continue  # told by its type
        path, gateway = f"payment_limits.{code}", gateways.get(code)
        for name in AMOUNTS:
            found += amount_problems(f"{path}.{name}", table.get(name), currency)
            if name in table and isinstance(gateway, Mapping) and name in gateway:
                message = f"[payment_gateways.{code}] has it too; keep one of the two"
                found.append(Problem(f"{path}.{name}", "twice", message))
        most = table.get("orders_per_file")
        if isinstance(most, int) and not isinstance(most, bool) and not 1 <= most <= ORDERS_PER_FILE_MAX:
            message = f"expected 1 to {ORDERS_PER_FILE_MAX}, found {most}"
            found.append(Problem(f"{path}.orders_per_file", "range", message))
    return found


def amount_problems(path: str, value: object, currency: object) -> list[Problem]:
    """Whether a value is an amount of 0 or more in whole minor units of the currency."""
    if currency not in MINOR_UNITS or isinstance(value, bool) or not isinstance(value, (str, int)):
        return []  # told by its type
    try:
        if to_minor(Decimal(value), str(currency)) < 0:
            return [Problem(path, "range", "expected an amount of 0 or more")]
    except NotExact as error:
        return [Problem(path, "decimals", str(error))]
    except InvalidOperation:
        return []
    return []

"""Generated requests to every operation of the OpenAPI document, sent to a real server, and what was wrong.

Right and wrong requests alike. An answer is wrong if it is a 5xx, if its status or media type is not in the document,
or if its body is not what the document says. Nothing is shrunk: each failure is kept with the request that caused it.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any, Final

import httpx
import hypothesis
import schemathesis
from attrs import define, field
from requests import RequestException
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS: Final = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip
# What would end the run's own session, or make the administrator somebody else.
LEFT_OUT: Final = (
    "/api/auth/logout", "/api/auth/session", "/api/auth/token", "/api/users/change", "/api/users/disable",
    "/api/users/end_logins", "/api/users/end_own_logins", "/api/users/change_password",
)  # fmt: skip
URL_MAX: Final = 8_000  # characters; a server may close on a longer one while it is still being sent
# A scheme of each kind, so that every plugin's operations have something to speak of.
SCHEMES: Final = {
    "schemes": {"chf": {"type": "health_insurance"}, "cash": {"type": "cash_transfer"}, "wcf": {"type": "eii"}}
}
WRONG_SHARE: Final = 3  # every third request is wrong on purpose


@define
class Run:
    """What was sent and answered: statuses with their counts, and failures by (operation, what) with an example."""

    statuses: Counter[int] = field(factory=Counter)
    failures: dict[tuple[str, str], str] = field(factory=dict)

    @property
    def sent(self) -> int:
        return sum(self.statuses.values())

    @property
    def as_nobody(self) -> int:
        """Requests that were not taken as the administrator's: they try nothing."""
        return self.statuses[401]

    def report(self) -> str:
        counts = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        lines = [f"{self.sent} requests ({counts}), {len(self.failures)} kinds of failures"]
        lines += [f"{operation}: {what}\n    {example}" for (operation, what), example in sorted(self.failures.items())]
        return "\n".join(lines)


def fuzz(client: httpx.Client, seed: int, each: int, only: str = "") -> Run:
    """Send `each` requests to each operation (whose path contains `only`), made from `seed`."""
    run = Run()
    document = client.get("/schema/openapi.json").json()
    # Who asks is not varied here: half of the wrong requests would only be told that they are nobody's.
    document.pop("security", None)
    document["components"].pop("securitySchemes", None)
    operation: Any
    for operation in (o for path in document["paths"].values() for o in path.values() if isinstance(o, dict)):
        operation.pop("security", None)
    schema = schemathesis.openapi.from_dict(document)
    for found in schema.get_all_operations():
        operation = found.ok()  # type: ignore[union-attr]
        if operation.path in LEFT_OUT or only not in operation.path:
            continue
        wrong = each // WRONG_SHARE
        for mode, count in ((GenerationMode.POSITIVE, each - wrong), (GenerationMode.NEGATIVE, wrong)):
            if count:
                _send(client, operation, mode, count, seed, run)
    return run


def _send(client: httpx.Client, operation: Any, mode: GenerationMode, count: int, seed: int, run: Run) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count, database=None, deadline=None, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        if len(case.as_curl_command()) > URL_MAX and case.method.upper() == "GET":
            return
        signed = {"Authorization": client.headers["Authorization"]}
        named = f"{operation.method.upper()} {operation.path}"
        try:
            response = case.call(base_url=str(client.base_url), headers=signed, timeout=60)
        except RequestException as lost:  # the server went away or closed before its answer was read
            run.failures.setdefault((named, f"no answer: {type(lost).__name__}"), case.as_curl_command()[:600])
            return
        run.statuses[response.status_code] += 1
        try:
            case.validate_response(response, checks=CHECKS)
        except Exception as failed:
            told = [str(e).splitlines()[0] for e in getattr(failed, "exceptions", [failed])]
            key = (named, f"{response.status_code} {'; '.join(told)}")
            body = response.text[:300]
            run.failures.setdefault(key, f"{case.as_curl_command()[:600]}\n    -> {body}")

    with suppress(hypothesis.errors.Unsatisfiable):  # nothing wrong can be made of an operation without parameters
        send()

"""OperationOutcomes: refusals of the kernel and problems of resources in FHIR's words, with the kernel's code kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import frozen

from imis_core.api import Answer, Problem, Refusal, Refused
from imis_fhir.systems import Style

MEDIA_TYPE: Final = "application/fhir+json"
# FHIR's issue codes (required binding issue-type) by the kernel's codes, by reasons of problems, and by HTTP status.
_BY_CODE: Final[Mapping[str, str]] = {
    "auth.required": "login", "auth.failed": "login", "auth.invalid_token": "login",
    "permission.denied": "forbidden", "not_found": "not-found", "auth.too_many": "throttled",
    "claims.duplicate_code": "duplicate", "idempotency.key_reused": "duplicate", "internal": "exception",
    "http.too_large": "too-long",
}  # fmt: skip
_BY_REASON: Final[Mapping[str, str]] = {
    "required": "required", "choice": "code-invalid", "not_found": "not-found", "unknown": "structure",
    "json": "structure", "depth": "structure", "type": "value", "format": "value", "date": "value", "range": "value",
    "decimals": "value", "negative": "value",
}  # fmt: skip
_BY_STATUS: Final[Mapping[int, str]] = {
    400: "invalid", 404: "not-found", 405: "not-supported", 406: "not-supported", 409: "business-rule",
    413: "too-long", 415: "not-supported", 422: "invalid", 500: "exception", 503: "transient",
}  # fmt: skip


@frozen
class Issue:
    """One issue of an outcome. `code`: FHIR's; `error`: the kernel's; `expression`: the element; `location`: else."""

    code: str
    error: str
    message: str
    expression: str | None = None
    location: str | None = None
    severity: str = "error"


class FhirRefused(Exception):
    """An interaction is refused, with a status of FHIR's choosing."""

    def __init__(self, status: int, *issues: Issue) -> None:
        super().__init__("; ".join(issue.message for issue in issues))
        self.status = status
        self.issues = issues


def outcome(issues: Iterable[Issue], style: Style) -> dict[str, Any]:
    """An OperationOutcome of at least one issue."""
    return {"resourceType": "OperationOutcome", "issue": [_issue(issue, style) for issue in issues]}


def _issue(issue: Issue, style: Style) -> dict[str, Any]:
    coding = {"system": style.code_system("error"), "code": issue.error}
    found: dict[str, Any] = {
        "severity": issue.severity, "code": issue.code,
        "details": {"coding": [coding], "text": issue.message}, "diagnostics": f"{issue.error}: {issue.message}",
    }  # fmt: skip
    if issue.expression is not None:
        found["expression"] = [issue.expression]
    if issue.location is not None:
        found["location"] = [issue.location]
    return found


def refused_answer(status: int, issues: Iterable[Issue], style: Style) -> Answer:
    """An outcome as an answer."""
    return Answer(status=status, body=outcome(issues, style), media_type=MEDIA_TYPE)


def issues_of(refusal: Refusal, status: int) -> list[Issue]:
    """The issues of a refusal; a path that names a resource is told as its expression."""
    plain = _BY_CODE.get(refusal.code, _BY_STATUS.get(status, "processing"))
    if not refusal.problems:
        return [Issue(plain, refusal.code, refusal.message)]
    return [_of_problem(problem, refusal.code, plain) for problem in refusal.problems]


def _of_problem(problem: Problem, error: str, plain: str) -> Issue:
    of_resource = problem.path[:1].isupper()
    code = _BY_REASON.get(problem.reason, plain) if error in ("input.invalid", "not_found") else plain
    return Issue(code, error, problem.message, problem.path if of_resource else None)


def expression_of(path: str, expressions: Mapping[str, str]) -> str:
    """The element that a field came from, else the one around it; the whole resource if none is known."""
    while path:
        if path in expressions:
            return expressions[path]
        path = path.rpartition(".")[0]
    return expressions[""]


def tell(refused: Refused) -> Answer:
    """What went wrong at an address of ours, as an OperationOutcome."""
    from imis_fhir.server import style_of

    return refused_answer(refused.status, issues_of(refused.refusal, refused.status), style_of(refused.app))

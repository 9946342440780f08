"""The OpenAPI 3.1 document of an application, made from its commands and queries and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from imis_core import __version__
from imis_core.commands import Command
from imis_core.parsing import outside_name, without_none
from imis_core.queries import PAGE, PAGE_MAX, Query
from imis_core.web.authentication import Authentication, LogIn, SessionShown
from imis_core.web.exports import FILE_TYPES, JSON
from imis_core.web.parameters import is_list, is_scalar
from imis_core.web.problems import MEDIA_TYPE as PROBLEM
from imis_core.web.schemas import Components, Schema

if TYPE_CHECKING:
    from imis_core.application import Application

_INTRODUCTION: Final = (
    "Every command takes one object or a list of them; a list answers with a result or an error for each, in order; "
    "`atomic=true` does all or nothing. With the header `Idempotency-Key` a request can be sent again safely. Amounts "
    "are exact: text or whole numbers, never fractions. Errors are problem documents (RFC 9457) with a stable `code`. "
    "Programs send `Authorization: Bearer TOKEN`; browsers have a session's cookie, and send its CSRF token in the "
    "header `X-CSRF-Token` with everything that changes something."
)
_PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "A problem document (RFC 9457)",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable: a noun and what is wrong, such as claims.duplicate_code"},
        "detail": {"type": "string", "description": "What, where and the way out, in one line"},
        "instance": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/ProblemItem"}},
    },
}
_PROBLEM_ITEM: Final[Schema] = {
    "type": "object",
    "required": ["path", "reason", "message"],
    "properties": {name: {"type": "string"} for name in ("path", "reason", "message")},
}
_AWAITING: Final[Schema] = {
    "type": "object",
    "description": "A request that waits for a second person",
    "required": ["approval", "status"],
    "properties": {"approval": {"type": "string"}, "status": {"type": "string", "enum": ["awaiting_approval"]}},
}
_RESPONSES: Final = {
    "Unauthorized": "No token or session, or one that is unknown, expired or revoked",
    "Forbidden": "The permission is missing (`permission.denied`), or a session's CSRF token (`auth.csrf`)",
    "NotFound": "Something named is not there, or not for this caller (`not_found`)",
    "NotAcceptable": "The format asked for is not offered here",
    "Conflict": "Refused by the present state; the code says why",
    "UnsupportedMediaType": "The body is not JSON",
    "TooLarge": "The request is larger than 20 MB",
    "Invalid": "The input is not valid (`input.invalid`); `errors` lists where",
    "TooMany": "Too many failed logins, requests or look-ups; see `Retry-After`",
    "Unavailable": "The database cannot be used at the moment, or another request is in the way; see `Retry-After`",
    "BadRequest": "This is not valid HTTP",
    "TooSlow": "The request did not arrive in time",
    "QueryTooLong": "The query string has more than 16 KiB",
    "HeadTooLarge": "The line and headers have more than 32 KiB",
    "Failed": "Something went wrong here (`internal`); nothing was changed",
    "TimedOut": "It took too long (`requests.timed_out`); nothing was changed",
}
_KEY: Final = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "description": "The same key with the same request gives the stored answer (30 days), with another one 409",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
}  # fmt: skip
_ATOMIC: Final = {
    "name": "atomic", "in": "query", "required": False,
    "description": "Of a list: all or nothing", "schema": {"type": "boolean", "default": False},
}  # fmt: skip


def openapi_document(app: Application) -> dict[str, Any]:
    """The document as plain data, the same for the same plugins."""
    used: list[Command | Query] = [*app.commands.values(), *app.queries.values()]
    components = Components([*(d.input for d in used), *(d.result for d in used), LogIn, SessionShown])
    paths: dict[str, Any] = {
        "/api/auth/token": {"post": _log_in()},
        "/api/auth/session": {"post": _begin_session(), "get": _session()},
        "/api/auth/logout": {"post": _log_out()},
    }
    for command in app.commands.values():
        approved = command.name in app.settings.approvals
        paths[address_of(command.name)] = {"post": _command(command, components, approved)}
    for query in app.queries.values():
        paths[address_of(query.name)] = {"get": _query(query, components)}
    for address, summary in _OPEN.items():
        paths[address] = {"get": _open(summary)}
    responses = {name: _problem_response(words) for name, words in _RESPONSES.items()}
    schemas = {**components.schemas(), "Problem": _PROBLEM, "ProblemItem": _PROBLEM_ITEM, "AwaitingApproval": _AWAITING}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"imis: {app.settings.name}", "version": __version__, "description": _INTRODUCTION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": Authentication(app).cookie_name},
            },
        },
        "security": [{"bearer": []}, {"session": []}],
        "tags": [{"name": noun} for noun in sorted({d.noun for d in used} | {"auth"})],
    }


_OPEN: Final = {
    "/health/live": "Whether the process answers",
    "/health/ready": "Whether the database can be used and its tables fit this version",
    "/metrics": "Figures for monitoring, in the Prometheus text form",
}


def address_of(name: str) -> str:
    """`claims.submit` -> `/api/claims/submit`."""
    return f"/api/{name.replace('.', '/', 1)}"


def _command(command: Command, components: Components, approved: bool) -> Schema:
    given, result = components.reference(command.input), components.reference(command.result)
    waits = " Waits for a second person." if approved else ""
    answer: Schema = {"anyOf": [result, _outcomes(result)]}
    responses: Schema = {"200": _json_response("The result; of a list, an outcome for each item in order", answer)}
    if approved:
        awaiting: Schema = {"$ref": "#/components/schemas/AwaitingApproval"}
        stored: Schema = {"anyOf": [awaiting, _outcomes(awaiting)]}
        responses["202"] = _json_response("Stored until a second person agrees", stored)
    return {
        "operationId": command.name.replace(".", "_"),
        "tags": [command.noun],
        "summary": command.summary,
        "description": f"Needs the permission `{command.permission}`.{waits}",
        "parameters": [_ATOMIC, _KEY],
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"anyOf": [given, {"type": "array", "items": given}]}}},
        },
        "responses": {
            **responses,
            **_refusals(*_ALWAYS, 408, 413, 415),
        },
    }


def _outcomes(result: Schema) -> Schema:
    error: Schema = {"type": "object", "required": ["error"], "properties": {"error": {"type": "object"}}}
    good: Schema = {"type": "object", "required": ["result"], "properties": {"result": result}}
    return {"type": "array", "items": {"anyOf": [good, error]}}


def _query(query: Query, components: Components) -> Schema:
    attrs.resolve_types(query.input)
    parameters = [_parameter(field, components) for field in attrs.fields(query.input)]
    result = components.reference(query.result)
    content: Schema = {JSON: {"schema": result}}
    if query.listing:
        parameters += _PAGING
        page: Schema = {
            "type": "object",
            "required": ["items", "next"],
            "properties": {
                "items": {"type": "array", "items": result},
                "next": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "The cursor of the next page"},
            },
        }
        content = {JSON: {"schema": page}, **{media_type: {"schema": {}} for media_type in FILE_TYPES}}
    whole = " As a file (see the media types): the whole listing in its own order." if query.listing else ""
    return {
        "operationId": query.name.replace(".", "_"),
        "tags": [query.noun],
        "summary": query.summary,
        "description": f"Needs the permission `{query.permission}`.{whole}",
        "parameters": parameters,
        "responses": {
            "200": {"description": "The answer", "content": content},
            **_refusals(*_ALWAYS),
        },
    }


def _parameter(field: Any, components: Components) -> Schema:
    kind = without_none(field.type)
    parameter: Schema = {
        "name": outside_name(field),
        "in": "query",
        "required": field.default is attrs.NOTHING,
    }
    schema = components.reference(kind)
    scalar = is_scalar(kind) or (is_list(kind) and is_scalar(without_none(kind.__args__[0])))
    if scalar:
        parameter["schema"] = schema
    else:
        parameter["content"] = {JSON: {"schema": schema}}
    if is_list(kind):
        parameter["description"] = "Repeated, separated by commas, or a JSON list"
        if scalar:
            parameter.update(style="form", explode=True)
    return parameter


_PAGING: Final[list[Schema]] = [
    {
        "name": "sort", "in": "query", "required": False,
        "description": "A sortable column; `-` before it for descending", "schema": {"type": "string"},
    },
    {
        "name": "limit", "in": "query", "required": False, "description": "Items of a page",
        "schema": {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE},
    },
    {
        "name": "cursor", "in": "query", "required": False,
        "description": "`next` of the page before", "schema": {"type": "string"},
    },
]  # fmt: skip


def _log_in() -> Schema:
    answer: Schema = {
        "type": "object",
        "required": ["token", "expires"],
        "properties": {"token": {"type": "string"}, "expires": {"type": "string", "format": "date-time"}},
    }
    summary = "Log in: a token for a name and a password."
    return _by_password("auth_token", summary, _json_response("The token and when it expires", answer))


def _begin_session() -> Schema:
    summary = "Log a browser in: a session's cookie for a name and a password, and its CSRF token."
    return _by_password("auth_begin_session", summary, _SESSION)


def _by_password(operation: str, summary: str, answer: Schema) -> Schema:
    return {
        "operationId": operation,
        "tags": ["auth"],
        "summary": summary,
        "security": [],
        "requestBody": {"required": True, "content": {JSON: {"schema": {"$ref": "#/components/schemas/LogIn"}}}},
        "responses": {"200": answer, **_refusals(401, 403, 413, 415, 422, 429, 503)},
    }


def _session() -> Schema:
    return {
        "operationId": "auth_session",
        "tags": ["auth"],
        "summary": "Who is logged in with this browser's session, and its CSRF token.",
        "security": [{"session": []}],
        "responses": {"200": _SESSION, **_refusals(401, 503)},
    }


def _log_out() -> Schema:
    return {
        "operationId": "auth_logout",
        "tags": ["auth"],
        "summary": "Log out: the token or session of this request is not valid any more.",
        "responses": {"204": {"description": "Done"}, **_refusals(401, 403, 503)},
    }


def _open(summary: str) -> Schema:
    return {"summary": summary, "security": [], "responses": {"200": {"description": "Yes"}, **_refusals(503)}}


def _json_response(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _problem_response(description: str) -> Schema:
    return {"description": description, "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


_SESSION: Final = _json_response("The session", {"$ref": "#/components/schemas/SessionShown"})
_BY_STATUS: Final = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 406: "NotAcceptable", 408: "TooSlow",
    409: "Conflict", 413: "TooLarge", 414: "QueryTooLong", 415: "UnsupportedMediaType", 422: "Invalid", 429: "TooMany",
    431: "HeadTooLarge", 500: "Failed", 503: "Unavailable", 504: "TimedOut",
}  # fmt: skip


# What every command and query may answer: see `web.problems`, `web.limits`.
_ALWAYS: Final = (400, 401, 403, 404, 406, 409, 414, 422, 429, 431, 500, 503, 504)


def _refusals(*statuses: int) -> Schema:
    return {str(status): {"$ref": f"#/components/responses/{_BY_STATUS[status]}"} for status in statuses}


def as_3_0(document: Any) -> Any:
    """The same document in the words of OpenAPI 3.0, for tools that read no 3.1: the shipped documentation page."""
    if isinstance(document, list):
        return [as_3_0(part) for part in document]
    if not isinstance(document, dict):
        return document
    changed = {name: as_3_0(part) for name, part in document.items()}
    if document.get("openapi") == "3.1.0":
        changed["openapi"] = "3.0.3"
    kinds = document.get("anyOf")
    if isinstance(kinds, list) and {"type": "null"} in kinds:
        rest = [as_3_0(kind) for kind in kinds if kind != {"type": "null"}]
        del changed["anyOf"]
        single = rest[0] if len(rest) == 1 and "$ref" not in rest[0] else {"allOf" if len(rest) == 1 else "anyOf": rest}
        changed = {**single, **changed, "nullable": True}
    if isinstance(changed.get("type"), list):
        del changed["type"]  # an enum of texts and numbers: 3.0 knows one type only
    return changed

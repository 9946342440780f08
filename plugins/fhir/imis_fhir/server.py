"""The interactions of FHIR's RESTful API: capabilities, read, search, create and `Claim/$submit`.

Reads run registered queries, creates run commands, both as the caller: permissions and scope are the doors'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from attrs import frozen

from imis_core.api import Answer, ImisError, Problem, Refusal, ResourceMapping, RouteRequest, suggestion
from imis_fhir import claims
from imis_fhir.capability import capability_statement, submits
from imis_fhir.mappings import SURFACE
from imis_fhir.outcomes import MEDIA_TYPE, FhirRefused, Issue, expression_of, outcome, refused_answer
from imis_fhir.paths import expression
from imis_fhir.reading import Reading, from_fhir
from imis_fhir.search import lenient, search
from imis_fhir.settings import FhirSettings
from imis_fhir.systems import Style
from imis_fhir.writing import to_fhir

BASE: Final = "/fhir/R4"
SUBMIT: Final = "$submit"


def style_of(app: Any) -> Style:
    """What this deployment writes: canonical URLs or openIMIS's."""
    settings: FhirSettings = app.plugin_settings["fhir"]
    return Style(settings.identifiers == "openimis")


@frozen
class Server:
    """One request's server: the mappings of the application, the base address and the style."""

    request: RouteRequest
    mappings: Mapping[str, ResourceMapping]
    base: str
    style: Style

    def mapping(self) -> ResourceMapping:
        """The mapping of the resource that the address names."""
        resource = self.request.names["resource"]
        if resource not in self.mappings:
            message = f"there is no resource {resource[:60]!r} here{suggestion(resource, self.mappings)}"
            raise FhirRefused(404, Issue("not-supported", "not_found", message))
        return self.mappings[resource]

    def found(self, mapping: ResourceMapping, identity: str) -> dict[str, Any] | None:
        """The resource of an id, if the caller may see it."""
        items = self.request.page(mapping.query, {"id": identity}, limit=1).items
        return to_fhir(mapping, items[0], self.style) if items else None

    def resource(self, body: Any, status: int = 200, **headers: str) -> Answer:
        version = body.get("meta", {}).get("versionId")
        tag = {} if version is None else {"ETag": f'W/"{version}"'}
        return Answer(status=status, body=body, media_type=MEDIA_TYPE, headers={**tag, **headers})


Interaction = Callable[[Server], Answer]


def answered(interaction: Interaction) -> Callable[[RouteRequest], Answer]:
    """A route's handler: the server put together, refusals told as outcomes."""

    def handler(request: RouteRequest) -> Answer:
        style = style_of(request.app)
        settings: FhirSettings = request.app.plugin_settings["fhir"]
        base = f"{(settings.server or request.server).rstrip('/')}{BASE}"
        mappings = {m.resource: m for m in request.app.mappings if m.surface == SURFACE}
        try:
            return interaction(Server(request, mappings, base, style))
        except FhirRefused as refused:
            return refused_answer(refused.status, refused.issues, style)

    return handler


def metadata(server: Server) -> Answer:
    """`GET metadata`: the CapabilityStatement."""
    app = server.request.app
    results = {resource: app.queries[mapping.query].result for resource, mapping in server.mappings.items()}
    versioned = {resource: "version" in attrs.fields_dict(result) for resource, result in results.items()}
    statement = capability_statement(server.mappings, server.base, app.settings.name, app.clock.today(), versioned)
    return Answer(body=statement, media_type=MEDIA_TYPE)


def of_type(server: Server) -> Answer:
    """`GET Type?...`: a search; `POST Type`: a create."""
    mapping = server.mapping()
    if server.request.method == "POST":
        return create(server, mapping)
    bundle = search(mapping, server.request, server.base, server.style)
    return Answer(body=bundle, media_type=MEDIA_TYPE)


def of_instance(server: Server) -> Answer:
    """`GET Type/id`: a read; `POST Claim/$submit`: a claim for its response."""
    mapping, identity = server.mapping(), server.request.names["id"]
    if server.request.method == "POST":
        if identity == SUBMIT and submits(mapping, server.mappings):
            return submit(server, mapping)
        message = f"there is no operation {identity[:60]!r} on {mapping.resource}"
        raise FhirRefused(404, Issue("not-supported", "not_found", message))
    resource = server.found(mapping, identity)
    if resource is None:
        message = f"there is no {mapping.resource} {identity[:60]!r} that you may see"
        raise FhirRefused(404, Issue("not-found", "not_found", message))
    answer = server.resource(resource)
    known = {tag.strip() for tag in server.request.headers.get("if-none-match", "").split(",")}
    if answer.headers.get("ETag") in known:
        return Answer(status=304, media_type=MEDIA_TYPE, headers=answer.headers)
    return answer


def create(server: Server, mapping: ResourceMapping) -> Answer:
    """`POST Type`: 201 with the new resource and its address, or 202 where a second person must agree."""
    if mapping.command is None:
        message = f"{mapping.resource} cannot be created here"
        raise FhirRefused(405, Issue("not-supported", "http.method_not_allowed", message))
    if "if-none-exist" in server.request.headers:
        message = "a conditional create is not supported; search first, or send an Idempotency-Key"
        raise FhirRefused(400, Issue("not-supported", "input.invalid", message, location="http.If-None-Exist"))
    result = _run(server, mapping, server.request.read_json())
    if "approval" in result:
        return _awaiting(server, result)
    address = f"{server.base}/{mapping.resource}/{result['id']}"
    wanted = server.request.headers.get("prefer", "").replace(" ", "").lower()
    query = server.request.app.queries[mapping.query]
    if "return=minimal" in wanted or not server.request.may(query.permission):
        return Answer(status=201, media_type=MEDIA_TYPE, headers={"Location": address})
    if "return=operationoutcome" in wanted:
        done = Issue("informational", "created", f"created {address}", severity="information")
        body = outcome([done], server.style)
        return Answer(status=201, body=body, media_type=MEDIA_TYPE, headers={"Location": address})
    return server.resource(server.found(mapping, result["id"]) or {}, 201, Location=address)


def submit(server: Server, mapping: ResourceMapping) -> Answer:
    """`POST Claim/$submit`: the ClaimResponse to a Claim, alone or as the parameter `resource`."""
    responses = server.mappings["ClaimResponse"]
    query = server.request.app.queries[responses.query]
    if not server.request.may(query.permission):  # before anything is stored, whose answer could not be shown
        message = f"you lack the permission {query.permission!r} to see the response"
        raise FhirRefused(403, Issue("forbidden", "permission.denied", message))
    result = _run(server, mapping, _parameter(server.request.read_json()))
    if "approval" in result:
        return _awaiting(server, result)
    return server.resource(server.found(responses, result["id"]) or {})


def _parameter(body: Any) -> Any:
    if not isinstance(body, dict) or body.get("resourceType") != "Parameters":
        return body
    parameters = body.get("parameter")
    given = [p for p in parameters if isinstance(p, dict)] if isinstance(parameters, list) else []
    if len(given) != 1 or given[0].get("name") != "resource":
        message = "expected one parameter, `resource`, with the Claim"
        raise FhirRefused(400, Issue("structure", "input.invalid", message, "Parameters.parameter"))
    return given[0].get("resource")


def _awaiting(server: Server, result: Mapping[str, Any]) -> Answer:
    message = f"stored; a second person must agree (approval {result['approval']})"
    waits = Issue("informational", "awaiting_approval", message, severity="information")
    return Answer(status=202, body=outcome([waits], server.style), media_type=MEDIA_TYPE)


def _run(server: Server, mapping: ResourceMapping, body: Any) -> dict[str, Any]:
    """The result of the mapping's command on a resource. Raises `FhirRefused` with all problems at their places."""
    assert mapping.command is not None
    definition = server.request.app.commands[mapping.command]
    if not server.request.may(definition.permission):
        message = f"you lack the permission {definition.permission!r}; ask an administrator for a role with it"
        raise FhirRefused(403, Issue("forbidden", "permission.denied", message))
    if not isinstance(body, dict) or body.get("resourceType") != mapping.resource:
        message = f"expected a resource of the type {mapping.resource}"
        raise FhirRefused(400, Issue("structure", "input.invalid", message, mapping.resource))
    reading = _read(server, mapping, body)
    issues = [i for i in reading.issues if not (i.unkept and lenient(server.request))]
    if issues:
        raise FhirRefused(
            422,
            *[Issue(i.code, "input.invalid", i.message, expression(i.place, mapping.resource)) for i in issues],
        )
    try:
        outcomes = server.request.command(mapping.command, reading.data).outcomes
    except ImisError as error:
        if type(error) is not ImisError:
            raise  # something is away: no fault of the resource's
        raise _at_places(error.refusal, mapping, reading) from None
    result: dict[str, Any] = outcomes[0]
    return result


def _read(server: Server, mapping: ResourceMapping, body: Mapping[str, Any]) -> Reading:
    if mapping.resource != "Claim" or mapping.command != "claims.submit":
        return from_fhir(mapping, body, server.style, server.base)
    prepared = claims.prepare(body, server.base, _schemes(server))
    reading = from_fhir(mapping, prepared.resource, server.style, server.base)
    if prepared.scheme is not None:
        reading.data["scheme"] = prepared.scheme
    scheme = reading.data.get("scheme") or _only_scheme(server)
    settings = server.request.app.settings
    claims.check_currency(prepared, settings.currency_of(scheme) if scheme in settings.schemes else None)
    # What is wrong with the coverage is told once.
    told = {issue.place for issue in prepared.issues}
    reading.issues = [*prepared.issues, *(i for i in reading.issues if not _below(i.place, told))]
    return reading


def _below(place: tuple[str | int, ...], told: set[tuple[str | int, ...]]) -> bool:
    return any(one[: len(place)] == place or place[: len(one)] == one for one in told)


def _only_scheme(server: Server) -> str | None:
    """The scheme of a claim that names none: the only one that takes claims."""
    app = server.request.app
    taking = [code for code in app.settings.schemes if app.type_of(code).takes_claims]
    return taking[0] if len(taking) == 1 else None


def _schemes(server: Server) -> claims.SchemeOf:
    def scheme_of(coverage: str, patient: str) -> str | None:
        query = server.mappings["Coverage"].query
        items = server.request.page(query, {"id": coverage}, limit=1).items
        if not items or (patient and items[0]["person_id"] != patient):
            return None
        return str(items[0]["scheme"])

    return scheme_of


def _at_places(refusal: Refusal, mapping: ResourceMapping, reading: Reading) -> ImisError:
    """A command's refusal with the elements that its fields came from as paths."""
    expressions = {into: expression(place, mapping.resource) for into, place in reading.places.items()}
    for entry in mapping.entries:
        if entry.into is not None and "*" in entry.into:
            head, path = entry.into.partition(".*")[0], entry.path.partition("[*]")[0].partition(":")[0]
            expressions.setdefault(head, f"{mapping.resource}.{path}")
    expressions.setdefault("number", expressions.get("person", mapping.resource))
    expressions.setdefault("", mapping.resource)
    problems = refusal.problems or (Problem("", "", refusal.message),)
    told = [attrs.evolve(p, path=expression_of(p.path, expressions)) for p in problems]
    return ImisError(attrs.evolve(refusal, problems=tuple(told)))

"""A deployment with FHIR and a tiny kind of scheme of its own, served over HTTP; nothing of other plugins."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import date
from functools import partial
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
from attrs import frozen
from fhir.resources.R4B import get_fhir_model_class

from imis_core.api import (
    COVERAGE_KIND,
    EnrolmentCase,
    Manifest,
    PaymentTerms,
    Quote,
    Refusal,
    SchemeType,
    add_months,
    coverage_covers_sql,
    day_before,
    hookimpl,
    items,
    package_versions,
)
from imis_core.opening import Playground
from imis_core.testing.app import TestApp, test_application
from imis_core.web.server import make_asgi, web_config

TODAY = date(2021, 6, 30)
PASSWORD = "correct horse battery"
CLAIM_TYPE = "http://terminology.hl7.org/CodeSystem/claim-type"
SHARE_MICRO = 80_000_000  # the fund pays 80 %


@frozen(kw_only=True)
class FundTerms:
    """A package of the fund has no terms."""


def quote(cases: Sequence[EnrolmentCase]) -> list[Quote | Refusal]:
    """A year from the day of enrolment, everybody counted, 50.00 for each policy."""
    return [
        Quote(
            case.enrolled_on, day_before(add_months(case.enrolled_on, 12)), case.enrolled_on,
            tuple(range(len(case.members))), 5000,
        )
        for case in cases
    ]  # fmt: skip


def line_terms() -> sa.Select[Any]:
    """Every item but those whose code begins with X, at the price list's price."""
    visits = sa.values(sa.column("visit_type", sa.Text), name="visits").data(
        [("other",), ("referral",), ("emergency",)]
    )
    adults = sa.values(sa.column("adult", sa.Boolean), name="adults").data([(True,), (False,)])
    return sa.select(
        sa.literal(COVERAGE_KIND, sa.Text).label("cover_kind"),
        package_versions.c.id.label("package_version"),
        items.c.id.label("item"),
        visits.c.visit_type,
        adults.c.adult,
        sa.literal("pricelist", sa.Text).label("price_origin"),
        sa.null().cast(sa.BigInteger).label("fixed_limit_minor"),
        sa.literal(SHARE_MICRO, sa.BigInteger).label("share_micro"),
    ).select_from(
        package_versions.join(items, sa.not_(items.c.code.startswith("X")))
        .join(visits, sa.true())
        .join(adults, sa.true())
    )


def limits() -> sa.Select[Any]:
    """No deductible and no ceiling."""
    names = [f"{name}_{part}" for name in ("deductible", "ceiling") for part in ("general", "inpatient", "outpatient")]
    return sa.select(
        sa.literal(COVERAGE_KIND, sa.Text).label("cover_kind"),
        package_versions.c.id.label("package_version"),
        *[sa.null().cast(sa.Text).label(f"{name}_level") for name in ("deductible", "ceiling")],
        *[sa.null().cast(sa.BigInteger).label(name) for name in names],
        sa.false().label("hospital_by_facility"),
    )


class Fund:
    """A plugin with a scheme type that covers everything alike."""

    @hookimpl
    def imis_plugin(self) -> Manifest:
        return Manifest(name="fund", version="1", kernel=">=0", nouns={"fund": 1990})

    @hookimpl
    def imis_register_scheme_types(self) -> Sequence[SchemeType]:
        return [
            SchemeType(
                name="fund",
                terms=FundTerms,
                check_terms=lambda terms, check: (),
                enrolment=quote,
                payment_terms=lambda terms: PaymentTerms(None, "idle", 0),
                covers_sql=lambda on, case: coverage_covers_sql(on),
                line_terms_sql=line_terms,
                package_limits_sql=limits,
            )
        ]


SETTINGS: Mapping[str, Any] = {
    "schemes": {"fund": {"type": "fund"}},
    "roles": {
        "nobody": {"permissions": ["jobs.list"]},
        "clinic": {"permissions": ["claims.*", "beneficiaries.list", "coverage.list"], "scope": "provider"},
        "submitter": {"permissions": ["claims.submit"]},
        "officer": {"permissions": ["beneficiaries.*", "claims.*", "coverage.*", "locations.*"], "scope": "place"},
    },
}


class World:
    """Two places with a family each, a facility in each, one package; `clinic` claims for HC1."""

    def __init__(self, app: TestApp) -> None:
        self.app = app
        do = app.do
        do("locations.add", {"code": "R", "name": "Region", "level": "region"})
        for code, name in (("A", "Alpha"), ("B", "Beta")):
            do("locations.add", {"code": code, "name": name, "level": "district", "parent": "R"})
        do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
        do("catalogue.add_diagnosis", {"code": "B50", "name": "Malaria"})
        for code, kind in (("LAB", "service"), ("DRUG", "product"), ("XRAY", "service")):
            do("catalogue.define_item", {"code": code, "name": code, "kind": kind, "price": "10"})
        prices = {"LAB": "12.50", "DRUG": "3.05", "XRAY": "80"}
        do("catalogue.define_price_list", {"code": "PL", "valid_from": "2019-01-01", "prices": prices})
        for code, place in (("HC1", "A"), ("HC2", "B")):
            do(
                "providers.register",
                {"code": code, "name": f"Clinic {code}", "level": "health_centre", "location": place,
                 "price_lists": ["PL"]},
            )  # fmt: skip
        package = {"scheme": "fund", "code": "BASIC", "name": "Basic", "valid_from": "2019-01-01", "terms": {}}
        do("benefit_packages.define", package)
        self.group = do(
            "beneficiaries.register_group",
            {"code": "FAM1", "location": "A", "members": [
                {"number": "N1", "given_name": "Ana", "family_name": "Berg", "sex": "F", "birth_date": "1985-05-17",
                 "relationship": "head", "location": "A", "identifiers": [{"system": "nid", "value": "77"}]},
                {"number": "N2", "given_name": "Ben", "family_name": "Berg", "sex": "M", "birth_date": "2015-02-01",
                 "relationship": "child", "location": "A"},
            ]},
        )  # fmt: skip
        do(
            "beneficiaries.register_group",
            {"code": "FAM2", "location": "B", "members": [
                {"number": "N3", "given_name": "Cleo", "family_name": "Dahl", "sex": "F", "birth_date": "1990-01-31",
                 "relationship": "head", "location": "B"},
            ]},
        )  # fmt: skip
        for group, paid in (("FAM1", True), ("FAM2", False)):
            policy = do("coverage.enrol", {"scheme": "fund", "package": "BASIC", "group": group, "on": "2021-01-01"})
            if paid:
                receipt = {"coverage": policy["id"], "amount": "50.00", "receipt": group, "on": "2021-01-01"}
                do("contributions.record", receipt)

    def person(self, number: str) -> str:
        return str(self.app.do("beneficiaries.show_person", {"number": number})["id"])

    def provider(self, code: str) -> str:
        return str(self.app.do("providers.show", {"provider": code})["id"])

    def claim(self, code: str, **changes: Any) -> dict[str, Any]:
        """A Claim as a client would write it, with this business code; `changes` replace elements, None removes."""
        made: dict[str, Any] = {
            "resourceType": "Claim",
            "identifier": [{"value": code}],
            "status": "active",
            "type": {"coding": [{"system": CLAIM_TYPE, "code": "institutional"}]},
            "use": "claim",
            "patient": {"reference": f"Patient/{self.person('N1')}"},
            "billablePeriod": {"start": "2021-02-01", "end": "2021-02-01"},
            "created": "2021-02-03",
            "provider": {"reference": f"Organization/{self.provider('HC1')}"},
            "priority": {"coding": [{"code": "normal"}]},
            "diagnosis": [{"sequence": 1, "diagnosisCodeableConcept": {"coding": [{"code": "A09"}]}}],
            "insurance": [{"sequence": 1, "focal": True, "coverage": {"identifier": {"value": "fund"}}}],
            "item": [
                {"sequence": 1, "productOrService": {"coding": [{"code": "LAB"}]}, "quantity": {"value": 2},
                 "unitPrice": {"value": 12.5, "currency": "USD"}},
                {"sequence": 2, "productOrService": {"coding": [{"code": "XRAY"}]}, "quantity": {"value": 1},
                 "unitPrice": {"value": 80, "currency": "USD"}},
            ],
        }  # fmt: skip
        made.update(changes)
        return {name: part for name, part in made.items() if part is not None}


class Client:
    """An HTTP client of one user: every resource that comes back is judged by the models of FHIR R4."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def get(self, address: str, status: int = 200, **headers: str) -> Any:
        return self._judged(self.http.get(f"/fhir/R4/{address}", headers=headers), status)

    def post(self, address: str, resource: Any, status: int = 201, **headers: str) -> Any:
        sent = {"Content-Type": "application/fhir+json", **headers}
        return self._judged(self.http.post(f"/fhir/R4/{address}", json=resource, headers=sent), status)

    def resources(self, address: str) -> list[Any]:
        """The resources of a searchset's first page."""
        bundle = self.get(address)
        assert bundle["type"] == "searchset"
        return [entry["resource"] for entry in bundle.get("entry", [])]

    @staticmethod
    def _judged(answer: httpx.Response, status: int) -> Any:
        assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
        if not answer.content:
            return answer
        assert answer.headers["content-type"].startswith("application/fhir+json")
        body = answer.json()
        get_fhir_model_class(body["resourceType"]).model_validate_json(answer.content)
        return body


class Site:
    """The served world; `client` is the administrator's."""

    def __init__(self, world: World, url: str, stack: ExitStack) -> None:
        self.world, self.url, self._stack = world, url, stack
        self.app = world.app
        self.app.do("users.change", {"user": "administrator", "password": PASSWORD})
        self.anyone = Client(self._http({}))
        self.client = self._client("administrator")

    def user(self, name: str, role: str, **scope: Any) -> Client:
        self.app.do("users.add", {"name": name, "roles": [role], "password": PASSWORD, **scope})
        return self._client(name)

    def _client(self, name: str) -> Client:
        answer = self.anyone.http.post("/api/auth/token", json={"name": name, "password": PASSWORD})
        return Client(self._http({"Authorization": f"Bearer {answer.json()['token']}"}))

    def _http(self, headers: dict[str, str]) -> httpx.Client:
        return self._stack.enter_context(httpx.Client(base_url=self.url, headers=headers, timeout=30))


@contextmanager
def served(app: TestApp) -> Iterator[Site]:
    """The world of an application behind a real server on a free port."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(proto=socket.IPPROTO_TCP))
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(web_config(make_asgi(app), workers=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()

        def stop() -> None:
            server.should_exit = True
            thread.join(10)

        stack.callback(stop)
        deadline = time.monotonic() + 10
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield Site(World(app), f"http://127.0.0.1:{listener.getsockname()[1]}", stack)


@contextmanager
def deployed(playground: Playground, **more: Any) -> Iterator[Site]:
    """A served deployment; `more` are further tables of its settings."""
    settings = {**SETTINGS, **more}
    with test_application(playground, TODAY, settings, {"fund": Fund()}, ["fund", "fhir"]) as app, served(app) as site:
        yield site


@pytest.fixture(scope="module")
def site(playground: Playground) -> Iterator[Site]:
    """One deployment with canonical URLs for the tests of a module; they use codes of their own."""
    with deployed(playground) as made:
        yield made


@pytest.fixture
def deploy(playground: Playground) -> Callable[..., AbstractContextManager[Site]]:
    """Serves a deployment with further tables of settings, for tests that need one of their own."""
    return partial(deployed, playground)


@pytest.fixture(scope="module")
def openimis(playground: Playground) -> Iterator[Site]:
    """One deployment that writes openIMIS's URLs."""
    with deployed(playground, plugins={"fhir": {"identifiers": "openimis"}}) as made:
        yield made

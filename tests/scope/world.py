"""One deployment with every plugin and two places that are twins: whatever there is in place A there is in place B.

Everything of a place bears its mark (`QA`, `QB`) in names, numbers and texts, and its amounts are its own, so that an
answer which shows anything of the other place is found by looking for the mark.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

import sqlalchemy as sa

from imis_core.audit import write_entry
from imis_core.context import Context
from imis_core.events import deliver_due
from imis_core.payments.transmitting.asking import accepted
from imis_core.payments.transmitting.gateways import reached
from imis_core.payments.transmitting.service import VoucherNumber
from imis_core.payments.transmitting.store import locked_transmission
from imis_core.payments.transmitting.voucher_numbers import keep_numbers
from imis_core.payroll.showing import set_state
from imis_core.testing.app import TestApp

TODAY: Final = date(2024, 6, 30)
CANARY: Final = "hush"  # what a masked attribute's value contains
SETTINGS: Final[Mapping[str, Any]] = {
    "deployment": {
        "attributes": {
            "poor": {"type": "bool", "of": "group"},
            "illness": {"type": "text", "of": "person", "masked": True},
            "card": {"type": "text", "of": "person", "unique": True},
        }
    },
    "schemes": {
        "chf": {"type": "health_insurance"},
        "safe": {"type": "cash_transfer"},
        "wcf": {"type": "eii"},
    },
    "payment_gateways": {
        code: {"url": "http://127.0.0.1:1", "tenant": "t", "debit_account": "1", "callback_url": "http://127.0.0.1:1"}
        for code in ("MOMO", "BONS")
    },
    "approvals": {"registry.self_exclude": {"roles": ["place", "everybody"], "approvers": 1}},
    "roles": {
        "place": {"permissions": ["*"], "scope": "place"},
        "facility": {"permissions": ["*"], "scope": "provider"},
        "everybody": {"permissions": ["*"], "scope": "all"},
    },
}
EII_TERMS: Final[Mapping[str, Any]] = {
    "wage": {"divisor": 30},
    "temporary": {"rate": 90, "waiting_days": 3},
    "permanent": {"method": "degree_x_rate", "rate": 60, "months": 12, "pension_from_degree": 20},
    "survivors": {"spouse": {"share": 60}, "child": {"share": 40}, "parent": {"share": 20}},
    "funeral": {"months": 2, "at_most": "5000"},
    "deadlines": {"report_days": 7, "claim_months": 12},
    "contribution": {"employer": 2, "employee": 1},
}
HEALTH_TERMS: Final[Mapping[str, Any]] = {
    "insurance_months": 12,
    "premium_adult": "50",
    "items": {"LAB": {}},
    "deductible": {"level": "policy", "general": "10"},
    "overpayment": "credit",
}
CASH_TERMS: Final[Mapping[str, Any]] = {
    "score": {"base": "0", "variables": [{"name": "size", "kind": "continuous", "of": "size", "weight": "1"}]},
    "amount": {"base": "10", "per_person": "5"},
    "frequency": {"every": "month"},
}
# An amount is this much and some minor units that are the place's own: 13 in A, 57 in B.
CENTS: Final = {"A": "13", "B": "57"}


def report_of(order: str) -> str:
    """A payment provider's report on one order, as a file in base64."""
    return base64.b64encode(f"order,status,amount\n{order},failed,1\n".encode()).decode()


def answer_about(number: str) -> str:
    """A payment provider's answer with the account of one person, as a file in base64."""
    return base64.b64encode(f"number,account\n{number},ACC-NEW\n".encode()).decode()


class World:
    """The application, what is common, and the sides that have been built; `of[side]` names what stands in it."""

    def __init__(self, app: TestApp) -> None:
        self.app = app
        self.of: dict[str, dict[str, str]] = {}
        self._common()

    def do(self, command: str, as_: Any = "administrator", /, **data: Any) -> Any:
        return self.app.do(command, {key.rstrip("_"): value for key, value in data.items()}, as_=as_)

    def second(self, command: str, /, **data: Any) -> Any:
        """By another person than the one who prepared."""
        return self.do(command, "ben", **data)

    def _common(self) -> None:
        """What the deployment has only once: items, prices, packages, categories, payment providers, cycles."""
        do = self.do
        do("locations.add", code="LAND", name="Land", level="country")
        do("catalogue.add_diagnosis", code="A09", name="Gastroenteritis")
        do("catalogue.define_item", code="LAB", name="Lab", kind="service", price="100")
        do("catalogue.define_price_list", code="PL", valid_from="2019-01-01", prices={"LAB": "100"})
        for scheme, code, terms in (
            ("chf", "BASIC", HEALTH_TERMS),
            ("safe", "CASH", CASH_TERMS),
            ("wcf", "WORK", EII_TERMS),
        ):
            do("benefit_packages.define", scheme=scheme, code=code, name=code, valid_from="2020-01-01", terms=terms)
        for code, channel in (("POST", "cash_list"), ("BANK", "bank_file"), ("MOMO", "mobile_money"),
                              ("BONS", "voucher")):  # fmt: skip
            points = [{"code": "PP", "name": "Counter"}] if code == "POST" else []
            do("payments.register_provider", code=code, name=code, channel=channel, pay_points=points)
        do("grievances.define_category", code="PAY", name="Payment", days=20)
        do("grievances.define_category", code="KEEP", name="Kept back", days=20, holds_payment=True)
        for code, starts, ends in (("C4", "2024-06-01", "2024-06-30"), ("C5", "2024-07-01", "2024-07-31"),
                                   ("C6", "2024-08-01", "2024-08-31"), ("C7", "2024-09-01", "2024-09-30")):  # fmt: skip
            do("cycles.open", scheme="safe", code=code, starts=starts, ends=ends)

    def build(self, side: str) -> None:
        """Everything of one place; its names, ids and amounts are kept in `of[side]`."""
        self.of[side] = named = {}
        _Side(self, side, named).build()
        named["report"] = report_of(named["claim_order"])
        named["answer"] = answer_about(f"P1-Q{side}")
        for role in ("place", "facility"):
            self.user(side, role)

    def user(self, side: str, role: str) -> Any:
        """A user with all permissions whose reach is the place, or the facility, of a side."""
        scope = {"places": [f"PLACE-Q{side}"]} if role == "place" else {"providers": [f"HC-Q{side}"]}
        return self.app.as_user(f"{role}-{side.lower()}", role, **scope)


class _Side:
    """Builds one side. `q` is its mark."""

    def __init__(self, world: World, side: str, named: dict[str, str]) -> None:
        self.do, self.second, self.app = world.do, world.second, world.app
        self.q, self.cents, self.named = f"Q{side}", CENTS[side], named
        self.place = f"PLACE-{self.q}"

    def build(self) -> None:
        self._places()
        self._people()
        self._registry()
        self._health()
        self._work()
        self._cash()
        self._vouchers()
        self._desk()

    def _places(self) -> None:
        q, do = self.q, self.do
        place = do("locations.add", code=self.place, name=f"Place {q}", level="region", parent="LAND")
        facility = do("providers.register", code=f"HC-{q}", name=f"Clinic {q}", level="dispensary", price_lists=["PL"],
                      location=self.place, contract={"from": "2020-01-01"})  # fmt: skip
        self.named |= {
            "location": self.place, "location_id": place["id"], "facility": f"HC-{q}", "facility_id": facility["id"],
        }  # fmt: skip

    def _person(self, number: str, born: str = "1980-02-03", **more: Any) -> dict[str, Any]:
        q = self.q
        return {
            "number": f"{number}-{q}", "given_name": f"Given{q}{number}", "family_name": f"Family{q}{number}",
            "sex": "F", "birth_date": born, "location": self.place,
            "identifiers": [{"system": "nid", "value": f"NID-{q}-{number}"}],
            "attributes": {"illness": f"{CANARY} {q} {number}", "card": f"CARD-{q}-{number}"}, **more,
        }  # fmt: skip

    def _people(self) -> None:
        q, do = self.q, self.do
        for code, heads in (("F1", ("P1", "P2", "P3")), ("F2", ("P4",)), ("F3", ("P5",))):
            roles = ["head", "spouse", "child"]
            members = [
                {**self._person(p, "2015-01-01" if role == "child" else "1980-02-03"), "relationship": role}
                for p, role in zip(heads, roles, strict=False)
            ]
            group = do("beneficiaries.register_group", code=f"{code}-{q}", location=self.place, members=members)
            self.named[code] = group["id"]
            for member, p in zip(group["members"], heads, strict=True):
                self.named[p] = member["id"]
        for p in ("P6", "P7", "P8", "P9"):
            self.named[p] = do("beneficiaries.register_person", **self._person(p))["id"]
        do("beneficiaries.record_death", number=f"P9-{q}", on="2024-06-01")

    def _registry(self) -> None:
        q, do = self.q, self.do
        # Twins by an identifier: found, one pair decided as the same, one as different, one left open.
        twins = [
            {"number": f"T{n}-{q}", "identifiers": [{"system": "nid", "value": f"NID-{q}-T{n % 3}"}]} for n in range(6)
        ]
        for twin in twins:
            do("beneficiaries.register_person", **{**self._person(twin["number"].partition("-")[0]), **twin})
        do("registry.find_duplicates", persons=[t["number"] for t in twins])
        first, second, third = [
            d for d in do("registry.duplicates") if q in d["first"] and d["score"] in (100, "100", "100.00")
        ][:3]
        merge = do("registry.decide_duplicate", duplicate=first["id"], decision="same")
        do("registry.decide_duplicate", duplicate=second["id"], decision="different", reason=f"sisters {q}")
        self.named |= {"duplicate": third["id"], "merge": merge["merge"], "duplicate_same": first["id"]}
        rows = [
            {"number": f"I{n}-{q}", "given_name": f"Import{q}", "family_name": "Row", "sex": "F" if n else "?",
             "birth_date": "1990-01-01", "location": self.place}
            for n in range(3)
        ]  # fmt: skip
        self.named["import"] = do("registry.import", kind="persons", file=f"{q}.csv", rows=rows)["id"]
        do("registry.open_period", location=self.place, from_="2020-01-01")
        clerk = self.app.as_user(f"clerk-{q}", "place", places=[self.place])
        change = do("registry.request_change", clerk, do="beneficiaries.change_person",
                    with_={"number": f"P8-{q}", "given_name": f"Changed{q}"}, reason=f"wrong name {q}")  # fmt: skip
        self.named["change"] = change["id"]
        held = do("registry.self_exclude", clerk, person=f"P7-{q}", reason=f"wants not {q}")
        self.named["approval"] = held["approval"]
        excluded = do("registry.self_exclude", clerk, person=f"P8-{q}", reason=f"never {q}")
        self.second("approvals.approve", approval=excluded["approval"])

    def _health(self) -> None:
        q, do = self.q, self.do
        on = "2024-01-01"
        for p, more in (("F1", {"group": f"F1-{q}"}), ("P6", {"person": f"P6-{q}"})):
            policy = do("coverage.enrol", scheme="chf", package="BASIC", on=on, **more)
            self.named[f"coverage-{p}"] = policy["id"]
            do("contributions.record", coverage=policy["id"], amount=policy["due"], receipt=f"R-{q}-{p}", on=on,
               payer=f"Payer {q}")  # fmt: skip
        family = self.named["coverage-F1"]
        do("contributions.record", coverage=family, amount=f"9.{self.cents}", receipt=f"R-{q}-more", on=on)
        paid_out = do("contributions.refund", coverage=family, amount="1", reason=f"asked {q}")
        batch = self.second("contributions.approve_refunds", scheme="chf", refunds=[paid_out["id"]])
        asked = do("contributions.refund", coverage=family, amount="2", reason=f"asked again {q}")
        self.named |= {"refund": asked["id"], "refunds": batch["id"]}
        unpaid = do("coverage.enrol", scheme="chf", package="BASIC", group=f"F3-{q}")
        self.named["coverage-F3"] = unpaid["id"]
        self.named["card"] = do("cards.issue", coverage=self.named["coverage-F1"])["cards"][0]["id"]
        do("coverage.suspend", coverage=self.named["coverage-P6"], reason=f"moved {q}")
        for n in range(1, 6):
            line = {"item": "LAB", "quantity": 1, "price": f"7{n}.{self.cents}"}
            claim = do("claims.submit", scheme="chf", code=f"CL{n}-{q}", provider=f"HC-{q}", number=f"P1-{q}",
                       from_=f"2024-0{n}-11", diagnosis="A09", lines=[line])  # fmt: skip
            self.named[f"claim{n}"] = claim["id"]
        do("claims.process", scheme="chf", claims=[f"CL{n}-{q}" for n in range(1, 5)])
        account = f"ACC-{q}-HC-longer-than-a-wallet"  # which a check of accounts lists at once
        do("payments.enrol_recipient", facility=f"HC-{q}", provider="MOMO", account=account, scheme="chf")
        paid = do("claims.request_payment", scheme="chf", provider=f"HC-{q}", from_="2024-01-01", to="2024-02-28")
        self.second("claims.approve_payment", request=paid["id"])
        do("payments.submit", claims_batch=paid["id"])
        do("payments.check_accounts", provider="MOMO")
        (sent,) = do("payments.transmissions", claims_batch=paid["id"])
        (order,) = do("payments.orders", claims_batch=paid["id"])
        open_ = do("claims.request_payment", scheme="chf", provider=f"HC-{q}", from_="2024-03-01", to="2024-03-31")
        self.named |= {"batch": paid["id"], "claim_order": order["id"], "request": open_["id"],
                       "transmission": sent["id"]}  # fmt: skip

    def _work(self) -> None:
        q, do = self.q, self.do
        employer = do("employment.register_employer", scheme="wcf", code=f"EM-{q}", name=f"Mill {q}",
                      location=self.place)  # fmt: skip
        self.named["employer_id"] = employer["id"]
        spell = do("employment.register", employer=f"EM-{q}", number=f"P4-{q}", from_="2023-01-01",
                   wage=f"3000.{self.cents}")  # fmt: skip
        for p in ("P5", "P9"):
            do("employment.register", employer=f"EM-{q}", number=f"{p}-{q}", from_="2023-01-01", wage="2000")
        do("employment.declare_wages", scheme="wcf", employer=f"EM-{q}", month="2024-05",
           rows=[{"number": f"P4-{q}", "wage": f"3000.{self.cents}"}])  # fmt: skip
        report = {"scheme": "wcf", "package": "WORK", "employer": f"EM-{q}", "reported_by": "worker"}
        accidents = {
            key: do("eii.report_accident", **report, number=f"{p}-{q}", occurred_on=on, reported_on=on,
                    how=f"fell {q}")["id"]
            for key, p, on in (("accident", "P4", "2024-05-02"), ("reported", "P5", "2024-06-20"),
                               ("deadly", "P5", "2024-05-20"), ("dead", "P9", "2024-05-31"))
        }  # fmt: skip
        for key in ("accident", "deadly", "dead"):
            do("eii.accept", accident=accidents[key], kind="work")
        do("eii.certify", accident=accidents["accident"], from_="2024-05-03", to="2024-05-20", doctor=f"Dr {q}")
        do("eii.pay_temporary", accident=accidents["accident"])
        do("eii.assess", accident=accidents["accident"], degree="40", on="2024-06-10")
        award = next(a for a in do("eii.awards", accident=accidents["accident"]) if a["kind"] == "pension")
        do("eii.confirm_alive", award=award["id"], on="2024-06-30")
        do("eii.recover", award=award["id"], amount="30", instalment="5")
        widow = [{"number": f"P2-{q}", "relationship": "spouse"}]
        do("eii.award_survivors", accident=accidents["dead"], died_on="2024-06-01", survivors=widow)
        self.named |= {"employment": spell["id"], **accidents, "award": award["id"]}

    def _cash(self) -> None:
        q, do = self.q, self.do
        groups = [f"F1-{q}", f"F2-{q}"]
        do("targeting.score", scheme="safe", package="CASH", groups=[*groups, f"F3-{q}"])
        enrolment = do("targeting.enrol", scheme="safe", package="CASH", groups=groups)
        self.second("targeting.approve", enrolment=enrolment["id"])
        clerk = self.app.as_user(f"clerk-{q}", "place", places=[self.place])
        waiting = do("targeting.enrol", clerk, scheme="safe", package="CASH", groups=[f"F3-{q}"])
        do("payroll.recover", scheme="safe", code=f"RV-{q}", group=f"F1-{q}", amount=f"8.{self.cents}", instalment="1",
           reason=f"too much {q}")  # fmt: skip
        for number in (f"P1-{q}", f"P4-{q}"):
            do("payments.enrol_recipient", number=number, provider="POST", scheme="safe", account=f"ACC-{q}-{number}")
        runs = {}
        for cycle in ("C4", "C5", "C6"):
            run = do("payroll.generate", scheme="safe", package="CASH", cycle=cycle, location=self.place)
            runs[cycle] = run["id"]
        for cycle in ("C4", "C5"):
            self.second("payroll.approve", payroll=runs[cycle])
        do("payments.submit", payroll=runs["C4"])
        lists = do("payments.cash_lists", payroll=runs["C4"])
        orders = do("payments.orders", payroll=runs["C4"])
        do("payments.reconcile", provider="POST", rows=[
            {"order": orders[0]["id"], "status": "paid", "amount": orders[0]["amount"], "reference": f"REF-{q}"},
            {"order": orders[1]["id"], "status": "failed", "amount": orders[1]["amount"], "reason": f"absent {q}"},
        ])  # fmt: skip
        compared = do("payments.compare_books", provider="POST", name="books.csv", content=report_of(orders[0]["id"]))
        first, held = do("payroll.entitlements", payroll=runs["C5"])
        do("payroll.hold", entitlement=held["id"], reason=f"away {q}")
        (waits, *_) = do("payroll.entitlements", payroll=runs["C6"])
        self.named |= {
            "enrolment": enrolment["id"], "enrolment_waiting": waiting["id"], "payroll": runs["C4"],
            "payroll_approved": runs["C5"], "payroll_waiting": runs["C6"], "order_paid": orders[0]["id"],
            "order_failed": orders[1]["id"], "entitlement": first["id"], "entitlement_waiting": waits["id"],
            "entitlement_held": held["id"], "comparison": compared["id"],
            **{f"order_{o['status']}": o["id"] for o in do("payments.orders", payroll=runs["C5"])},
        }  # fmt: skip
        self.named["cash_list"] = lists["files"][0]["pdf"]
        begun = do("payroll.generate_in_background", scheme="safe", package="CASH", cycle="C6", location=self.place)
        self.named["payroll_failed"] = begun["id"]
        number = self.app.ids.decode("payrolls", begun["id"])
        with self.app.database.command(self.app.system) as (connection, audit):
            app = self.app
            context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit, "tests")
            set_state(context, (number,), "failed", f"it broke {q}")
            write_entry(context, 1, 0, "tests", None)

    def _vouchers(self) -> None:
        """Households that are paid by vouchers for once: made, and told of by their provider."""
        q, do = self.q, self.do
        persons = (f"P1-{q}", f"P4-{q}")
        for number in persons:
            do("payments.enrol_recipient", number=number, provider="BONS", scheme="safe")
        run = do("payroll.generate", scheme="safe", package="CASH", cycle="C7", location=self.place)
        self.second("payroll.approve", payroll=run["id"])
        do("payments.submit", payroll=run["id"])
        for number in persons:
            do("payments.enrol_recipient", number=number, provider="POST", scheme="safe", account=f"ACC-{q}-{number}")
        orders = do("payments.orders", payroll=run["id"])
        numbers = [self.app.ids.decode("orders", order["id"]) for order in orders]
        (sent,) = do("payments.transmissions", payroll=run["id"])
        with self.app.database.command(self.app.system) as (connection, audit):
            app = self.app
            context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit, "tests")
            row = locked_transmission(context, app.ids.decode("transmissions", sent["id"]))
            accepted(context, row, f"B-{q}")
            keep_numbers(
                context, reached(context, ["BONS"])[row.payment_provider],
                [VoucherNumber(str(number), f"S-{q}-{number}", f"N-{q}-{number}") for number in numbers],
            )  # fmt: skip
        self.named |= {"payroll_vouchers": run["id"], "order_voucher": orders[0]["id"]}

    def _desk(self) -> None:
        q, do = self.q, self.do
        about = {
            "grievance": {"beneficiary": f"P1-{q}"}, "grievance_claim": {"claim": f"CL1-{q}"},
            "grievance_order": {"order": self.named["order_approved"]},
            "grievance_open": {"beneficiary": f"F1-{q}"}, "grievance_resolved": {"beneficiary": f"P2-{q}"},
            "grievance_closed": {"claim": f"CL2-{q}"},
        }  # fmt: skip
        for key, subject in about.items():
            opened = do("grievances.open", category="PAY", description=f"Nothing came {q}", channel="phone",
                        subject=subject, scheme="safe" if key == "grievance_order" else None)  # fmt: skip
            self.named[key], self.named[f"{key}_code"] = opened["id"], opened["code"]
            do("grievances.comment", grievance=opened["id"], comment=f"called {q}")
        for key in ("open", "resolved", "closed"):
            do("grievances.move", grievance=self.named[f"grievance_{key}"], status="open")
        for key in ("resolved", "closed"):
            do("grievances.resolve", grievance=self.named[f"grievance_{key}"], decision="rejected", comment=f"no {q}")
        do("grievances.close", grievance=self.named["grievance_closed"])
        content = base64.b64encode(f"file of {q}".encode()).decode()
        for key, noun in (("file", "P1"), ("file_claim", "claim1"), ("file_grievance", "grievance")):
            added = do("attachments.add", name=f"{q}.txt", media_type="text/plain", content=content,
                       about=self.named[noun])  # fmt: skip
            self.named[key] = added["id"]
        sent = do("notifications.send", person=f"P1-{q}", text=f"Come {q}", subject=f"Hello {q}")
        self.named["notification"] = sent["id"]
        free = do("notifications.send", to=f"+99{q}", text=f"Free {q}")
        self.named["notification_free"] = free["id"]
        self._behind()

    def _behind(self) -> None:
        """What the application does by itself: an event of this place that cannot be delivered, and a failed job."""
        deliver_due(self.app)
        last = "SELECT max(event) AS id FROM core.deliveries WHERE subscriber = 'health_insurance'"
        (event,) = self.app.rows(last)
        with self.app.database.command(self.app.system) as (connection, audit):
            app = self.app
            context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit, "tests")
            job = context.defer("core.forget", {})
            fail = "UPDATE jobs.procrastinate_jobs SET status = 'failed' WHERE id = :id"
            connection.execute(sa.text(fail), {"id": job})
            connection.execute(
                sa.text("UPDATE core.deliveries SET state = 'parked', error = :error WHERE event = :event"),
                {"event": event["id"], "error": f"could not tell of P1-{self.q}"},
            )
        self.named |= {"event": self.app.ids.encode("events", event["id"]), "job": self.app.ids.encode("jobs", job)}

"""The machine: each rule sends one command with what is known so far, good or bad; refusals are fine, defects are not.

After every step the auditor adds all money up again and walks all states. What was refused must have written nothing:
the number of audit entries tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from imis_core.errors import ImisError
from imis_core.events import deliver_due
from imis_core.testing.app import TestApp
from imis_core.testing.auditor import assert_sound
from tests.machine.lives import PICK, Lives
from tests.machine.lives import one as _one
from tests.machine.world import HOUSEHOLDS, START, register_household

PEOPLE = 7
AMOUNT = st.sampled_from(["10", "50", "25.50", "0.01", "120"])
STATUSES = st.lists(st.sampled_from(["paid", "paid", "failed", "returned"]), min_size=1, max_size=3)
VISITS = st.lists(st.tuples(PICK, st.integers(1, 4)), min_size=1, max_size=5)
USER = st.sampled_from(["administrator", "anna", "ben"])
STEPS: Counter[str] = (
    Counter()
)  # what was done and what was refused, over a whole run: a machine that does nothing shows


class Machine(Lives, RuleBasedStateMachine):
    """One deployment; `app` is set by who runs the machine."""

    make: Any = None  # makes an application with the world in it

    def __init__(self) -> None:
        super().__init__()
        self.close, self.app = type(self).make()
        self.people = [f"N{n}-0" for n in range(HOUSEHOLDS)]
        self.coverages = [c["id"] for c in self.app.do("coverage.list", {"scheme": "chf"})]
        self.claims: list[str] = []
        self.requests: list[str] = []
        self.payrolls: list[str] = []
        self.cycles = [("nafa", "nafa-0")]
        self.accidents: list[str] = []
        self.enrolments: list[str] = []
        self.grievances: list[str] = []
        self.receipts = [f"first {n}" for n in range(HOUSEHOLDS)]

    app: TestApp

    def teardown(self) -> None:
        self.close()

    def attempt(self, name: str, data: Mapping[str, Any], user: str = "administrator") -> Any:
        """The command's result, or None if it was refused, which must have left nothing behind."""
        before = self._entries()
        try:
            result, told = self.app.do(name, data, as_=user), name
        except ImisError as error:
            result, told = None, f"{name} {error.code}"
        STEPS[told] += 1
        assert told == name or self._entries() == before, f"{told}: refused, and yet it wrote"
        assert_sound(self.app)
        return result

    def listed(self, name: str, data: Mapping[str, Any]) -> Any:
        """A query's list, empty where what was asked for has been deleted."""
        try:
            return self.app.do(name, data)
        except ImisError as error:
            if error.code != "not_found":
                raise
            return []

    def _entries(self) -> int:
        return int(self.app.rows("SELECT count(*) AS n FROM core.audit_entries")[0]["n"])

    def today(self) -> date:
        return self.app.clock.today()

    @initialize()
    def begin(self) -> None:
        self.app.clock.set(START)
        assert_sound(self.app)

    # --- people, cover, contributions

    @precondition(lambda self: len(self.people) < PEOPLE)
    @rule(members=st.integers(1, 3))
    def register(self, members: int) -> None:
        register_household(self.app, len(self.people), members)
        self.people.append(f"N{len(self.people)}-0")
        STEPS["beneficiaries.register_group"] += 1
        assert_sound(self.app)

    @precondition(lambda self: self.people)
    @rule(pick=PICK)
    def enrol(self, pick: int) -> None:
        group = "F" + _one(self.people, pick)[1:].partition("-")[0]
        policy = self.attempt("coverage.enrol", {"scheme": "chf", "package": "BASIC", "group": group})
        if policy:
            self.coverages.append(policy["id"])

    @precondition(lambda self: self.coverages)
    @rule(pick=PICK, amount=AMOUNT)
    def contribute(self, pick: int, amount: str) -> None:
        data = {"coverage": _one(self.coverages, pick), "amount": amount, "receipt": f"R{STEPS.total()}"}
        if self.attempt("contributions.record", data):
            self.receipts.append(data["receipt"])

    @precondition(lambda self: self.coverages)
    @rule(pick=PICK, move=st.sampled_from(["suspend", "resume", "terminate", "renew"]))
    def move_coverage(self, pick: int, move: str) -> None:
        reason = {} if move == "renew" else {"reason": "asked for"}
        answer = self.attempt(f"coverage.{move}", {"coverage": _one(self.coverages, pick), **reason})
        if answer and move == "renew":
            self.coverages.append(answer["id"])

    # --- claims and their payment

    @precondition(lambda self: self.people)
    @rule(pick=PICK, quantity=st.integers(1, 4), facility=st.sampled_from(["HC1", "HC2"]), again=st.booleans())
    def submit_claim(self, pick: int, quantity: int, facility: str, again: bool) -> None:
        number, day = _one(self.people, pick), self.today()
        code = _one(self.claims, pick) if again and self.claims else f"C{len(self.claims)}"
        lines = [
            {"item": item, "quantity": quantity, "price": price} for item, price in (("LAB", "60"), ("DRUG", "100"))
        ]
        claim = {"code": code, "scheme": "chf", "provider": facility, "number": number, "from": day, "diagnosis": "A09"}
        if self.attempt("claims.submit", {**claim, "lines": lines}):
            self.claims.append(code)

    @rule(behind=st.booleans())
    def process_claims(self, behind: bool) -> None:
        self.attempt("claims.process_in_background" if behind else "claims.process", {"scheme": "chf"})

    @precondition(lambda self: self.claims)
    @rule(pick=PICK)
    def process_one(self, pick: int) -> None:
        self.attempt("claims.process", {"scheme": "chf", "claims": [_one(self.claims, pick)]})

    @precondition(lambda self: self.claims)
    @rule(pick=PICK)
    def withdraw_claim(self, pick: int) -> None:
        self.attempt("claims.withdraw", {"claim": _one(self.claims, pick), "reason": "a mistake"})

    @rule()
    def request_payment(self) -> None:
        asked = {"scheme": "chf", "from": START, "to": self.today()}
        request = self.attempt("claims.request_payment", asked)
        if request:
            self.requests.append(request["id"])

    @precondition(lambda self: self.requests)
    @rule(pick=PICK, user=USER, agreed=st.booleans())
    def decide_request(self, pick: int, user: str, agreed: bool) -> None:
        asked = {"request": _one(self.requests, pick)}
        if agreed:
            self.attempt("claims.approve_payment", asked, user)
        else:
            self.attempt("claims.reject_payment", {**asked, "reason": "not now"}, user)

    # --- grants and payrolls

    @rule(user=USER)
    def select(self, user: str) -> None:
        enrolment = self.attempt("targeting.enrol", {"scheme": "nafa", "package": "GRANT"}, user)
        if enrolment:
            self.enrolments.append(enrolment["id"])

    @precondition(lambda self: self.enrolments)
    @rule(pick=PICK, user=USER)
    def approve_selection(self, pick: int, user: str) -> None:
        self.attempt("targeting.approve", {"enrolment": _one(self.enrolments, pick)}, user)

    @rule(scheme=st.sampled_from(["nafa", "wcf"]))
    def open_cycle(self, scheme: str) -> None:
        code = f"{scheme}-{len(self.cycles)}"
        month = sum(1 for s, _ in self.cycles if s == scheme)  # the world has opened January
        starts = date(2021, 1 + month % 12, 1)
        ends = (starts + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        if self.attempt("cycles.open", {"scheme": scheme, "code": code, "starts": starts, "ends": ends}):
            self.cycles.append((scheme, code))

    @precondition(lambda self: self.cycles)
    @rule(pick=PICK, user=USER, behind=st.booleans())
    def generate(self, pick: int, user: str, behind: bool) -> None:
        scheme, cycle = _one(self.cycles, pick)
        asked = {"scheme": scheme, "package": "GRANT" if scheme == "nafa" else "INJURY", "cycle": cycle}
        payroll = self.attempt("payroll.generate_in_background" if behind else "payroll.generate", asked, user)
        if payroll and not behind:
            self.payrolls.append(payroll["id"])

    @precondition(lambda self: self.payrolls)
    @rule(pick=PICK, user=USER, move=st.sampled_from(["approve", "approve", "reject", "close", "delete"]))
    def move_payroll(self, pick: int, user: str, move: str) -> None:
        reason = {"reason": "wrong"} if move == "reject" else {}
        self.attempt(f"payroll.{move}", {"payroll": _one(self.payrolls, pick), **reason}, user)

    @precondition(lambda self: self.payrolls)
    @rule(pick=PICK, which=PICK, user=USER, move=st.sampled_from(["hold", "release", "approve_entitlement"]))
    def move_entitlement(self, pick: int, which: int, user: str, move: str) -> None:
        found = self.listed("payroll.entitlements", {"payroll": _one(self.payrolls, pick)})
        if found:
            reason = {} if move == "approve_entitlement" else {"reason": "to be looked at"}
            self.attempt(f"payroll.{move}", {"entitlement": _one(found, which)["id"], **reason}, user)

    # --- payments

    def _sources(self) -> list[dict[str, str]]:
        return [{"payroll": p} for p in self.payrolls] + [{"claims_batch": r} for r in self.requests]

    @precondition(lambda self: self.payrolls or self.requests)
    @rule(pick=PICK)
    def submit(self, pick: int) -> None:
        self.attempt("payments.submit", _one(self._sources(), pick))

    @precondition(lambda self: self.payrolls or self.requests)
    @rule(
        pick=PICK, which=PICK, status=st.sampled_from(["paid", "paid", "failed", "returned"]),
        right=st.integers(0, 4).map(bool), twice=st.booleans(),
    )  # fmt: skip
    def reconcile(self, pick: int, which: int, status: str, right: bool, twice: bool) -> None:
        order = self._order(pick, which)
        if order:
            row = {"order": order["id"], "status": status, "amount": order["amount"] if right else "0.01"}
            rows = [{**row, "reason": "as the bank says"}] * (2 if twice else 1)
            self.attempt("payments.reconcile", {"provider": "BANK", "rows": rows})

    @precondition(lambda self: self.payrolls or self.requests)
    @rule(pick=PICK, which=PICK, user=USER, move=st.sampled_from(["retry", "reverse"]))
    def move_order(self, pick: int, which: int, user: str, move: str) -> None:
        order = self._order(pick, which)
        if order:
            self.attempt(f"payments.{move}", {"order": order["id"], "reason": "as agreed"}, user)

    def _order(self, pick: int, which: int) -> Any:
        found = self.listed("payments.orders", _one(self._sources(), pick))
        return _one(found, which) if found else None

    # --- whole ways, so that a walk also comes far

    @rule(pick=PICK, statuses=STATUSES, again=st.booleans(), rejected=st.integers(0, 3))
    def pay_a_grant(self, pick: int, statuses: list[str], again: bool, rejected: int) -> None:
        """A cycle's payroll by two people, sent and reported on; perhaps some of it twice, or rejected halfway."""
        scheme, cycle = _one(self.cycles, pick)
        asked = {"scheme": scheme, "package": "GRANT" if scheme == "nafa" else "INJURY", "cycle": cycle}
        payroll = self.attempt("payroll.generate", asked, "anna")
        if not payroll:
            return
        self.payrolls.append(payroll["id"])
        named = {"payroll": payroll["id"]}
        for step, (name, data, user) in enumerate(
            (
                ("payroll.approve", named, "ben"),
                ("payments.submit", named, "anna"),
                ("payroll.close", named, "ben"),
            )
        ):
            if rejected == step + 1:
                self.attempt("payroll.reject", {**named, "reason": "a mistake"}, "ben")
            self.attempt(name, data, user)
        self.report(named, statuses, again)

    @precondition(lambda self: self.people)
    @rule(
        visits=st.lists(st.tuples(PICK, st.integers(1, 4)), min_size=1, max_size=5),
        statuses=STATUSES,
        again=st.booleans(),
    )
    def pay_for_claims(self, visits: list[tuple[int, int]], statuses: list[str], again: bool) -> None:
        """Claims of some visits, valuated, requested and approved by two people, sent and reported on."""
        for pick, quantity in visits:
            self.submit_claim(pick, quantity, "HC1" if pick % 2 else "HC2", False)
        self.process_claims(behind=again)
        if again:
            self.workers_run()
        request = self.attempt("claims.request_payment", {"scheme": "chf", "from": START, "to": self.today()}, "anna")
        if request:
            self.requests.append(request["id"])
            self.attempt("claims.approve_payment", {"request": request["id"]}, "ben")
            self.attempt("payments.submit", {"claims_batch": request["id"]})
            self.report({"claims_batch": request["id"]}, statuses, again)

    def report(self, source: Mapping[str, str], statuses: list[str], again: bool) -> None:
        """The bank's report on every order of a source; what failed is tried again, what was paid is reversed."""
        orders = self.listed("payments.orders", source)
        rows = [
            {"order": order["id"], "status": _one(statuses, n), "amount": order["amount"], "reason": "says the bank"}
            for n, order in enumerate(orders)
        ]
        if rows:
            for _ in range(2 if again else 1):
                self.attempt("payments.reconcile", {"provider": "BANK", "rows": rows})
            for order, row in list(zip(orders, rows, strict=True))[:2]:
                move = "reverse" if row["status"] == "paid" else "retry"
                self.attempt(f"payments.{move}", {"order": order["id"], "reason": "as agreed"})

    # --- employment injury

    @precondition(lambda self: self.people)
    @rule(pick=PICK)
    def report_accident(self, pick: int) -> None:
        asked = {
            "scheme": "wcf", "package": "INJURY", "number": _one(self.people, pick), "employer": "E1",
            "occurred_on": self.today(), "reported_by": "worker",
        }  # fmt: skip
        accident = self.attempt("eii.report_accident", asked)
        if accident:
            self.accidents.append(accident["code"])

    @precondition(lambda self: self.accidents)
    @rule(pick=PICK, days=st.integers(1, 30), degree=st.sampled_from([10, 30, 100]))
    def treat_accident(self, pick: int, days: int, degree: int) -> None:
        accident = {"accident": _one(self.accidents, pick)}
        step = days % 4
        if step == 0:
            self.attempt("eii.accept", {**accident, "kind": "work"})
        elif step == 1:
            start = self.today() - timedelta(days=days)
            self.attempt("eii.certify", {**accident, "from": start, "to": self.today()})
        elif step == 2:
            self.attempt("eii.pay_temporary", accident)
        else:
            self.attempt("eii.assess", {**accident, "degree": degree})

    # --- complaints

    @precondition(lambda self: self.payrolls)
    @rule(pick=PICK, which=PICK)
    def complain(self, pick: int, which: int) -> None:
        order = self._order(pick % max(1, len(self.payrolls)), which)
        if order:
            asked = {"category": "WRONG", "description": "too little", "subject": {"order": order["id"]}}
            complaint = self.attempt("grievances.open", asked)
            if complaint:
                self.grievances.append(complaint["code"])

    @precondition(lambda self: self.grievances)
    @rule(pick=PICK, move=st.sampled_from(["open", "in_progress", "upheld", "rejected"]))
    def handle_complaint(self, pick: int, move: str) -> None:
        complaint = {"grievance": _one(self.grievances, pick)}
        if move in ("upheld", "rejected"):
            cancel = {"cancel_payment": True} if move == "upheld" else {}
            self.attempt("grievances.resolve", {**complaint, "decision": move, "comment": "heard", **cancel})
        else:
            self.attempt("grievances.move", {**complaint, "status": move})

    # --- time and what runs beside

    @rule(days=st.sampled_from([1, 1, 7, 31]))
    def time_passes(self, days: int) -> None:
        self.app.clock.set(self.today() + timedelta(days=days))
        assert_sound(self.app)

    @rule()
    def workers_run(self) -> None:
        self.app.queue.enqueue_due()
        self.app.queue.run_due()
        while deliver_due(self.app):
            pass
        failed = self.app.do("jobs.list", {"status": "failed"})
        for job in failed:
            shown = self.app.do("jobs.show", {"job": job["id"]})
            # A payroll that is refused is the run's error; anything else is a defect.
            assert all(error["error"].startswith("ImisError: ") for error in shown["errors"]), shown["errors"]
        for job in self.app.do("jobs.list", {"status": "succeeded", "job": "payroll.generate"}):
            for done in self.app.do("jobs.show", {"job": job["id"]})["results"]:
                if done["result"]["id"] not in self.payrolls:
                    self.payrolls.append(done["result"]["id"])
        assert_sound(self.app, delivered=True)

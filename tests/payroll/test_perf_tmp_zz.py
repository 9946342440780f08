import time
from datetime import date
import pytest
import sqlalchemy as sa
from tests.payroll.conftest import bare, Office

@pytest.mark.parametrize("OLD", [True, False])
@pytest.mark.parametrize("merged", [0, 1000])
@pytest.mark.parametrize("analyze", [False, True])
def test_perf(bare, OLD, merged, analyze):
    bare.package(unit="person"); bare.cycle(5); bare.cycle(6)
    bare.app.clock.set(date(2021, 1, 1))
    people = [{"number": f"P{n}", "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01"} for n in range(20000)]
    for i in range(0, 20000, 5000): bare.app.do_all("beneficiaries.register_person", people[i:i+5000])
    bare.app.do_all("payments.enrol_recipient", [{"number": p["number"], "provider": "BANK"} for p in people[:7000]])
    bare.app.clock.set(date(2021, 6, 15))
    if merged:
        with bare.app.database.command(bare.app.system) as (c, _):
            c.execute(sa.text("UPDATE core.persons p SET status='inactive', merged_into = (SELECT min(id) FROM core.persons) WHERE id IN (SELECT id FROM core.persons ORDER BY id DESC LIMIT :n)"), {"n": merged})
    out = []
    def t(name, f):
        s = time.time(); r = f(); out.append(f"{name} {time.time()-s:.2f}"); return r
    if analyze:
        from sqlalchemy import create_engine
        import imis_core.testing.app as m
        bare.app.database.analyze() if hasattr(bare.app.database, "analyze") else None
    import sys; sys.path.insert(0, "/tmp/perf")
    import old_submitting, imis_core.payments.commands as pc, imis_core.payments.submitting as new
    pc.submit_orders = old_submitting.submit_orders if OLD else new.submit_orders
    p = t("gen", lambda: bare.generate("C5"))
    t("again", lambda: bare.generate("C5"))
    t("approve", lambda: bare.approve(p))
    if not OLD:
        ex = bare.app.database
        from imis_core.context import Context
        orig = Context.execute
        def spy(self, st, params=None):
            if "sent" in str(getattr(st, "compile", lambda **k: "")())[:4000] and "waiting" in str(st):
                from sqlalchemy.dialects import postgresql
                for row in orig(self, sa.text("EXPLAIN " + str(st.compile(dialect=self.connection.dialect, compile_kwargs={"literal_binds": True})).replace(":", "\\:"))): print(row[0])
            return orig(self, st, params)
        Context.execute = spy
    t("submit", lambda: bare.app.do("payments.submit", {"payroll": p["id"]}))
    t("gen6", lambda: bare.generate("C6"))
    print("\nPERF", OLD, merged, analyze, out, p["beneficiaries"])

import time
from datetime import date
import pytest
import sqlalchemy as sa
from tests.payroll.conftest import bare, Office


@pytest.mark.parametrize("merged", [0, 3000])
@pytest.mark.parametrize("analyze", [False, True])
def test_perf(bare, merged, analyze):
    bare.package(unit="person")
    bare.cycle(5)
    bare.cycle(6)
    bare.app.clock.set(date(2021, 1, 1))
    people = [
        {"number": f"P{n}", "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01"}
        for n in range(60000)
    ]
    for i in range(0, 60000, 5000):
        bare.app.do_all("beneficiaries.register_person", people[i : i + 5000])
    bare.app.do_all("payments.enrol_recipient", [{"number": p["number"], "provider": "BANK"} for p in people[:20000]])
    bare.app.clock.set(date(2021, 6, 15))
    if merged:
        with bare.app.database.command(bare.app.system) as (c, _):
            c.execute(
                sa.text(
                    "UPDATE core.persons p SET status='inactive', merged_into = (SELECT min(id) FROM core.persons) WHERE id IN (SELECT id FROM core.persons ORDER BY id DESC LIMIT :n)"
                ),
                {"n": merged},
            )
    out = []

    def t(name, f):
        s = time.time()
        r = f()
        out.append(f"{name} {time.time() - s:.2f}")
        return r

    if analyze:
        from sqlalchemy import create_engine
        import imis_core.testing.app as m

        bare.app.database.analyze() if hasattr(bare.app.database, "analyze") else None
    p = t("gen", lambda: bare.generate("C5"))
    t("again", lambda: bare.generate("C5"))
    t("approve", lambda: bare.approve(p))
    t("submit", lambda: bare.app.do("payments.submit", {"payroll": p["id"]}))
    t("gen6", lambda: bare.generate("C6"))
    print("\nPERF", merged, analyze, out, p["beneficiaries"])

import time, sys
from datetime import date
import sqlalchemy as sa
sys.path.insert(0,'/work/main')
from tests.payroll.conftest import *
N=100_000
def test_bench(bare):
    office=bare
    office.package()
    office.cycle(6); office.cycle(7); office.cycle(8)
    app=office.app
    with app.database.command(app.system) as (c,_):
        c.execute(sa.text("INSERT INTO core.persons (number, sex, birth_date, status, registered_on, attributes) SELECT 'P'||i,'F','1980-01-01','active','2020-01-01','{}' FROM generate_series(1,:n) i"),{"n":N})
        c.execute(sa.text("INSERT INTO core.groups (code, kind, status, registered_on, attributes) SELECT 'G'||i,'household','active','2020-01-01','{}' FROM generate_series(1,:n) i"),{"n":N})
        c.execute(sa.text("""INSERT INTO core.memberships ("group", person, kind, relationship, recipient, ordinal, joined_on) SELECT g.id, p.id, 'household','head','primary',1,'2020-01-01' FROM core.groups g JOIN core.persons p ON p.number = 'P'||substr(g.code,2)"""))
    out=[]
    def t(name, f):
        s=time.perf_counter(); r=f(); print(f"{name}: {time.perf_counter()-s:.2f}", flush=True); return r
    def floor():
        # the same rows, plain
        with app.database.command(app.system) as (c,_):
            c.execute(sa.text("CREATE TEMP TABLE src AS SELECT id AS g, nextval('core.entitlements_id_seq') AS id FROM core.groups"))
            s=time.perf_counter()
            c.execute(sa.text("""INSERT INTO core.payrolls (scheme, package, package_version, cycle, currency, state, maker, generated_at) SELECT 'g', 1,1,3,'USD','generated',1,now()"""))
            pid=c.execute(sa.text("select max(id) from core.payrolls")).scalar()
            c.execute(sa.text("""INSERT INTO core.entitlements (id, scheme, package, cycle, "group", source_kind, source, once, audit) SELECT id,'g',1,3,g,'regular',0,false,1 FROM src"""))
            e=time.perf_counter()
            c.execute(sa.text("""INSERT INTO core.entitlement_amounts (payroll, entitlement, package_version, amount_minor, steps) SELECT :p,id,1,1000,'[["base",1000]]' FROM src"""),{"p":pid})
            c.execute(sa.text("""INSERT INTO core.entitlement_states (entitlement, version, state, audit) SELECT id,1,'generated',1 FROM src"""))
            c.execute(sa.text("""INSERT INTO core.entitlement_current (entitlement, payroll, state, version, amount_minor) SELECT id,:p,'generated',1,1000 FROM src"""),{"p":pid})
            print(f"floor {time.perf_counter()-s:.2f} (entitlements only {e-s:.2f})")
    floor()
    p=t("generate", lambda: office.generate("C6"))
    t("again", lambda: office.generate("C6"))
    p7=t("generate C7", lambda: office.generate("C7"))
    t("show", lambda: office.show(p))
    t("approve", lambda: office.approve(p))
    t("page", lambda: app.run("payroll.entitlements", {"payroll": p["id"]}, app.as_user("anna")).__len__())
    t("submit", lambda: app.do("payments.submit", {"payroll": p["id"]}))
    t("reject", lambda: app.do("payroll.reject", {"payroll": p["id"],"reason":"x"}))
    t("moved", lambda: office.generate("C6"))
    t("missed", lambda: app.do("payments.missed", {"scheme":"g","cycles":1}))
    pass

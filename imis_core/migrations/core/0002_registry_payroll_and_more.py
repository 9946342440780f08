"""Registry, employment, payroll, notifications and attachments; what the rooms before them got for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "core_0002"
down_revision = "core_0001"


def upgrade() -> None:
    op.create_table(
        "attachments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("about_noun", sa.Text(), nullable=True),
        sa.Column("about", sa.BigInteger(), nullable=True),
        sa.Column("added_by", sa.BigInteger(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("audit", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(about_noun IS NULL) = (about IS NULL)", name=op.f("ck_attachments_about_whole")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachments")),
        schema="core",
    )
    op.create_index(
        "ix_attachments_about",
        "attachments",
        ["about", "about_noun"],
        unique=False,
        schema="core",
        postgresql_where=sa.text("about IS NOT NULL"),
    )
    op.create_table(
        "cycles_history",
        sa.Column("scheme", sa.Text(), nullable=True),
        sa.Column("package", sa.BigInteger(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("starts", sa.Date(), nullable=True),
        sa.Column("ends", sa.Date(), nullable=True),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("audit", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", "version", name=op.f("pk_cycles_history")),
        schema="core",
    )
    op.create_table(
        "duplicates_history",
        sa.Column("first", sa.BigInteger(), nullable=True),
        sa.Column("second", sa.BigInteger(), nullable=True),
        sa.Column("score", sa.Numeric(precision=5, scale=2), nullable=True),
        sa.Column("reasons", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("found_on", sa.Date(), nullable=True),
        sa.Column("merge", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("audit", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", "version", name=op.f("pk_duplicates_history")),
        schema="core",
    )
    op.create_table(
        "employers_history",
        sa.Column("scheme", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("class", sa.Text(), nullable=True),
        sa.Column("place", sa.BigInteger(), nullable=True),
        sa.Column("registered_on", sa.Date(), nullable=True),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("audit", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", "version", name=op.f("pk_employers_history")),
        schema="core",
    )
    op.create_table(
        "employments_history",
        sa.Column("employer", sa.BigInteger(), nullable=True),
        sa.Column("person", sa.BigInteger(), nullable=True),
        sa.Column("scheme", sa.Text(), nullable=True),
        sa.Column("starts", sa.Date(), nullable=True),
        sa.Column("ends", sa.Date(), nullable=True),
        sa.Column("wage_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("audit", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", "version", name=op.f("pk_employments_history")),
        schema="core",
    )
    op.create_table(
        "merges_history",
        sa.Column("kept", sa.BigInteger(), nullable=True),
        sa.Column("dropped", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("merged_on", sa.Date(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("audit", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", "version", name=op.f("pk_merges_history")),
        schema="core",
    )
    op.create_table(
        "payrolls_history",
        sa.Column("scheme", sa.Text(), nullable=True),
        sa.Column("package", sa.BigInteger(), nullable=True),
        sa.Column("package_version", sa.BigInteger(), nullable=True),
        sa.Column("cycle", sa.BigInteger(), nullable=True),
        sa.Column("place", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("maker", sa.BigInteger(), nullable=True),
        sa.Column("generated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("audit", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", "version", name=op.f("pk_payrolls_history")),
        schema="core",
    )
    op.create_table(
        "registration_periods_history",
        sa.Column("place", sa.BigInteger(), nullable=True),
        sa.Column("starts", sa.Date(), nullable=True),
        sa.Column("ends", sa.Date(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("closed_on", sa.Date(), nullable=True),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("audit", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", "version", name=op.f("pk_registration_periods_history")),
        schema="core",
    )
    op.create_table(
        "registry_imports_history",
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("file", sa.Text(), nullable=True),
        sa.Column("content_hash", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("invalid", sa.Integer(), nullable=True),
        sa.Column("loaded", sa.Integer(), nullable=True),
        sa.Column("maker", sa.BigInteger(), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("approver", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("places", postgresql.ARRAY(sa.BigInteger()), nullable=True),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("audit", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", "version", name=op.f("pk_registry_imports_history")),
        schema="core",
    )
    op.create_table(
        "budgets",
        sa.Column("package", sa.BigInteger(), nullable=False),
        sa.Column("budget_minor", sa.BigInteger(), nullable=True),
        sa.Column("reserved_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("spent_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["package"], ["core.packages.id"], name=op.f("fk_budgets_package")),
        sa.PrimaryKeyConstraint("package", name=op.f("pk_budgets")),
        schema="core",
    )
    op.create_table(
        "cycles",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("package", sa.BigInteger(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("starts", sa.Date(), nullable=False),
        sa.Column("ends", sa.Date(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["package"], ["core.packages.id"], name=op.f("fk_cycles_package")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cycles")),
        sa.UniqueConstraint("scheme", "code", name=op.f("uq_cycles_scheme_code")),
        schema="core",
    )
    op.create_table(
        "employers",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("class", sa.Text(), nullable=True),
        sa.Column("place", sa.BigInteger(), nullable=True),
        sa.Column("registered_on", sa.Date(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["place"], ["core.locations.id"], name=op.f("fk_employers_place")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_employers")),
        sa.UniqueConstraint("code", name=op.f("uq_employers_code")),
        schema="core",
    )
    op.create_index(op.f("ix_employers_place"), "employers", ["place"], unique=False, schema="core")
    op.create_table(
        "registration_periods",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("starts", sa.Date(), nullable=False),
        sa.Column("ends", sa.Date(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("closed_on", sa.Date(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("ends IS NULL OR starts <= ends", name=op.f("ck_registration_periods_order")),
        sa.ForeignKeyConstraint(["place"], ["core.locations.id"], name=op.f("fk_registration_periods_place")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registration_periods")),
        schema="core",
    )
    op.create_index(
        op.f("ix_registration_periods_place"), "registration_periods", ["place"], unique=False, schema="core"
    )
    op.create_index(
        "uq_registration_periods_open",
        "registration_periods",
        ["place"],
        unique=True,
        schema="core",
        postgresql_where=sa.text("state <> 'closed'"),
    )
    op.create_table(
        "registry_imports",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("invalid", sa.Integer(), nullable=False),
        sa.Column("loaded", sa.Integer(), nullable=True),
        sa.Column("maker", sa.BigInteger(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approver", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("places", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["approver"], ["core.users.id"], name=op.f("fk_registry_imports_approver")),
        sa.ForeignKeyConstraint(["maker"], ["core.users.id"], name=op.f("fk_registry_imports_maker")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registry_imports")),
        sa.UniqueConstraint("content_hash", name=op.f("uq_registry_imports_content_hash")),
        schema="core",
    )
    op.create_table(
        "cash_lists",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source_kind", sa.Text(), nullable=False),
        sa.Column("source", sa.BigInteger(), nullable=False),
        sa.Column("payment_provider", sa.BigInteger(), nullable=False),
        sa.Column("pay_point", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("pdf", sa.BigInteger(), nullable=False),
        sa.Column("xlsx", sa.BigInteger(), nullable=False),
        sa.Column("audit", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["pay_point"], ["core.pay_points.id"], name=op.f("fk_cash_lists_pay_point")),
        sa.ForeignKeyConstraint(
            ["payment_provider"], ["core.payment_providers.id"], name=op.f("fk_cash_lists_payment_provider")
        ),
        sa.ForeignKeyConstraint(["pdf"], ["core.attachments.id"], name=op.f("fk_cash_lists_pdf")),
        sa.ForeignKeyConstraint(["xlsx"], ["core.attachments.id"], name=op.f("fk_cash_lists_xlsx")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cash_lists")),
        sa.UniqueConstraint("digest", name=op.f("uq_cash_lists_digest")),
        schema="core",
    )
    op.create_table(
        "employments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("employer", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.BigInteger(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("starts", sa.Date(), nullable=False),
        sa.Column("ends", sa.Date(), nullable=True),
        sa.Column("wage_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        postgresql.ExcludeConstraint(
            (sa.text("int8range(employer, employer, '[]')"), "&&"),
            (sa.text("int8range(person, person, '[]')"), "&&"),
            (sa.text("daterange(starts, ends, '[]')"), "&&"),
            using="gist",
        ),
        sa.CheckConstraint("ends IS NULL OR starts <= ends", name=op.f("ck_employments_order")),
        sa.ForeignKeyConstraint(["employer"], ["core.employers.id"], name=op.f("fk_employments_employer")),
        sa.ForeignKeyConstraint(["person"], ["core.persons.id"], name=op.f("fk_employments_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_employments")),
        schema="core",
    )
    op.create_index(op.f("ix_employments_employer"), "employments", ["employer"], unique=False, schema="core")
    op.create_index(op.f("ix_employments_person"), "employments", ["person"], unique=False, schema="core")
    op.create_table(
        "entitlements",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("package", sa.BigInteger(), nullable=False),
        sa.Column("cycle", sa.BigInteger(), nullable=False),
        sa.Column("group", sa.BigInteger(), nullable=True),
        sa.Column("person", sa.BigInteger(), nullable=True),
        sa.Column("place", sa.BigInteger(), nullable=True),
        sa.Column("source_kind", sa.Text(), nullable=False),
        sa.Column("source", sa.BigInteger(), nullable=False),
        sa.Column("once", sa.Boolean(), nullable=False),
        sa.Column("audit", sa.BigInteger(), nullable=False),
        sa.CheckConstraint('("group" IS NULL) <> (person IS NULL)', name=op.f("ck_entitlements_one_beneficiary")),
        sa.ForeignKeyConstraint(["cycle"], ["core.cycles.id"], name=op.f("fk_entitlements_cycle")),
        sa.ForeignKeyConstraint(["group"], ["core.groups.id"], name=op.f("fk_entitlements_group")),
        sa.ForeignKeyConstraint(["package"], ["core.packages.id"], name=op.f("fk_entitlements_package")),
        sa.ForeignKeyConstraint(["person"], ["core.persons.id"], name=op.f("fk_entitlements_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entitlements")),
        sa.UniqueConstraint(
            "package",
            "cycle",
            "group",
            "person",
            "source_kind",
            "source",
            name="uq_entitlements_beneficiary",
            postgresql_nulls_not_distinct=True,
        ),
        schema="core",
    )
    op.create_index(
        "ix_entitlements_source",
        "entitlements",
        ["source"],
        unique=False,
        schema="core",
        postgresql_where=sa.text("source <> 0"),
    )
    op.create_index(
        "uq_entitlements_once",
        "entitlements",
        ["package", "source_kind", "source"],
        unique=True,
        schema="core",
        postgresql_where=sa.text("once"),
    )
    op.create_index(
        "uq_entitlements_source",
        "entitlements",
        ["package", "cycle", "source_kind", "source"],
        unique=True,
        schema="core",
        postgresql_where=sa.text("source <> 0 AND NOT once"),
    )
    op.create_table(
        "exclusions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("group", sa.BigInteger(), nullable=True),
        sa.Column("person", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("excluded_on", sa.Date(), nullable=False),
        sa.Column("audit", sa.BigInteger(), nullable=False),
        sa.CheckConstraint('("group" IS NULL) <> (person IS NULL)', name=op.f("ck_exclusions_one_holder")),
        sa.ForeignKeyConstraint(["group"], ["core.groups.id"], name=op.f("fk_exclusions_group")),
        sa.ForeignKeyConstraint(["person"], ["core.persons.id"], name=op.f("fk_exclusions_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exclusions")),
        sa.UniqueConstraint("group", name=op.f("uq_exclusions_group")),
        sa.UniqueConstraint("person", name=op.f("uq_exclusions_person")),
        schema="core",
    )
    op.create_table(
        "merges",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kept", sa.BigInteger(), nullable=False),
        sa.Column("dropped", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("merged_on", sa.Date(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("undo", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["dropped"], ["core.persons.id"], name=op.f("fk_merges_dropped")),
        sa.ForeignKeyConstraint(["kept"], ["core.persons.id"], name=op.f("fk_merges_kept")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merges")),
        schema="core",
    )
    op.create_index(op.f("ix_merges_dropped"), "merges", ["dropped"], unique=False, schema="core")
    op.create_index(op.f("ix_merges_kept"), "merges", ["kept"], unique=False, schema="core")
    op.create_table(
        "notifications",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("person", sa.BigInteger(), nullable=True),
        sa.Column("user", sa.BigInteger(), nullable=True),
        sa.Column("to", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("about_noun", sa.Text(), nullable=True),
        sa.Column("about", sa.BigInteger(), nullable=True),
        sa.Column("queued_by", sa.BigInteger(), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("audit", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(about_noun IS NULL) = (about IS NULL)", name=op.f("ck_notifications_about_whole")),
        sa.CheckConstraint('num_nonnulls(person, "user", "to") = 1', name=op.f("ck_notifications_one_recipient")),
        sa.ForeignKeyConstraint(["person"], ["core.persons.id"], name=op.f("fk_notifications_person")),
        sa.ForeignKeyConstraint(["user"], ["core.users.id"], name=op.f("fk_notifications_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        schema="core",
    )
    op.create_index(
        "ix_notifications_about",
        "notifications",
        ["about", "about_noun"],
        unique=False,
        schema="core",
        postgresql_where=sa.text("about IS NOT NULL"),
    )
    op.create_table(
        "payrolls",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("package", sa.BigInteger(), nullable=False),
        sa.Column("package_version", sa.BigInteger(), nullable=False),
        sa.Column("cycle", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("maker", sa.BigInteger(), nullable=False),
        sa.Column("generated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["cycle"], ["core.cycles.id"], name=op.f("fk_payrolls_cycle")),
        sa.ForeignKeyConstraint(["package"], ["core.packages.id"], name=op.f("fk_payrolls_package")),
        sa.ForeignKeyConstraint(
            ["package_version"], ["core.package_versions.id"], name=op.f("fk_payrolls_package_version")
        ),
        sa.ForeignKeyConstraint(["place"], ["core.locations.id"], name=op.f("fk_payrolls_place")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payrolls")),
        schema="core",
    )
    op.create_index(op.f("ix_payrolls_cycle"), "payrolls", ["cycle"], unique=False, schema="core")
    op.create_table(
        "registry_import_rows",
        sa.Column("import", sa.BigInteger(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("errors", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("person", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["import"], ["core.registry_imports.id"], name=op.f("fk_registry_import_rows_import")),
        sa.ForeignKeyConstraint(["person"], ["core.persons.id"], name=op.f("fk_registry_import_rows_person")),
        sa.PrimaryKeyConstraint("import", "row", name=op.f("pk_registry_import_rows")),
        schema="core",
    )
    op.create_table(
        "wage_declarations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("employer", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.BigInteger(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("wage_minor", sa.BigInteger(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=True),
        sa.Column("class", sa.Text(), nullable=True),
        sa.Column("package_version", sa.BigInteger(), nullable=True),
        sa.Column("employee_minor", sa.BigInteger(), nullable=False),
        sa.Column("employer_minor", sa.BigInteger(), nullable=False),
        sa.Column("state_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("replaces", sa.BigInteger(), nullable=True),
        sa.Column("declared_on", sa.Date(), nullable=False),
        sa.Column("audit", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("month = date_trunc('month', month)::date", name=op.f("ck_wage_declarations_month")),
        sa.ForeignKeyConstraint(["employer"], ["core.employers.id"], name=op.f("fk_wage_declarations_employer")),
        sa.ForeignKeyConstraint(
            ["package_version"], ["core.package_versions.id"], name=op.f("fk_wage_declarations_package_version")
        ),
        sa.ForeignKeyConstraint(["person"], ["core.persons.id"], name=op.f("fk_wage_declarations_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wage_declarations")),
        schema="core",
    )
    op.create_index("ix_wage_declarations_audit", "wage_declarations", ["audit"], unique=False, schema="core")
    op.create_index(
        op.f("ix_wage_declarations_package_version"),
        "wage_declarations",
        ["package_version"],
        unique=False,
        schema="core",
    )
    op.create_table(
        "duplicates",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("second", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.Numeric(precision=5, scale=2), nullable=False),
        sa.Column("reasons", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("found_on", sa.Date(), nullable=False),
        sa.Column("merge", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint('"first" < "second"', name=op.f("ck_duplicates_order")),
        sa.ForeignKeyConstraint(["first"], ["core.persons.id"], name=op.f("fk_duplicates_first")),
        sa.ForeignKeyConstraint(["merge"], ["core.merges.id"], name=op.f("fk_duplicates_merge")),
        sa.ForeignKeyConstraint(["second"], ["core.persons.id"], name=op.f("fk_duplicates_second")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_duplicates")),
        sa.UniqueConstraint("first", "second", name=op.f("uq_duplicates_first_second")),
        schema="core",
    )
    op.create_index(op.f("ix_duplicates_merge"), "duplicates", ["merge"], unique=False, schema="core")
    op.create_index(op.f("ix_duplicates_second"), "duplicates", ["second"], unique=False, schema="core")
    op.create_table(
        "entitlement_amounts",
        sa.Column("payroll", sa.BigInteger(), nullable=False),
        sa.Column("entitlement", sa.BigInteger(), nullable=False),
        sa.Column("package_version", sa.BigInteger(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("steps", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["entitlement"], ["core.entitlements.id"], name=op.f("fk_entitlement_amounts_entitlement")
        ),
        sa.ForeignKeyConstraint(["payroll"], ["core.payrolls.id"], name=op.f("fk_entitlement_amounts_payroll")),
        sa.PrimaryKeyConstraint("payroll", "entitlement", name=op.f("pk_entitlement_amounts")),
        schema="core",
    )
    op.create_table(
        "entitlement_arrears",
        sa.Column("cycle", sa.BigInteger(), nullable=False),
        sa.Column("entitlement", sa.BigInteger(), nullable=False),
        sa.Column("payroll", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["cycle"], ["core.cycles.id"], name=op.f("fk_entitlement_arrears_cycle")),
        sa.ForeignKeyConstraint(
            ["entitlement"], ["core.entitlements.id"], name=op.f("fk_entitlement_arrears_entitlement")
        ),
        sa.ForeignKeyConstraint(["payroll"], ["core.payrolls.id"], name=op.f("fk_entitlement_arrears_payroll")),
        sa.PrimaryKeyConstraint("cycle", "entitlement", "payroll", name=op.f("pk_entitlement_arrears")),
        schema="core",
    )
    op.create_table(
        "entitlement_current",
        sa.Column("entitlement", sa.BigInteger(), nullable=False),
        sa.Column("payroll", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("free", sa.Boolean(), server_default="false", nullable=False),
        sa.ForeignKeyConstraint(
            ["entitlement"], ["core.entitlements.id"], name=op.f("fk_entitlement_current_entitlement")
        ),
        sa.ForeignKeyConstraint(["payroll"], ["core.payrolls.id"], name=op.f("fk_entitlement_current_payroll")),
        sa.PrimaryKeyConstraint("entitlement", name=op.f("pk_entitlement_current")),
        schema="core",
    )
    op.create_index(
        "ix_entitlement_current_open",
        "entitlement_current",
        ["payroll"],
        unique=False,
        schema="core",
        postgresql_where=sa.text("state IN ('generated', 'awaiting_approval', 'approved', 'held')"),
    )
    op.create_table(
        "entitlement_states",
        sa.Column("entitlement", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("audit", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["entitlement"], ["core.entitlements.id"], name=op.f("fk_entitlement_states_entitlement")
        ),
        sa.PrimaryKeyConstraint("entitlement", "version", name=op.f("pk_entitlement_states")),
        schema="core",
    )
    op.create_table(
        "notification_current",
        sa.Column("notification", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["notification"], ["core.notifications.id"], name=op.f("fk_notification_current_notification")
        ),
        sa.PrimaryKeyConstraint("notification", name=op.f("pk_notification_current")),
        schema="core",
    )
    op.create_index(
        "ix_notification_current_queued",
        "notification_current",
        ["notification"],
        unique=False,
        schema="core",
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_table(
        "notification_states",
        sa.Column("notification", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("notifier", sa.Text(), nullable=True),
        sa.Column("audit", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["notification"], ["core.notifications.id"], name=op.f("fk_notification_states_notification")
        ),
        sa.PrimaryKeyConstraint("notification", "version", name=op.f("pk_notification_states")),
        schema="core",
    )
    op.create_table(
        "wages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("employer", sa.BigInteger(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("person", sa.BigInteger(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("declaration", sa.BigInteger(), nullable=False),
        sa.Column("wage_minor", sa.BigInteger(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=True),
        sa.Column("employee_minor", sa.BigInteger(), nullable=False),
        sa.Column("employer_minor", sa.BigInteger(), nullable=False),
        sa.Column("state_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["declaration"], ["core.wage_declarations.id"], name=op.f("fk_wages_declaration")),
        sa.ForeignKeyConstraint(["employer"], ["core.employers.id"], name=op.f("fk_wages_employer")),
        sa.ForeignKeyConstraint(["person"], ["core.persons.id"], name=op.f("fk_wages_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wages")),
        sa.UniqueConstraint(
            "employer", "month", "person", "scheme", name=op.f("uq_wages_employer_month_person_scheme")
        ),
        schema="core",
    )
    op.create_index("ix_wages_person_month", "wages", ["person", "month"], unique=False, schema="core")
    op.add_column(
        "approvals", sa.Column("change", sa.Boolean(), server_default=sa.text("false"), nullable=False), schema="core"
    )
    op.add_column("approvals", sa.Column("asked_because", sa.Text(), nullable=True), schema="core")
    op.add_column("approvals", sa.Column("places", sa.ARRAY(sa.BigInteger()), nullable=True), schema="core")
    op.add_column("approvals_history", sa.Column("change", sa.Boolean(), nullable=True), schema="core")
    op.add_column("approvals_history", sa.Column("asked_because", sa.Text(), nullable=True), schema="core")
    op.add_column("approvals_history", sa.Column("places", sa.ARRAY(sa.BigInteger()), nullable=True), schema="core")
    op.add_column("order_current", sa.Column("recipient", sa.BigInteger(), nullable=True), schema="core")
    op.create_foreign_key(
        op.f("fk_order_current_recipient"),
        "order_current",
        "recipients",
        ["recipient"],
        ["id"],
        source_schema="core",
        referent_schema="core",
    )
    op.create_index(
        "ix_orders_retries",
        "orders",
        ["retries"],
        unique=False,
        schema="core",
        postgresql_where=sa.text("retries IS NOT NULL"),
    )
    op.add_column("persons", sa.Column("merged_into", sa.BigInteger(), nullable=True), schema="core")
    op.create_index(
        "ix_persons_merged_into",
        "persons",
        ["merged_into"],
        unique=False,
        schema="core",
        postgresql_where=sa.text("merged_into IS NOT NULL"),
    )
    op.create_foreign_key(
        op.f("fk_persons_merged_into"),
        "persons",
        "persons",
        ["merged_into"],
        ["id"],
        source_schema="core",
        referent_schema="core",
    )
    op.add_column("persons_history", sa.Column("merged_into", sa.BigInteger(), nullable=True), schema="core")
    op.add_column("reconciliation_rows", sa.Column("file", sa.Text(), nullable=True), schema="core")
    # Rows that came before this revision were not numbered.
    op.add_column(
        "reconciliation_rows", sa.Column("row", sa.Integer(), nullable=False, server_default="0"), schema="core"
    )
    op.alter_column("reconciliation_rows", "row", server_default=None, schema="core")
    op.create_index(
        op.f("ix_reconciliation_rows_payment_provider_id"),
        "reconciliation_rows",
        ["payment_provider", "id"],
        unique=False,
        schema="core",
    )
    op.execute("ALTER TABLE core.duplicates_history ENABLE ROW LEVEL SECURITY")
    op.execute(
        'CREATE POLICY scope ON core.duplicates_history USING ((SELECT core.scope_is_all()) OR (EXISTS (SELECT FROM core.persons p WHERE p.id = "first") AND EXISTS (SELECT FROM core.persons p WHERE p.id = "second"))) WITH CHECK ((SELECT core.scope_is_all()) OR (EXISTS (SELECT FROM core.persons p WHERE p.id = "first") AND EXISTS (SELECT FROM core.persons p WHERE p.id = "second")))'
    )
    op.execute("ALTER TABLE core.employers_history ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.employers_history USING ((SELECT core.scope_is_all()) OR place = ANY ((SELECT core.scope_places())::bigint[])) WITH CHECK ((SELECT core.scope_is_all()) OR place = ANY ((SELECT core.scope_places())::bigint[]))"
    )
    op.execute("ALTER TABLE core.employments_history ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.employments_history USING ((SELECT core.scope_is_all()) OR EXISTS (SELECT FROM core.employers e WHERE e.id = employer) OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)) WITH CHECK ((SELECT core.scope_is_all()) OR EXISTS (SELECT FROM core.employers e WHERE e.id = employer) OR EXISTS (SELECT FROM core.persons p WHERE p.id = person))"
    )
    op.execute("ALTER TABLE core.merges_history ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.merges_history USING ((SELECT core.scope_is_all()) OR (EXISTS (SELECT FROM core.persons p WHERE p.id = kept) AND EXISTS (SELECT FROM core.persons p WHERE p.id = dropped))) WITH CHECK ((SELECT core.scope_is_all()) OR (EXISTS (SELECT FROM core.persons p WHERE p.id = kept) AND EXISTS (SELECT FROM core.persons p WHERE p.id = dropped)))"
    )
    op.execute("ALTER TABLE core.payrolls_history ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.payrolls_history USING ((SELECT core.scope_is_all()) OR place = ANY ((SELECT core.scope_places())::bigint[])) WITH CHECK ((SELECT core.scope_is_all()) OR place = ANY ((SELECT core.scope_places())::bigint[]))"
    )
    op.execute("ALTER TABLE core.registry_imports_history ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.registry_imports_history USING ((SELECT core.scope_is_all()) OR (places <> '{}' AND places <@ (SELECT core.scope_places())::bigint[])) WITH CHECK ((SELECT core.scope_is_all()) OR (places <> '{}' AND places <@ (SELECT core.scope_places())::bigint[]))"
    )
    op.execute(
        'CREATE TRIGGER history_insert AFTER INSERT ON core.cycles REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"scheme", "package", "code", "starts", "ends", "id", "version"\')'
    )
    op.execute(
        'CREATE TRIGGER history_update AFTER UPDATE ON core.cycles REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"scheme", "package", "code", "starts", "ends", "id", "version"\')'
    )
    op.execute(
        "CREATE TRIGGER next_version BEFORE UPDATE ON core.cycles FOR EACH ROW EXECUTE FUNCTION core.next_version()"
    )
    op.execute(
        'CREATE TRIGGER history_insert AFTER INSERT ON core.employers REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"scheme", "code", "name", "class", "place", "registered_on", "id", "version"\')'
    )
    op.execute(
        'CREATE TRIGGER history_update AFTER UPDATE ON core.employers REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"scheme", "code", "name", "class", "place", "registered_on", "id", "version"\')'
    )
    op.execute(
        "CREATE TRIGGER next_version BEFORE UPDATE ON core.employers FOR EACH ROW EXECUTE FUNCTION core.next_version()"
    )
    op.execute("ALTER TABLE core.employers ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.employers USING ((SELECT core.scope_is_all()) OR place = ANY ((SELECT core.scope_places())::bigint[])) WITH CHECK ((SELECT core.scope_is_all()) OR place = ANY ((SELECT core.scope_places())::bigint[]))"
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_insert AFTER INSERT ON core.employers REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"scheme", "code", "name", "class", "place", "registered_on", "id", "version"\')'
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_update AFTER UPDATE ON core.employers REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"scheme", "code", "name", "class", "place", "registered_on", "id", "version"\')'
    )
    op.execute(
        'CREATE TRIGGER history_insert AFTER INSERT ON core.registration_periods REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"place", "starts", "ends", "state", "closed_on", "id", "version"\')'
    )
    op.execute(
        'CREATE TRIGGER history_update AFTER UPDATE ON core.registration_periods REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"place", "starts", "ends", "state", "closed_on", "id", "version"\')'
    )
    op.execute(
        "CREATE TRIGGER next_version BEFORE UPDATE ON core.registration_periods FOR EACH ROW EXECUTE FUNCTION core.next_version()"
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_insert AFTER INSERT ON core.registration_periods REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"place", "starts", "ends", "state", "closed_on", "id", "version"\')'
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_update AFTER UPDATE ON core.registration_periods REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"place", "starts", "ends", "state", "closed_on", "id", "version"\')'
    )
    op.execute(
        'CREATE TRIGGER history_insert AFTER INSERT ON core.registry_imports REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"kind", "file", "content_hash", "state", "total", "invalid", "loaded", "maker", "requested_at", "approver", "reason", "places", "id", "version"\')'
    )
    op.execute(
        'CREATE TRIGGER history_update AFTER UPDATE ON core.registry_imports REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"kind", "file", "content_hash", "state", "total", "invalid", "loaded", "maker", "requested_at", "approver", "reason", "places", "id", "version"\')'
    )
    op.execute(
        "CREATE TRIGGER next_version BEFORE UPDATE ON core.registry_imports FOR EACH ROW EXECUTE FUNCTION core.next_version()"
    )
    op.execute("ALTER TABLE core.registry_imports ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.registry_imports USING ((SELECT core.scope_is_all()) OR (places <> '{}' AND places <@ (SELECT core.scope_places())::bigint[])) WITH CHECK ((SELECT core.scope_is_all()) OR (places <> '{}' AND places <@ (SELECT core.scope_places())::bigint[]))"
    )
    op.execute(
        'CREATE TRIGGER history_insert AFTER INSERT ON core.employments REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"employer", "person", "scheme", "starts", "ends", "wage_minor", "currency", "id", "version"\')'
    )
    op.execute(
        'CREATE TRIGGER history_update AFTER UPDATE ON core.employments REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"employer", "person", "scheme", "starts", "ends", "wage_minor", "currency", "id", "version"\')'
    )
    op.execute(
        "CREATE TRIGGER next_version BEFORE UPDATE ON core.employments FOR EACH ROW EXECUTE FUNCTION core.next_version()"
    )
    op.execute("ALTER TABLE core.employments ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.employments USING ((SELECT core.scope_is_all()) OR EXISTS (SELECT FROM core.employers e WHERE e.id = employer) OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)) WITH CHECK ((SELECT core.scope_is_all()) OR EXISTS (SELECT FROM core.employers e WHERE e.id = employer) OR EXISTS (SELECT FROM core.persons p WHERE p.id = person))"
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_insert AFTER INSERT ON core.employments REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"employer", "person", "scheme", "starts", "ends", "wage_minor", "currency", "id", "version"\')'
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_update AFTER UPDATE ON core.employments REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"employer", "person", "scheme", "starts", "ends", "wage_minor", "currency", "id", "version"\')'
    )
    op.execute("ALTER TABLE core.entitlements ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.entitlements USING ((SELECT core.scope_is_all()) OR place = ANY ((SELECT core.scope_places())::bigint[])) WITH CHECK ((SELECT core.scope_is_all()) OR place = ANY ((SELECT core.scope_places())::bigint[]))"
    )
    op.execute("ALTER TABLE core.exclusions ENABLE ROW LEVEL SECURITY")
    op.execute(
        'CREATE POLICY scope ON core.exclusions USING ((SELECT core.scope_is_all()) OR EXISTS (SELECT FROM core.groups g WHERE g.id = "group") OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)) WITH CHECK ((SELECT core.scope_is_all()) OR EXISTS (SELECT FROM core.groups g WHERE g.id = "group") OR EXISTS (SELECT FROM core.persons p WHERE p.id = person))'
    )
    op.execute(
        'CREATE TRIGGER history_insert AFTER INSERT ON core.merges REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"kept", "dropped", "state", "merged_on", "reason", "id", "version"\')'
    )
    op.execute(
        'CREATE TRIGGER history_update AFTER UPDATE ON core.merges REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"kept", "dropped", "state", "merged_on", "reason", "id", "version"\')'
    )
    op.execute(
        "CREATE TRIGGER next_version BEFORE UPDATE ON core.merges FOR EACH ROW EXECUTE FUNCTION core.next_version()"
    )
    op.execute("ALTER TABLE core.merges ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.merges USING ((SELECT core.scope_is_all()) OR (EXISTS (SELECT FROM core.persons p WHERE p.id = kept) AND EXISTS (SELECT FROM core.persons p WHERE p.id = dropped))) WITH CHECK ((SELECT core.scope_is_all()) OR (EXISTS (SELECT FROM core.persons p WHERE p.id = kept) AND EXISTS (SELECT FROM core.persons p WHERE p.id = dropped)))"
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_insert AFTER INSERT ON core.merges REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"kept", "dropped", "state", "merged_on", "reason", "id", "version"\')'
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_update AFTER UPDATE ON core.merges REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"kept", "dropped", "state", "merged_on", "reason", "id", "version"\')'
    )
    op.execute("ALTER TABLE core.notifications ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.notifications USING ((SELECT core.scope_is_all()) OR person IS NULL OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)) WITH CHECK ((SELECT core.scope_is_all()) OR person IS NULL OR EXISTS (SELECT FROM core.persons p WHERE p.id = person))"
    )
    op.execute(
        'CREATE TRIGGER history_insert AFTER INSERT ON core.payrolls REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"scheme", "package", "package_version", "cycle", "place", "currency", "state", "reason", "maker", "generated_at", "id", "version"\')'
    )
    op.execute(
        'CREATE TRIGGER history_update AFTER UPDATE ON core.payrolls REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"scheme", "package", "package_version", "cycle", "place", "currency", "state", "reason", "maker", "generated_at", "id", "version"\')'
    )
    op.execute(
        "CREATE TRIGGER next_version BEFORE UPDATE ON core.payrolls FOR EACH ROW EXECUTE FUNCTION core.next_version()"
    )
    op.execute("ALTER TABLE core.payrolls ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.payrolls USING ((SELECT core.scope_is_all()) OR place = ANY ((SELECT core.scope_places())::bigint[])) WITH CHECK ((SELECT core.scope_is_all()) OR place = ANY ((SELECT core.scope_places())::bigint[]))"
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_insert AFTER INSERT ON core.payrolls REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"scheme", "package", "package_version", "cycle", "place", "currency", "state", "reason", "maker", "generated_at", "id", "version"\')'
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_update AFTER UPDATE ON core.payrolls REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"scheme", "package", "package_version", "cycle", "place", "currency", "state", "reason", "maker", "generated_at", "id", "version"\')'
    )
    op.execute("ALTER TABLE core.registry_import_rows ENABLE ROW LEVEL SECURITY")
    op.execute(
        'CREATE POLICY scope ON core.registry_import_rows USING ((SELECT core.scope_is_all()) OR EXISTS (SELECT FROM core.registry_imports i WHERE i.id = "import")) WITH CHECK ((SELECT core.scope_is_all()) OR EXISTS (SELECT FROM core.registry_imports i WHERE i.id = "import"))'
    )
    op.execute("ALTER TABLE core.wage_declarations ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.wage_declarations USING ((SELECT core.scope_is_all()) OR EXISTS (SELECT FROM core.employers e WHERE e.id = employer) OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)) WITH CHECK ((SELECT core.scope_is_all()) OR EXISTS (SELECT FROM core.employers e WHERE e.id = employer) OR EXISTS (SELECT FROM core.persons p WHERE p.id = person))"
    )
    op.execute(
        'CREATE TRIGGER history_insert AFTER INSERT ON core.duplicates REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"first", "second", "score", "reasons", "state", "found_on", "merge", "reason", "id", "version"\')'
    )
    op.execute(
        'CREATE TRIGGER history_update AFTER UPDATE ON core.duplicates REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"first", "second", "score", "reasons", "state", "found_on", "merge", "reason", "id", "version"\')'
    )
    op.execute(
        "CREATE TRIGGER next_version BEFORE UPDATE ON core.duplicates FOR EACH ROW EXECUTE FUNCTION core.next_version()"
    )
    op.execute("ALTER TABLE core.duplicates ENABLE ROW LEVEL SECURITY")
    op.execute(
        'CREATE POLICY scope ON core.duplicates USING ((SELECT core.scope_is_all()) OR (EXISTS (SELECT FROM core.persons p WHERE p.id = "first") AND EXISTS (SELECT FROM core.persons p WHERE p.id = "second"))) WITH CHECK ((SELECT core.scope_is_all()) OR (EXISTS (SELECT FROM core.persons p WHERE p.id = "first") AND EXISTS (SELECT FROM core.persons p WHERE p.id = "second")))'
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_insert AFTER INSERT ON core.duplicates REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"first", "second", "score", "reasons", "state", "found_on", "merge", "reason", "id", "version"\')'
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_update AFTER UPDATE ON core.duplicates REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"first", "second", "score", "reasons", "state", "found_on", "merge", "reason", "id", "version"\')'
    )
    op.execute("ALTER TABLE core.wages ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.wages USING ((SELECT core.scope_is_all()) OR EXISTS (SELECT FROM core.employers e WHERE e.id = employer) OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)) WITH CHECK ((SELECT core.scope_is_all()) OR EXISTS (SELECT FROM core.employers e WHERE e.id = employer) OR EXISTS (SELECT FROM core.persons p WHERE p.id = person))"
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_insert AFTER INSERT ON core.approvals REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"command", "single", "business_date", "maker", "requested_at", "expires_at", "state", "approvers", "reason", "error", "change", "asked_because", "places", "id", "version"\')'
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_update AFTER UPDATE ON core.approvals REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"command", "single", "business_date", "maker", "requested_at", "expires_at", "state", "approvers", "reason", "error", "change", "asked_because", "places", "id", "version"\')'
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_insert AFTER INSERT ON core.persons REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"number", "given_name", "family_name", "sex", "birth_date", "death_date", "status", "place", "registered_on", "attributes", "merged_into", "id", "version"\')'
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_update AFTER UPDATE ON core.persons REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"number", "given_name", "family_name", "sex", "birth_date", "death_date", "status", "place", "registered_on", "attributes", "merged_into", "id", "version"\')'
    )
    op.execute("ALTER TABLE core.recipients_history ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.recipients_history USING ((SELECT core.scope_is_all()) OR provider = ANY ((SELECT core.scope_providers())::bigint[]) OR EXISTS (SELECT FROM core.providers f WHERE f.id = provider AND f.location = ANY ((SELECT core.scope_places())::bigint[])) OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)) WITH CHECK ((SELECT core.scope_is_all()) OR provider = ANY ((SELECT core.scope_providers())::bigint[]) OR EXISTS (SELECT FROM core.providers f WHERE f.id = provider AND f.location = ANY ((SELECT core.scope_places())::bigint[])) OR EXISTS (SELECT FROM core.persons p WHERE p.id = person))"
    )
    op.execute("ALTER TABLE core.recipients ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY scope ON core.recipients USING ((SELECT core.scope_is_all()) OR provider = ANY ((SELECT core.scope_providers())::bigint[]) OR EXISTS (SELECT FROM core.providers f WHERE f.id = provider AND f.location = ANY ((SELECT core.scope_places())::bigint[])) OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)) WITH CHECK ((SELECT core.scope_is_all()) OR provider = ANY ((SELECT core.scope_providers())::bigint[]) OR EXISTS (SELECT FROM core.providers f WHERE f.id = provider AND f.location = ANY ((SELECT core.scope_places())::bigint[])) OR EXISTS (SELECT FROM core.persons p WHERE p.id = person))"
    )

"""The plugin's own tables: categories, grievances with their comments, and whom the escalation has told.

A grievance belongs to the place of its subject (a person's, a group's, a facility's), which is frozen when it is
opened; one without a place is seen by whoever opened or owns it and by scope `all`. It is owned by a user, or by all
who have a role.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, UniqueConstraint

from imis_core.api import (
    claims,
    day,
    declare_personal,
    edited,
    groups,
    identity,
    instant,
    locations,
    mass,
    orders,
    persons,
    plugin_metadata,
    providers,
    reference,
    text,
)

SCHEMA: Final = "grievance"
SENSITIVE: Final = "grievances.sensitive"  # the permission to see grievances of sensitive categories
metadata: Final = plugin_metadata(SCHEMA)


def _kernel(name: str, table: Table) -> Column[int]:
    return Column(name, sa.BigInteger, ForeignKey(table.c.id), nullable=True)


grievance_categories = edited(
    "grievance_categories",
    metadata,
    identity(),
    text("code"),
    text("name"),
    Column("days", sa.Integer, nullable=False),  # time limit
    text("sensitivity"),  # standard | sensitive
    Column("holds_payment", sa.Boolean, nullable=False),
    # Payrolls that are approved while a grievance is open hold what its beneficiary is owed.
    Column("holds_next_payments", sa.Boolean, nullable=False, server_default="false"),
    UniqueConstraint("code"),
    noun="grievance_categories",
)


def _scope(table: Any, caller: Any) -> sa.ColumnElement[bool]:
    """By the place of the subject; what is sensitive only with the permission, or as its owner."""
    column = table.c
    owner = sa.or_(column.owner == caller.user, column.owner_role.in_(caller.roles))
    own = sa.or_(column.opened_by == caller.user, owner)
    placeless = sa.and_(column.place.is_(None), column.provider.is_(None))
    seen: sa.ColumnElement[bool] = sa.or_(
        caller.sees_place(column.place), caller.sees_provider(column.provider), sa.and_(placeless, own)
    )
    if caller.may(SENSITIVE):
        return seen
    standard = sa.select(grievance_categories.c.id).where(grievance_categories.c.sensitivity == "standard")
    return sa.and_(seen, sa.or_(column.category.in_(standard), owner))


grievances = edited(
    "grievances",
    metadata,
    identity(),
    text("code"),
    text("scheme", nullable=True),
    reference("category", f"{SCHEMA}.grievance_categories"),
    Column("days", sa.Integer, nullable=False),  # the category's, frozen: what was promised stays promised
    text("status"),
    text("channel"),
    text("priority"),
    text("description"),
    # Of an anonymous grievance neither is ever written.
    text("reporter", nullable=True),
    _kernel("reporter_person", persons),
    Column("anonymous", sa.Boolean, nullable=False),
    # The subject: at most one of the five.
    _kernel("order", orders),
    _kernel("person", persons),
    _kernel("group", groups),
    _kernel("claim", claims),
    text("staff", nullable=True),
    _kernel("place", locations),
    _kernel("provider", providers),
    day("opened_on"),
    Column("opened_by", sa.BigInteger, nullable=False),
    day("due"),
    Column("owner", sa.BigInteger, nullable=True),  # a user
    text("owner_role", nullable=True),  # or everybody who has this role
    text("decision", nullable=True),
    day("resolved_on", nullable=True),
    UniqueConstraint("code"),
    CheckConstraint('num_nonnulls("order", person, "group", claim, staff) <= 1', name="one_subject"),
    CheckConstraint("owner IS NULL OR owner_role IS NULL", name="one_owner"),
    CheckConstraint("NOT anonymous OR (reporter IS NULL AND reporter_person IS NULL)", name="anonymous"),
    Index("ix_grievances_due", "due", postgresql_where=sa.text("status NOT IN ('resolved', 'closed')")),
    Index("ix_grievances_place", "place"),
    # A merge looks for the grievances of the person who is dropped.
    Index("ix_grievances_person", "person", postgresql_where=sa.text("person IS NOT NULL")),
    Index("ix_grievances_reporter_person", "reporter_person", postgresql_where=sa.text("reporter_person IS NOT NULL")),
    Index("ix_grievances_order", "order", postgresql_where=sa.text('"order" IS NOT NULL')),
    noun="grievances",
    scope=_scope,
    # Users and permissions are no part of row security's scope: it walls places and providers, the scope the rest.
    row_security=(
        "(SELECT core.scope_is_all()) OR (place IS NULL AND provider IS NULL)"
        " OR place = ANY ((SELECT core.scope_places())::bigint[])"
        " OR provider = ANY ((SELECT core.scope_providers())::bigint[])"
        " OR EXISTS (SELECT FROM core.providers f WHERE f.id = provider"
        " AND f.location = ANY ((SELECT core.scope_places())::bigint[]))"
    ),
)

# Comments, and what was said with a move, a decision, an appeal; `note`: what the plugin itself has to tell.
grievance_comments = mass(
    "grievance_comments",
    metadata,
    identity(),
    reference("grievance", f"{SCHEMA}.grievances", index=True),
    text("kind"),  # comment | move | decision | close | reopen | appeal | note
    text("text"),
    Column("by", sa.BigInteger, nullable=False),
    instant("at"),
    Column("audit", sa.BigInteger, nullable=False),
)

# Orders that grievances keep from being paid; a row goes when its grievance is resolved and the order let go. It has no
# scope, because whoever lets an order go must know of every grievance that keeps it back, and it tells nothing but
# numbers. It counts only as long as the order is in the version in which the grievance left it: whoever moves the order
# afterwards has taken it over.
holds = Table(
    "holds",
    metadata,
    reference("grievance", f"{SCHEMA}.grievances", primary_key=True),
    Column("order", sa.BigInteger, ForeignKey(orders.c.id), nullable=False, index=True),
    Column("version", sa.Integer, nullable=False),  # of the order's state
    # The grievance is decided, but letting the order go was refused: it keeps nobody else from doing so.
    Column("decided", sa.Boolean, nullable=False),
)

# Whom the job has told that time runs out, once for each state of the clock and owner.
escalations = mass(
    "escalations",
    metadata,
    reference("grievance", f"{SCHEMA}.grievances", primary_key=True),
    Column("clock", sa.Text, primary_key=True),  # at_risk | breached
    Column("owner", sa.BigInteger, primary_key=True),
    day("told_on"),
)

declare_personal(
    metadata,
    """
    escalations: | clock
    grievance_categories: | code name sensitivity
    grievance_comments: text=text | kind
    grievances: description=text reporter=name staff=name decision=text | code scheme status channel priority owner_role
    """,
)

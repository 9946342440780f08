"""The verdict in force on the lines of claims, as SQL: that of the last review, else that of the checks.

Every statement that asks whether a line stands, with which quantity or at which price, reads it through here.
"""

from __future__ import annotations

from typing import Final

# Joins `k` (the checks), `t` (where the claim stands) and `v` (the review in force, if there is one).
LINES_IN_FORCE: Final = """
    core.claim_line_checks k JOIN core.claim_current t ON t.claim = k.claim
    LEFT JOIN core.claim_line_reviews v ON v.claim = k.claim AND v.line = k.line AND v.review = t.review
"""
REJECTION: Final = "(CASE WHEN v.claim IS NULL THEN k.rejection ELSE v.rejection END)"
QUANTITY: Final = "coalesce(v.quantity_thousandths, k.quantity_thousandths)"  # approved, in thousandths
REVIEWED_PRICE: Final = "v.price_minor"  # null: the reviewer set none
# The cover that pays: that of the review, if its price made another one pay, with what goes with it.
COVER_KIND: Final = "coalesce(v.cover_kind, k.cover_kind)"
COVER: Final = "coalesce(v.cover, k.cover)"
PACKAGE_VERSION: Final = "coalesce(v.package_version, k.package_version)"
COPAYMENT: Final = "(CASE WHEN v.cover IS NULL THEN k.copayment ELSE v.copayment END)"
MEMBERS: Final = "(CASE WHEN v.cover IS NULL THEN k.members ELSE v.members END)"

"""A claim that a second person must agree to waits, told as FHIR tells it."""

from __future__ import annotations

from typing import Any


def test_a_claim_waits_for_approval(deploy: Any) -> None:
    """202 with the number of the approval; the Claim is there once it is approved."""
    roles = {"checker": {"permissions": ["approvals.*", "claims.*"]}}
    approvals = {"claims.submit": {"roles": ["checker"], "approvers": 1}}
    with deploy(roles=roles, approvals=approvals) as site:
        outcome: Any = site.client.post("Claim", site.world.claim("W-1"), 202)
        assert outcome["issue"][0]["severity"] == "information"
        assert site.client.resources("Claim?identifier=W-1") == []
        [pending] = site.app.do("approvals.pending")
        site.app.as_user("cleo", "checker")
        site.app.do("approvals.approve", {"approval": pending["id"]}, as_="cleo")
        assert len(site.client.resources("Claim?identifier=W-1")) == 1

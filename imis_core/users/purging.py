"""Forgetting logins that ended long ago, and failed ones that do not count any more: a daily job."""

from __future__ import annotations

from attrs import frozen

from imis_core.jobs import Job
from imis_core.security.login import purge_logins


@frozen(kw_only=True)
class NoInput:
    pass


JOBS = (
    Job("users.purge_logins", NoInput, lambda app, _: purge_logins(app), "Forget logins that ended 30 days ago", True),
)

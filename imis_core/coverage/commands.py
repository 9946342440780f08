"""The commands of coverage and contributions, collected for the kernel's list of rooms."""

from __future__ import annotations

from imis_core.coverage.contributions import record
from imis_core.coverage.enrolment import enrol, renew
from imis_core.coverage.moves import resume, suspend, terminate
from imis_core.coverage.refunds import COMMANDS as REFUND_COMMANDS
from imis_core.coverage.reversing import reverse
from imis_core.coverage.subsidies import record_subsidy

COMMANDS = (enrol, renew, suspend, resume, terminate, record, record_subsidy, reverse, *REFUND_COMMANDS)

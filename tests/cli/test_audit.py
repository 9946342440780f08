"""`imis audit verify`: exit codes and what it says."""

from __future__ import annotations

import json
from pathlib import Path

from imis_core.audit_seals import seal_due
from imis_core.opening import open_application
from tests.cli.conftest import Imis


def test_verify_says_what_it_proves(small: Path, imis: Imis) -> None:
    """Whole: exit 0, with the sealed range; a seal of the log that is gone: exit 1, named."""
    place = json.dumps({"code": "AUDITED", "name": "Audited", "level": "region"})
    assert imis("-C", small, "run", "locations.add", "--data", place).code == 0
    with open_application(small) as app:
        seal_due(app)
    answer = imis("-C", small, "audit", "verify")
    assert (answer.code, answer.err) == (0, "")
    assert "none of them was changed, removed, inserted or moved" in answer.out
    log = small / "seals.log"
    log.write_text(f"audit seal audit 999 1 1 {'0' * 64}\n", "utf-8")
    answer = imis("-C", small, "audit", "verify", "--seals", log, "--json")
    assert answer.code == 1
    (audit,) = [one for one in map(json.loads, answer.out.splitlines()) if one["log"] == "audit"]
    assert not audit["whole"]
    assert [(f["what"], f["id"]) for f in audit["findings"]] == [("cut_off", 999)]
    assert (small / "keys" / "seals.key").stat().st_mode & 0o777 == 0o600

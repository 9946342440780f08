"""Logs: each line of a request, command, job and delivery carries its identifiers; nothing secret stands in one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from imis_core import logs
from imis_core.errors import ImisError
from imis_core.security.caller import Caller
from imis_core.testing.app import TestApp


@pytest.fixture
def lines() -> Iterator[Any]:
    """What is logged from now on, each line as data."""
    root = logging.getLogger()
    level, stream = root.level, io.StringIO()
    logs.configure("debug", "json", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    for handler in [h for h in root.handlers if getattr(h, "imis", False)]:
        root.removeHandler(handler)
    root.setLevel(level)


def of(found: list[Any], event: str) -> list[Any]:
    return [line for line in found if line["event"] == event]


def test_a_command_leaves_a_line_with_its_identifiers(app: TestApp, lines: Any) -> None:
    """Name, actor, audit entry, what became of its items and how long it took; never its input."""
    with logs.work(request="r-1"):
        app.do_all("locations.add", [{"code": "SECRETCODE", "name": "N", "level": "region"}] * 2)
        with pytest.raises(ImisError):
            app.run("locations.add", {}, Caller(9, "x", (), frozenset(), False))
    done, denied = of(lines(), "command")
    (entry,) = app.rows("SELECT id FROM core.audit_entries WHERE command = 'locations.add'")
    assert (done["command"], done["request"], done["audit"]) == ("locations.add", "r-1", entry["id"])
    assert done["outcomes"] == {"done": 1, "locations.duplicate_code": 1}
    assert done["ms"] > 0
    assert (denied["actor"], denied["outcomes"]) == (9, {"permission.denied": 1})
    assert "SECRETCODE" not in json.dumps(lines())
    logging.getLogger("anything").warning("later")
    assert not {"command", "request", "audit"} & set(lines()[-1])


def test_whoever_logs_inside_has_the_identifiers(lines: Any) -> None:
    """Any library's line of a piece of work carries them; what the block bound is gone behind it."""
    with logs.work(job="probe.count", job_id=7):
        logs.bind(audit=3)
        logging.getLogger("some.library").info("counted %s", 5)
        with pytest.raises(ZeroDivisionError), logs.timed("job"):
            _ = 1 / 0
    counted, ended = lines()
    assert (counted["event"], counted["job"], counted["job_id"], counted["audit"]) == ("counted 5", "probe.count", 7, 3)
    assert (ended["event"], ended["level"], ended["failed"]) == ("job", "warning", "ZeroDivisionError")


def test_passwords_of_addresses_are_masked(lines: Any) -> None:
    """In messages, in facts and in tracebacks."""
    log = logging.getLogger("x")
    log.error("no database at postgresql://imis:hunter2@host/db")
    try:
        raise RuntimeError("host=a password=hunter2 dbname=b")
    except RuntimeError:
        log.exception("failed", extra={"url": "postgresql://imis:hunter2@host/db"})
    assert "hunter2" not in json.dumps(lines())
    assert "postgresql://imis:[hidden]@host/db" in lines()[0]["event"]
    assert "Traceback" in lines()[1]["exception"]


def test_text_is_one_line_an_event(app: TestApp) -> None:
    """Without `format = "json"` a person reads time, level, event and identifiers."""
    stream = io.StringIO()
    root = logging.getLogger()
    level = root.level
    logs.configure("info", "text", stream)
    app.do("locations.add", {"code": "N", "name": "N", "level": "region"})
    logs.configure("info", "text", io.StringIO())
    root.setLevel(level)
    (line,) = stream.getvalue().splitlines()
    assert "command=locations.add" in line
    assert "[info" in line


def test_level_and_format_come_from_settings_and_environment(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`[logs]`, over which IMIS_LOG_LEVEL and IMIS_LOG_FORMAT win; a wrong word is told with its variable."""
    from imis_core.deployment import load_settings

    head = '[deployment]\nname = "x"\ncountry = "XX"\ncurrency = "USD"\n'
    (tmp_path / "imis.toml").write_text(head + '[logs]\nlevel = "warning"\n')
    assert (load_settings(tmp_path).logs.level, load_settings(tmp_path).logs.format) == ("warning", "text")
    monkeypatch.setenv("IMIS_LOG_FORMAT", "json")
    assert (load_settings(tmp_path).logs.level, load_settings(tmp_path).logs.format) == ("warning", "json")
    monkeypatch.setenv("IMIS_LOG_LEVEL", "loud")
    with pytest.raises(ImisError, match="IMIS_LOG_LEVEL"):
        load_settings(tmp_path)

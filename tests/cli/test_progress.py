"""Rules of progress: plain lines where there is no terminal, now and then and at the end."""

from __future__ import annotations

import re

import pytest

from imis_core.cli.progress import LINE_SECONDS, progress


def test_plain_lines_tell_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A line comes when some seconds have passed since the last, and one at the end."""
    seconds = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: seconds[0])
    with progress("import persons", 20_000) as bar:
        bar.advance(5_000)
        seconds[0] += LINE_SECONDS
        bar.advance(5_000)
        bar.reach(20_000, 20_000)
        seconds[0] += 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "import persons: 10,000 of 20,000 rows",
        "import persons: 20,000 rows in 6.0 s",
    ]


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the same work is a bar with its count."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress("export", 10) as bar:
        bar.advance(4)
        bar.reach(10, 10)
    assert re.search(r"export .*10/10", capsys.readouterr().err)


def test_work_that_fails_tells_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    """The closing line is for work that came to its end."""
    with pytest.raises(RuntimeError), progress("import"):
        raise RuntimeError
    assert capsys.readouterr().err == ""

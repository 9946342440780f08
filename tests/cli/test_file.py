"""`imis file`: a stored file out of the deployment, as a user who may see it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from .conftest import Imis

CONTENT = b"number,amount\n1,12.00\n"


def test_a_stored_file_is_written_to_a_path(small: Path, imis: Imis, tmp_path: Path) -> None:
    """`imis file ID --out PATH` writes the bytes as they were stored, which lie in the deployment's var."""
    given = {"name": "list.csv", "media_type": "text/csv", "content": base64.b64encode(CONTENT).decode()}
    added = imis("-C", small, "run", "attachments.add", "--data", json.dumps(given)).data
    assert [path.name for path in (small / "var" / "attachments").rglob("*") if path.is_file()] == [added["digest"]]
    answer = imis("-C", small, "file", added["id"], "--out", tmp_path / "out.csv")
    assert (answer.code, answer.err) == (0, "")
    assert (tmp_path / "out.csv").read_bytes() == CONTENT


def test_an_unknown_file_is_told_on_one_line(small: Path, imis: Imis, tmp_path: Path) -> None:
    """What is not there is refused, and nothing is written."""
    answer = imis("-C", small, "file", "nothing", "--out", tmp_path / "out.csv")
    assert (answer.code, answer.out, len(answer.err.splitlines())) == (1, "", 1)
    assert not (tmp_path / "out.csv").exists()

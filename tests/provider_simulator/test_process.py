"""The simulator as a process: it says where it is, keeps its books to itself, and ends when it is told."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from imis_core.errors import Unavailable
from imis_core.provider_simulator.process import simulator, start
from tests.provider_simulator.conftest import payments


def test_books_are_held_by_one_process(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A second simulator on the same books does not start, and says why."""
    with simulator(tmp_path):
        with pytest.raises(Unavailable) as refused:
            start(tmp_path)
        assert refused.value.code == "simulator.not_started"
        assert "simulator.in_use" in capfd.readouterr().err
    start(tmp_path).stop()


def test_a_port_in_use_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As `imis serve` tells it."""
    with simulator(tmp_path / "one") as first:
        with pytest.raises(Unavailable):
            start(tmp_path / "two", port=int(first.url.rpartition(":")[2]))
        assert "serve.address" in capfd.readouterr().err


def test_requests_bear_the_token(tmp_path: Path) -> None:
    """With a token, a request without it is refused (401) and nothing is taken."""
    with simulator(tmp_path, environment={"IMIS_SIMULATOR_TOKEN": "s3cr3t"}) as running:
        headers = {"X-CorrelationID": "C1", "Platform-TenantId": "T", "X-Callback-URL": "http://127.0.0.1:9/"}
        url = f"{running.url}/batchtransactions?type=raw"
        assert httpx.post(url, json=payments(1), headers=headers).status_code == 401
        headers["Authorization"] = "Bearer wrong"
        assert httpx.post(url, json=payments(1), headers=headers).status_code == 401
        headers["Authorization"] = "Bearer s3cr3t"
        assert httpx.post(url, json=payments(1), headers=headers).status_code == 202
        assert running.books()["batches"] == 1

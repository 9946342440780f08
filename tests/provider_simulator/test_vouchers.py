"""Vouchers of the simulated provider: made, activated, redeemed once, or cancelled (GovStack, voucher management)."""

from __future__ import annotations

from typing import Any

import httpx

from tests.provider_simulator.conftest import Listener, Provider, until


def made(provider: Provider, listener: Listener, count: int = 4, name: str = "R1") -> list[dict[str, Any]]:
    asked = {
        "requestID": name, "batchID": "B1",
        "voucherInstructions": [
            {"instructionID": f"{name}-{n}", "groupCode": "021", "currency": "USD", "amount": 12.5,
             "payeeFunctionalID": f"P{n}", "narration": "food"}
            for n in range(count)
        ],
    }  # fmt: skip
    answer = httpx.post(f"{provider.url}/vouchers", json=asked, headers={"X-Callback-URL": listener.url})
    assert (answer.status_code, answer.json()["ResponseCode"]) == (200, "00")
    told = until(lambda: [one for one in listener.got if one.get("requestID") == name])
    found: list[dict[str, Any]] = told[-1]["voucherInstructions"]
    return found


def command(provider: Provider, listener: Listener, name: str, vouchers: list[dict[str, Any]]) -> httpx.Response:
    serials = [{"serialNumber": one["serialNumber"]} for one in vouchers]
    headers = {"X-Callback-URL": listener.url}
    if name == "activate":
        asked = {"RequestID": "A1", "BatchID": "B1", "VoucherInstructions": serials}
        return httpx.put(f"{provider.url}/vouchers?command=activate", json=asked, headers=headers)
    asked = {"requestID": "X1", "batchID": "B1", "voucherInstructions": serials}
    return httpx.post(f"{provider.url}/vouchers?command={name}", json=asked, headers=headers)


def state(provider: Provider, voucher: dict[str, Any]) -> int:
    answer = httpx.get(f"{provider.url}/vouchers/{voucher['serialNumber']}?fields=status").json()
    assert answer["value"] == 12.5
    return int(answer["status"])


def redeem(provider: Provider, voucher: dict[str, Any], secret: str | None = None) -> int:
    asked = {
        "requestID": "Q1", "voucherSerialNumber": voucher["serialNumber"], "agentID": "SHOP",
        "voucherSecretNumber": secret or voucher["voucherNumber"],
    }  # fmt: skip
    return int(httpx.post(f"{provider.url}/vouchers?command=redeem", json=asked).json()["status"])


def test_a_voucher_is_redeemed_once_by_who_has_its_number(provider: Provider, listener: Listener) -> None:
    """Not before it is activated, not with another number, not twice."""
    provider.behave(unredeemed=1.0)
    (voucher,) = made(provider, listener, 1)
    assert (state(provider, voucher), redeem(provider, voucher)) == (1, 0)
    assert command(provider, listener, "activate", [voucher]).json()["ResponseCode"] == "00"
    assert (state(provider, voucher), redeem(provider, voucher, "wrong!")) == (2, 0)
    assert (redeem(provider, voucher), redeem(provider, voucher)) == (1, 0)
    assert state(provider, voucher) == 5
    until(lambda: provider.running.books()["payments"][0]["status"] == "paid")


def test_what_has_failed_is_not_redeemed(provider: Provider, listener: Listener) -> None:
    """The books say that nobody got it: no counter pays it any more."""
    provider.behave(failures=1.0)
    (voucher,) = made(provider, listener, 1)
    command(provider, listener, "activate", [voucher])
    until(lambda: provider.running.books()["payments"][0]["status"] == "failed")
    assert redeem(provider, voucher) == 0
    assert provider.running.books()["payments"][0]["status"] == "failed"


def test_vouchers_are_made_once(provider: Provider, listener: Listener) -> None:
    """The same request again, also after a kill, makes nothing anew and tells the same vouchers again."""
    first = made(provider, listener)
    provider.kill_and_start()
    again = made(provider, listener)
    assert again == first
    assert provider.running.books()["payments"][0]["payments"] == 4


def test_people_redeem_what_was_activated(provider: Provider, listener: Listener) -> None:
    """Some redeem, some never do; the details of the request and the callbacks say which."""
    provider.behave(unredeemed=0.5, single_callbacks=1.0)
    vouchers = made(provider, listener, 40)
    answer = provider.details(**{"X-CorrelationID": "R1"}).json()
    assert [row["serialNumber"] for row in answer] == [one["serialNumber"] for one in vouchers]
    assert {row["status"] for row in answer} == {"IN_PROGRESS"}
    command(provider, listener, "activate", vouchers)
    (confirmed,) = until(lambda: [one for one in listener.got if one.get("registerRequestID") == "A1"])
    assert confirmed["numberFailedCases"] == 0
    told = until(lambda: [one for one in listener.got if str(one.get("requestId")).startswith("R1-")])
    until(lambda: len([o for o in listener.got if "completed" in o]) == sum(state(provider, v) == 5 for v in vouchers))
    assert told
    redeemed = [v["instructionID"] for v in vouchers if state(provider, v) == 5]
    assert 5 < len(redeemed) < 35
    answer = provider.details(**{"X-CorrelationID": "R1", "status": "COMPLETED"}).json()
    assert [row["requestId"] for row in answer] == redeemed


def test_a_cancelled_voucher_is_worth_nothing(provider: Provider, listener: Listener) -> None:
    """It is not redeemed any more; a redeemed one cannot be cancelled, which is told."""
    provider.behave(unredeemed=1.0)
    kept, gone = made(provider, listener, 2)
    command(provider, listener, "activate", [kept, gone])
    assert redeem(provider, kept) == 1
    command(provider, listener, "cancel", [kept, gone, {"serialNumber": "none"}])
    (confirmed,) = until(lambda: [one for one in listener.got if one.get("registerRequestID") == "X1"])
    assert [case["serialNumber"] for case in confirmed["failedCases"]] == [kept["serialNumber"], "none"]
    assert (redeem(provider, gone), state(provider, gone), state(provider, kept)) == (0, 3, 5)
    until(lambda: {p["status"] for p in provider.running.books()["payments"]} == {"paid", "failed"})


def test_a_malformed_request_makes_nothing(provider: Provider, listener: Listener) -> None:
    """400 with what is wrong; an unknown serial number has state 9."""
    for wrong in ([], {"requestID": "R1"}, {"requestID": "R1", "voucherInstructions": [{}]}):
        assert httpx.post(f"{provider.url}/vouchers", json=wrong).status_code == 400
    assert httpx.post(f"{provider.url}/vouchers?command=give", json={}).status_code == 400
    answer = httpx.get(f"{provider.url}/vouchers/77?fields=status")
    assert (answer.status_code, answer.json()["status"]) == (400, 9)

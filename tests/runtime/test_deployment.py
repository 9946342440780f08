"""`imis.toml`: every mistake in one report with its path, and what the environment changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from imis_core.application import Composition
from imis_core.deployment import Settings, SettingsError, load_settings, settings_from

GOOD = """
[deployment]
name = "here"
country = "XX"
currency = "USD"
"""


def mistakes(tables: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        settings_from(tables, "imis.toml")
    return {p.path: p.reason for p in caught.value.refusal.problems}


def settings(**tables: Any) -> Settings:
    return settings_from({"deployment": {"name": "here", "country": "XX", "currency": "USD"}, **tables}, "imis.toml")


def refusals(given: Settings, extra: dict[str, object] | None = None) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        Composition(given, extra=extra)
    return {p.path: p.message for p in caught.value.refusal.problems}


def test_all_mistakes_are_told_at_once() -> None:
    """A file with many mistakes lists each with its path; the command line exits with 2."""
    found = mistakes(
        {
            "deployment": {
                "name": "Not A Slug",
                "country": "xx",
                "currency": "DOLAR",
                "timezone": "Mars/Base",
                "langs": 1,
            },
            "database": {"url": "mysql://x"},
            "plugins": {"enabled": "health_insurance"},
            "schemes": {"Bad-Code": {"type": "x", "features": {"a": 1}}},
            "approvals": {
                "claims.submit": {"roles": ["clark"]},
                "payroll.approve": {},
                "a.b": {"roles": 5, "approvers": 9},
            },
            "roles": {"clerk": {"permissions": ["everything"], "scope": "village"}, "administrator": {}},
            "role": {},
        }
    )
    assert found == {
        "deployment.name": "format",
        "deployment.country": "format",
        "deployment.currency": "unknown",
        "deployment.timezone": "unknown",
        "deployment.langs": "unknown",
        "database.url": "format",
        "plugins.enabled": "type",
        "schemes.Bad-Code": "format",
        "schemes.Bad-Code.features.a": "type",
        "approvals.claims.submit.roles.0": "unknown",
        "approvals.payroll.approve": "approval",
        "approvals.a.b.roles": "type",
        "approvals.a.b.approvers": "range",
        "roles.clerk.permissions.0": "format",
        "roles.clerk.scope": "choice",
        "roles.administrator": "reserved",
        "role": "unknown",
    }


def test_mistakes_have_suggestions_and_exit_code_2() -> None:
    """A near miss is suggested, and wrong settings are wrong input."""
    with pytest.raises(SettingsError) as caught:
        settings_from({"deployment": {"country": "XX", "curency": "USD", "name": "a"}}, "imis.toml")
    assert "did you mean 'currency'?" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[deployment\nname = 1", "line 1"),
        (b"a = \xff", "not UTF-8 at byte 4"),
        (b"a = " + b"[" * 100_000, "nested too deep"),
        (b"a = " + b"1" * 5000, "not TOML"),
        (None, "there is no file"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(tmp_path: Path, content: bytes | None, told: str) -> None:
    """No TOML, other encodings and no file at all are one line, with the place."""
    if content is not None:
        (tmp_path / "imis.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=told):
        load_settings(tmp_path)


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`IMIS_DATABASE_URL` and `IMIS_DATABASE_OWNER_URL` replace the addresses of the file."""
    (tmp_path / "imis.toml").write_text(GOOD + '[database]\nurl = "postgresql://a@b/c"\n')
    monkeypatch.setenv("IMIS_DATABASE_URL", "postgresql://x@y/z")
    monkeypatch.setenv("IMIS_DATABASE_OWNER_URL", "postgresql://owner@y/z")
    database = load_settings(tmp_path).database
    assert (database.url, database.owner_url) == ("postgresql://x@y/z", "postgresql://owner@y/z")


@pytest.mark.parametrize("url", ["mysql://a/b", "postgresql://host-without-database", "postgresql://[/x"])
def test_a_wrong_address_in_the_environment_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The variable is the path of the mistake, not the file."""
    (tmp_path / "imis.toml").write_text(GOOD)
    monkeypatch.setenv("IMIS_DATABASE_URL", url)
    with pytest.raises(SettingsError, match="IMIS_DATABASE_URL: expected"):
        load_settings(tmp_path)


def test_names_that_only_plugins_can_judge(make_plugin: Callable[..., ModuleType]) -> None:
    """Unknown scheme types, plugins of a scheme, commands under approval and plugins' tables are told together."""
    found = refusals(
        settings(
            plugins={"enabled": [], "heath_insurance": {"a": 1}},
            schemes={"x": {"type": "health", "plugins": ["fhir"]}},
            approvals={"beneficiaries.register_persn": {}},
        )
    )
    assert sorted(found) == [
        "approvals.beneficiaries.register_persn", "plugins.heath_insurance", "schemes.x.plugins.0", "schemes.x.type",
    ]  # fmt: skip
    assert "did you mean 'beneficiaries.register_person'?" in found["approvals.beneficiaries.register_persn"]
    assert "did you mean 'health_insurance'?" in found["plugins.heath_insurance"]


def test_an_unknown_feature_is_a_mistake() -> None:
    """A scheme switches only features that its type declares; a near miss is suggested."""
    schemes = {"x": {"type": "health_insurance", "features": {"deductible": False, "ceilngs": False}}}
    found = refusals(settings(plugins={"enabled": ["health_insurance"]}, schemes=schemes))
    assert "schemes.x.features.ceilngs" in found


def test_a_plugin_without_settings_takes_none(make_plugin: Callable[..., ModuleType]) -> None:
    """A plugin's table is checked against its settings class; without one it may not have any."""
    given = settings(plugins={"enabled": ["probe"], "probe": {"a": 1}})
    assert refusals(given, {"probe": make_plugin("probe")}) == {"plugins.probe": "plugin 'probe' has no settings"}


def test_imis_disable_starts_without_a_plugin(
    make_plugin: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin that is switched off is not imported, though settings, schemes and approvals still name it."""
    monkeypatch.setenv("IMIS_DISABLE", "broken, other")
    given = settings(
        plugins={"enabled": ["health_insurance", "broken"], "broken": {"a": 1}},
        schemes={"x": {"type": "health_insurance", "plugins": ["broken"]}},
        approvals={"broken.do": {}},
    )
    composition = Composition(given)
    assert composition.plugins.names == ("core", "health_insurance")
    assert composition.speakers("x") == ("health_insurance",)

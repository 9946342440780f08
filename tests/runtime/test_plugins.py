"""Loading plugins: strict, all problems of all plugins in one report, each naming who is at fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from types import ModuleType
from typing import Any, Protocol

import pytest
from attrs import frozen

from imis_core.application import Composition
from imis_core.commands import command
from imis_core.context import Context
from imis_core.deployment import settings_from
from imis_core.hookspecs import hookimpl
from imis_core.plugins import PluginErrors
from imis_core.queries import query

Maker = Callable[..., ModuleType]


@frozen(kw_only=True)
class Empty:
    pass


def make_command(name: str) -> Any:
    def handler(context: Context, items: tuple[Empty, ...]) -> list[Empty]:
        """Do nothing."""
        return list(items)

    return command(name, input=Empty, result=Empty)(handler)


def make_query(name: str) -> Any:
    def handler(context: Context, asked: Empty) -> Empty:
        """Answer nothing."""
        return asked

    return query(name, input=Empty, result=Empty)(handler)


def compose(extra: Mapping[str, object], **tables: Any) -> Composition:
    deployment = {"name": "here", "country": "XX", "currency": "USD"}
    plugins = {"enabled": list(extra)}
    return Composition(settings_from({"deployment": deployment, "plugins": plugins, **tables}, "here"), extra=extra)


def report(extra: Mapping[str, object]) -> list[str]:
    with pytest.raises(PluginErrors) as caught:
        compose(extra)
    assert caught.value.code == "plugins.invalid"
    return [p.message for p in caught.value.refusal.problems]


def bare(name: str, **attributes: Any) -> ModuleType:
    module = ModuleType(name)
    for key, value in attributes.items():
        setattr(module, key, value)
    return module


def test_a_plugin_that_is_not_installed_is_named_with_a_suggestion() -> None:
    """Installed is not enabled, and enabled is not installed."""
    deployment = {"name": "here", "country": "XX", "currency": "USD"}
    with pytest.raises(PluginErrors, match=r"'heath_insurance' is not installed.*did you mean 'health_insurance'"):
        Composition(settings_from({"deployment": deployment, "plugins": {"enabled": ["heath_insurance"]}}, "here"))


def test_a_plugin_that_does_not_import_is_named() -> None:
    """The reason of the failed import is part of the report."""
    entry = metadata.EntryPoint("broken", "no_such_module_anywhere", "imis.plugins")
    (message,) = report({"broken": entry})
    assert message == "plugin 'broken' does not import: ModuleNotFoundError: No module named 'no_such_module_anywhere'"


def test_a_wrong_hook_name_has_a_suggestion(make_plugin: Maker) -> None:
    """A function that looks like a hook and is none is told once, with the hook that was meant."""
    (message,) = report({"a": make_plugin("a", hooks={"imis_register_comands": lambda: ()})})
    assert message == "plugin 'a': there is no hook 'imis_register_comands'; did you mean 'imis_register_commands'?"


def test_a_hook_without_its_mark_is_told(make_plugin: Maker) -> None:
    """A function named like a hook without `@hookimpl` would silently never be called."""
    module = make_plugin("a")
    module.imis_register_commands = lambda: ()  # type: ignore[attr-defined]
    (message,) = report({"a": module})
    assert "imis_register_commands lacks the mark @hookimpl" in message


def test_an_argument_with_a_default_is_told(make_plugin: Maker) -> None:
    """pluggy never fills an argument that has a default."""

    def on_valuated(context: Any, event: Any = None) -> None: ...

    (message,) = report({"a": make_plugin("a", hooks={"imis_on_claims_valuated": on_valuated})})
    assert "imis_on_claims_valuated has an argument with a default" in message


def test_a_hook_with_an_unknown_argument_is_told(make_plugin: Maker) -> None:
    """A hook takes arguments of its specification, no others."""

    def on_valuated(context: Any, events: Any) -> None: ...

    (message,) = report({"a": make_plugin("a", hooks={"imis_on_claims_valuated": on_valuated})})
    assert "events" in message


def test_a_plugin_says_who_it_is(make_plugin: Maker) -> None:
    """No manifest, another name, and a name that is not ours to give are refused."""
    assert report({"a": bare("a")}) == ["plugin 'a' does not implement imis_plugin"]
    assert report({"a": bare("a", imis_plugin=hookimpl(lambda: "a"))}) == [
        "plugin 'a' answers imis_plugin with no Manifest"
    ]
    assert report({"a": make_plugin("b")}) == ["plugin 'a' calls itself 'b'"]
    assert "cannot have this name" in report({"jobs": make_plugin("jobs")})[0]
    assert "cannot have this name" in report({"a-b": make_plugin("a-b")})[0]


def test_a_manifest_that_raises_is_blamed_on_its_plugin_only(make_plugin: Maker) -> None:
    """A plugin whose manifest raises spoils no other plugin's."""

    def imis_plugin() -> Any:
        raise RuntimeError("no licence")

    messages = report({"a": bare("a", imis_plugin=hookimpl(imis_plugin)), "b": make_plugin("b")})
    assert messages == ["plugin 'a' failed in imis_plugin: RuntimeError: no licence"]


@pytest.mark.parametrize(("kernel", "told"), [(">=99", "needs imis-core >=99"), ("newest", "is no version range")])
def test_the_kernels_version_must_fit(make_plugin: Maker, kernel: str, told: str) -> None:
    """A plugin states the range of kernels that it was made for."""
    (message,) = report({"a": make_plugin("a", kernel=kernel)})
    assert told in message


def test_clashes_name_both_plugins(make_plugin: Maker) -> None:
    """The same noun, number, command or query twice is refused with both names."""
    messages = report(
        {
            "a": make_plugin("a", nouns={"x": 1001, "y": 1002}, commands=(make_command("y.do"),)),
            "b": make_plugin("b", nouns={"x": 1003, "z": 1002, "y": 1004}, commands=(make_command("y.do"),)),
        }
    )
    assert len(messages) == 4
    assert all("'a'" in m and "'b'" in m for m in messages)


def test_scheme_types_clash_with_both_names() -> None:
    """One kind of scheme belongs to one plugin."""
    from imis_health_insurance import plugin as health  # type: ignore[import-untyped, unused-ignore]

    types = tuple(health.imis_register_scheme_types())
    other = ModuleType("other")
    from imis_core.plugins import Manifest

    other.imis_plugin = hookimpl(lambda: Manifest(name="other", version="1", kernel=">=0"))  # type: ignore[attr-defined]
    other.imis_register_scheme_types = hookimpl(lambda: types)  # type: ignore[attr-defined]
    assert report({"health_insurance": health, "other": other}) == [
        "plugins 'health_insurance' and 'other' both register the scheme type 'health_insurance'"
    ]


def test_a_name_is_a_command_or_a_query(make_plugin: Maker) -> None:
    """One name cannot be both, in one plugin or in two."""
    module = make_plugin("a", nouns={"x": 1001}, commands=(make_command("x.do"),), queries=(make_query("x.do"),))
    assert report({"a": module}) == ["plugins 'a' and 'a' register 'x.do' as a command and as a query"]


@pytest.mark.parametrize("nouns", [{"claims": 1001}, {"eligibility": 1001}, {"x": 14}, {"x": 2**63}])
def test_the_kernels_nouns_and_numbers_are_taken(make_plugin: Maker, nouns: dict[str, int]) -> None:
    """A plugin takes no noun of the kernel, and numbers from 1000 up that fit an outside id."""
    assert len(report({"a": make_plugin("a", nouns=nouns)})) == 1


@pytest.mark.parametrize("name", ["other.do", "claims.do", "x", "x.Do", "x.a.b"])
def test_commands_begin_with_a_noun_of_the_plugin(make_plugin: Maker, name: str) -> None:
    """A plugin without a scheme type registers commands and queries of its own nouns only."""
    assert len(report({"a": make_plugin("a", nouns={"x": 1001}, commands=(make_command(name),))})) == 1
    assert len(report({"a": make_plugin("a", nouns={"x": 1001}, queries=(make_query(name),))})) == 1


class Printer(Protocol):
    """A port."""


def test_a_required_port_is_provided_once(make_plugin: Maker) -> None:
    """Nobody or two who provide what a plugin requires: refused at start; one: handed out."""
    wants = make_plugin("wants", requires=(Printer,))
    one, two = make_plugin("one", provides={Printer: 1}), make_plugin("two", provides={Printer: 2})
    assert report({"wants": wants}) == ["plugin 'wants' requires Printer, which no enabled plugin provides"]
    assert report({"wants": wants, "one": one, "two": two}) == [
        "plugins 'one' and 'two' both provide Printer; enable one"
    ]
    assert compose({"wants": wants, "one": one}).plugins.ports == {Printer: 1}


def test_a_registering_hook_that_raises_is_attributed(make_plugin: Maker) -> None:
    """Generators run inside the guard, and answers of a wrong kind are told."""

    def generator() -> Iterable[Any]:
        yield make_command("x.do")
        raise RuntimeError("halfway")

    raising = make_plugin("raising", nouns={"x": 1001}, hooks={"imis_register_commands": generator})
    nothing = make_plugin("nothing", hooks={"imis_register_queries": lambda: None})
    wrong = make_plugin("wrong", nouns={"y": 1002}, commands=(make_query("y.do"),))
    messages = report({"raising": raising, "nothing": nothing, "wrong": wrong})
    assert messages[0] == "plugin 'raising' failed in imis_register_commands: RuntimeError: halfway"
    assert "'wrong': imis_register_commands answered with" in messages[1]
    assert messages[2] == "plugin 'nothing': imis_register_queries must answer with a list, each item a query"
    assert len(messages) == 3


def test_all_problems_are_in_one_report(make_plugin: Maker) -> None:
    """What is wrong at loading and at registering comes together."""
    messages = report(
        {
            "missing_one": metadata.EntryPoint("missing_one", "no_such_module_anywhere", "imis.plugins"),
            "old": make_plugin("old", kernel="<0"),
            "foreign": make_plugin("foreign", commands=(make_command("x.do"),)),
        }
    )
    assert len(messages) == 3


def test_two_names_for_one_module_are_told(make_plugin: Maker) -> None:
    """One module is one plugin."""
    module = make_plugin("a")
    assert report({"a": module, "b": module}) == ["plugins 'a' and 'b' are one and the same module"]


def test_each_scheme_names_who_speaks_for_it(make_plugin: Maker) -> None:
    """Without `plugins` every enabled plugin without a scheme type speaks; [] none; a list those; its type's always."""
    deployment = {"name": "here", "country": "XX", "currency": "USD"}
    kinds = {"all": None, "none": [], "one": ["b"]}
    schemes = {c: {"type": "health_insurance"} | ({} if p is None else {"plugins": p}) for c, p in kinds.items()}
    tables = {"deployment": deployment, "plugins": {"enabled": ["a", "health_insurance", "b"]}, "schemes": schemes}
    composition = Composition(settings_from(tables, "here"), extra={"a": make_plugin("a"), "b": make_plugin("b")})
    assert composition.speakers("all") == ("health_insurance", "a", "b")
    assert composition.speakers("none") == ("health_insurance",)
    assert composition.speakers("one") == ("health_insurance", "b")

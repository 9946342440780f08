"""Plugins: manifests, discovery, enabling, ports, and typed hook calls that name the plugin at fault.

One `Plugins` object belongs to one application; there is no global. Starting is strict: every problem of every plugin
comes in one report (`PluginErrors`).
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

import pluggy
from attrs import field, frozen
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from imis_core import hookspecs
from imis_core.errors import ImisError, Problem, Refusal, suggestion
from imis_core.ids import KERNEL_NOUNS
from imis_core.values import INT64_MAX

if TYPE_CHECKING:
    from imis_core.resource_mappings import ResourceMapping

P = ParamSpec("P")
R = TypeVar("R")
ENTRY_POINT_GROUP: Final = "imis.plugins"
KERNEL: Final = "core"
RESERVED: Final = frozenset({KERNEL, "jobs", "public", "enabled", "information_schema"})  # schemas and keys of others
FIRST_NUMBER: Final = 1000  # of plugins' nouns; those below are the kernel's
_NAME: Final = re.compile(r"(?!pg_)[a-z][a-z0-9_]{0,50}\Z")


@frozen(kw_only=True)
class Manifest:
    """What a plugin says of itself.

    `kernel` is a version range of imis-core (`>=0.1,<0.2`). `nouns` maps each noun of the plugin's own to a number from
    1000 up, unique over all plugins (it goes into outside ids). `migrations` names the package folder with the Alembic
    versions and `tables` the module whose `metadata` lists them; they live in the schema `name`; `kernel_revision` is
    the oldest revision of the kernel's tables that they stand on. `provides` maps a port (a Protocol) to its
    implementation, `requires` lists ports that another plugin must provide. `surfaces` maps a format that the plugin
    speaks (`fhir.r4`) to what checks the mappings contributed for it.
    """

    name: str
    version: str
    kernel: str
    settings: type | None = None
    nouns: Mapping[str, int] = field(factory=dict)
    migrations: str | None = None
    tables: str | None = None
    kernel_revision: str | None = None
    provides: Mapping[type, object] = field(factory=dict)
    requires: tuple[type, ...] = ()
    surfaces: Mapping[str, Callable[[ResourceMapping], Iterable[str]]] = field(factory=dict)


class PluginErrors(ImisError):
    """All that is wrong with the plugins, in one report."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(
            Refusal("plugins.invalid", "the plugins cannot be started; mend or disable those named", tuple(problems))
        )


class HookFailed(Exception):
    """A plugin's hook raised; names the plugin and the hook."""

    def __init__(self, plugin: str, hook: str, cause: Exception) -> None:
        super().__init__(f"plugin {plugin!r} failed in {hook}: {type(cause).__name__}: {cause}")
        self.plugin = plugin
        self.hook = hook


class Plugins:
    """The enabled plugins of one application, the kernel's built-in one (`core`) among them."""

    def __init__(
        self,
        enabled: Iterable[str],
        kernel: object,
        kernel_version: str,
        extra: Mapping[str, object] | None = None,
        report: list[Problem] | None = None,
    ) -> None:
        """Load the built-in plugin and those enabled, from entry points or from `extra` (name to module, for tests).

        Every problem of every plugin goes to `report` if there is one, else `PluginErrors` is raised with them.
        """
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self.manifests: dict[str, Manifest] = {}
        problems: list[Problem] = [] if report is None else report
        available = {**installed(), **(extra or {})}
        self.installed = tuple(available)
        self._load(KERNEL, kernel, kernel_version, problems)
        for name in enabled:
            if name not in available:
                known = ", ".join(sorted(available)) or "none"
                message = f"plugin {name!r} is not installed (installed: {known}){suggestion(name, available)}"
                problems.append(Problem(f"plugins.enabled.{name}", "not_installed", message))
                continue
            try:
                module = _import(available[name])
            except Exception as error:
                message = f"plugin {name!r} does not import: {type(error).__name__}: {error}"
                problems.append(Problem(f"plugins.enabled.{name}", "import", message))
                continue
            self._load(name, module, kernel_version, problems)
        problems += self._clashes()
        self.ports = self._ports(problems)
        if problems and report is None:
            raise PluginErrors(problems)

    @property
    def names(self) -> tuple[str, ...]:
        """The enabled plugins in the order of the configuration, `core` first."""
        return tuple(self.manifests)

    def _load(self, name: str, module: object, kernel_version: str, problems: list[Problem]) -> None:
        path = f"plugins.enabled.{name}"
        wrong = _wrong_hooks(name, module)
        problems += [Problem(path, "hook", message) for message in wrong]
        if not (_NAME.match(name) and (name == KERNEL or name not in RESERVED)):
            message = f"plugin {name!r} cannot have this name: it is its schema's, in lower case, and not one of ours"
            problems.append(Problem(path, "name", message))
            return
        if self._manager.is_registered(module):
            other = self._manager.get_name(module)
            problems.append(Problem(path, "clash", f"plugins {other!r} and {name!r} are one and the same module"))
            return
        try:
            self._manager.register(module, name)
            self._manager.check_pending()
        except Exception as error:
            if not wrong:
                problems.append(Problem(path, "hook", f"plugin {name!r}: {error}"))
            self._manager.unregister(name=name)
            return
        if name not in self.implementers(hookspecs.imis_plugin):
            problems.append(Problem(path, "manifest", f"plugin {name!r} does not implement imis_plugin"))
            self._manager.unregister(name=name)
            return
        try:
            manifest = self.call_plugin(name, hookspecs.imis_plugin)
        except HookFailed as error:
            problems.append(Problem(path, "hook", str(error)))
            self._manager.unregister(name=name)
            return
        if not isinstance(manifest, Manifest):
            problems.append(Problem(path, "manifest", f"plugin {name!r} answers imis_plugin with no Manifest"))
            self._manager.unregister(name=name)
            return
        if manifest.name != name:
            problems.append(Problem(path, "manifest", f"plugin {name!r} calls itself {manifest.name!r}"))
        try:
            if kernel_version not in SpecifierSet(manifest.kernel, prereleases=True):
                message = f"plugin {name!r} needs imis-core {manifest.kernel}, this is {kernel_version}"
                problems.append(Problem(path, "kernel", message))
        except InvalidSpecifier:
            problems.append(Problem(path, "kernel", f"plugin {name!r}: {manifest.kernel!r} is no version range"))
        self.manifests[name] = manifest

    def _clashes(self) -> list[Problem]:
        """Nouns, their numbers and schemas belong to one plugin each; a clash names both sides."""
        nouns: dict[str, str] = dict.fromkeys(KERNEL_NOUNS, KERNEL)
        numbers: dict[int, str] = {}
        found = []
        for name, manifest in self.manifests.items():
            path = f"plugins.enabled.{name}"
            for noun, number in manifest.nouns.items():
                if noun in nouns:
                    message = f"plugins {nouns[noun]!r} and {name!r} both claim the noun {noun!r}"
                    found.append(Problem(path, "clash", message))
                if number in numbers:
                    message = (
                        f"plugins {numbers[number]!r} and {name!r} both give a noun the number {number} ({noun!r})"
                    )
                    found.append(Problem(path, "clash", message))
                if not FIRST_NUMBER <= number <= INT64_MAX:
                    message = (
                        f"plugin {name!r} gives the noun {noun!r} the number {number}; take one from {FIRST_NUMBER}"
                    )
                    found.append(Problem(path, "number", message))
                nouns.setdefault(noun, name)
                numbers.setdefault(number, name)
        return found

    def _ports(self, problems: list[Problem]) -> dict[type, object]:
        offered: dict[type, tuple[str, object]] = {}
        for name, manifest in self.manifests.items():
            for port, implementation in manifest.provides.items():
                if port in offered:
                    message = f"plugins {offered[port][0]!r} and {name!r} both provide {port.__name__}; enable one"
                    problems.append(Problem(f"plugins.enabled.{name}", "clash", message))
                offered.setdefault(port, (name, implementation))
        for name, manifest in self.manifests.items():
            for port in manifest.requires:
                if port not in offered:
                    message = f"plugin {name!r} requires {port.__name__}, which no enabled plugin provides"
                    problems.append(Problem(f"plugins.enabled.{name}", "port", message))
        return {port: implementation for port, (_, implementation) in offered.items()}

    def implementers(self, spec: Callable[..., Any]) -> list[str]:
        """Names of the enabled plugins that implement a hook, sorted."""
        caller = getattr(self._manager.hook, spec.__name__)
        return sorted(cast(str, impl.plugin_name) for impl in caller.get_hookimpls())

    def call_plugin(self, plugin: str, spec: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """One plugin's answer to a hook; a generator is run to its end inside the guard. Raises `HookFailed`."""
        caller = getattr(self._manager.hook, spec.__name__)
        implementation = next((i for i in caller.get_hookimpls() if i.plugin_name == plugin), None)
        if implementation is None:
            raise LookupError(f"plugin {plugin!r} does not implement {spec.__name__}")
        bound = inspect.signature(spec).bind(*args, **kwargs).arguments
        try:
            value = implementation.function(**{n: bound[n] for n in implementation.argnames})
            if isinstance(value, GeneratorType):
                value = tuple(value)
        except Exception as error:
            raise HookFailed(plugin, spec.__name__, error) from error
        return cast(R, value)

    def call_for(
        self, plugin: str, kind: type[R], spec: Callable[P, Iterable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> tuple[R, ...]:
        """One plugin's answer to a hook that answers several of a `kind`. Raises `HookFailed`, for garbage too."""
        answer = self.call_plugin(plugin, spec, *args, **kwargs)
        try:
            items = tuple(answer)
        except TypeError as error:
            raise HookFailed(plugin, spec.__name__, error) from error
        for item in items:
            if not isinstance(item, kind):
                told = TypeError(f"it answered with {item!r:.80}, which is no {kind.__name__}")
                raise HookFailed(plugin, spec.__name__, told)
        return items

    def collect(
        self, spec: Callable[[], Iterable[R]], kind: type | tuple[type, ...], what: str
    ) -> dict[str, tuple[str, R]]:
        """Everything of a `kind` registered through a hook, by `name`, with its plugin.

        Raises `PluginErrors`; the same name twice names both plugins.
        """
        found: dict[str, tuple[str, R]] = {}
        problems = []
        for name in self.implementers(spec):
            try:
                items = tuple(self.call_plugin(name, spec))
            except HookFailed as error:
                problems.append(Problem(f"plugins.enabled.{name}", "hook", str(error)))
                continue
            except TypeError:
                message = f"plugin {name!r}: {spec.__name__} must answer with a list, each item a {what}"
                problems.append(Problem(f"plugins.enabled.{name}", "hook", message))
                continue
            for item in items:
                if not isinstance(item, kind):
                    message = f"plugin {name!r}: {spec.__name__} answered with {item!r}, which is no {what}"
                    problems.append(Problem(f"plugins.enabled.{name}", "hook", message))
                    continue
                own = cast(str, cast(Any, item).name)
                if own in found:
                    message = f"plugins {found[own][0]!r} and {name!r} both register the {what} {own!r}"
                    problems.append(Problem(f"plugins.enabled.{name}", "clash", message))
                found.setdefault(own, (name, item))
        if problems:
            raise PluginErrors(problems)
        return found


def installed() -> dict[str, metadata.EntryPoint]:
    """The entry points of the installed plugins, by name in their order."""
    return dict(_installed(tuple(sys.path)))


@cache
def _installed(path: tuple[str, ...]) -> dict[str, metadata.EntryPoint]:
    """Looked for once for each `sys.path`: a file of every distribution is read for it."""
    found = metadata.entry_points(group=ENTRY_POINT_GROUP)
    return {entry.name: entry for entry in sorted(found, key=lambda entry: entry.name)}


def _import(source: object) -> object:
    return source.load() if isinstance(source, metadata.EntryPoint) else source


def _wrong_hooks(name: str, module: object) -> list[str]:
    """Functions that look like hooks but are none, and arguments with a default (pluggy never fills those)."""
    known = [n for n in dir(hookspecs) if n.startswith("imis_")]
    wrong = []
    for attribute in dir(module):
        if not attribute.startswith("imis_") or not callable(getattr(module, attribute)):
            continue
        function = getattr(module, attribute)
        if attribute not in known:
            wrong.append(f"plugin {name!r}: there is no hook {attribute!r}{suggestion(attribute, known)}")
        elif not hasattr(function, f"{hookspecs.PROJECT}_impl"):
            wrong.append(f"plugin {name!r}: {attribute} lacks the mark @hookimpl and would never be called")
        elif any(p.default is not inspect.Parameter.empty for p in inspect.signature(function).parameters.values()):
            wrong.append(f"plugin {name!r}: {attribute} has an argument with a default, which is never filled")
    return wrong

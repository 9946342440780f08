"""The composition root: settings, plugins, database and clock put together into one application object. No globals."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import attrs

from imis_core import __version__, hookspecs, logs
from imis_core.beneficiaries.joining import MemberEffect
from imis_core.benefit_packages.schemes import SchemeType
from imis_core.claims.events import ClaimsValuated
from imis_core.clock import Clock
from imis_core.commands import Command, Reply, run_command
from imis_core.context import Context
from imis_core.database.engine import Database
from imis_core.deployment import Settings, SettingsError
from imis_core.errors import WORD_MAX, ImisError, Problem, Refusal, suggestion
from imis_core.events import hook_of
from imis_core.ids import KERNEL_NOUNS, SEALS_KEY_BYTES, Ids
from imis_core.jobs import Queue
from imis_core.jobs_kinds import ChunkedJob, Job
from imis_core.migrations.walls import table_problems
from imis_core.notifications.notifiers import Notifier
from imis_core.parsing import InvalidInput, parse
from imis_core.payments.channels import PaymentChannel
from imis_core.payments.sources import SourceKind
from imis_core.payroll.events import PayrollApproved
from imis_core.plugins import KERNEL, PluginErrors, Plugins
from imis_core.queries import Query, run_query
from imis_core.reports.reports import Report, query_of, report_problems
from imis_core.resource_mappings import ResourceMapping, mapping_problems
from imis_core.routes import Route, route_problems
from imis_core.security.allowances import Allowance
from imis_core.security.caller import Caller, system_caller

_SURFACE: Final = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*\Z")
# The class that each event's payload is read into, by the event's name.
EVENT_TYPES: Final[Mapping[str, type]] = {"claims_valuated": ClaimsValuated, "payroll_approved": PayrollApproved}


class Composition:
    """Everything of an application that needs no database: checked settings and what the plugins registered."""

    def __init__(self, settings: Settings, file: str = "imis.toml", extra: Mapping[str, object] | None = None) -> None:
        """Load the plugins and check the settings against them. Raises `PluginErrors` and `SettingsError`."""
        from imis_core import rooms

        self.settings = settings
        report: list[Problem] = []  # of loading and of registering alike: one report
        self.plugins = Plugins(settings.enabled, rooms, __version__, extra, report)

        def collected(spec: Any, kind: type | tuple[type, ...], what: str) -> dict[str, tuple[str, Any]]:
            try:
                return self.plugins.collect(spec, kind, what)
            except PluginErrors as error:
                report.extend(error.refusal.problems)
                return {}

        types = collected(hookspecs.imis_register_scheme_types, SchemeType, "scheme type")
        commands = collected(hookspecs.imis_register_commands, Command, "command")
        queries = collected(hookspecs.imis_register_queries, Query, "query")
        jobs = collected(hookspecs.imis_register_jobs, (Job, ChunkedJob), "job")
        channels = collected(hookspecs.imis_register_payment_channels, PaymentChannel, "payment channel")
        sources = collected(hookspecs.imis_register_payment_sources, SourceKind, "payment source")
        effects = collected(hookspecs.imis_register_member_effects, MemberEffect, "member effect")
        notifiers = collected(hookspecs.imis_register_notifiers, Notifier, "notifier")
        reports = collected(hookspecs.imis_register_reports, Report, "report")
        routes = collected(hookspecs.imis_register_routes, Route, "route")
        mappings = collected(hookspecs.imis_register_mappings, ResourceMapping, "mapping")
        report += [
            Problem(
                f"plugins.enabled.{plugin}",
                "clash",
                f"plugins {commands[name][0]!r} and {plugin!r} register {name!r} as a command and as a query",
            )
            for name, (plugin, _) in queries.items()
            if name in commands
        ]
        report += table_problems(self.plugins.manifests.values())
        surfaces = [*commands.items(), *queries.items(), *routes.items()]
        report += route_problems(routes.values())
        if queries:  # none at all: what is wrong with them is in the report already
            report += report_problems(reports.values(), {name: q for name, (_, q) in queries.items()})
        report += self._misnamed([(name, plugin) for name, (plugin, _) in surfaces], {p for p, _ in types.values()})
        if report:
            raise PluginErrors(report)
        self.scheme_types: dict[str, SchemeType] = {name: t for name, (_, t) in types.items()}
        self._type_plugins = {name: plugin for name, (plugin, _) in types.items()}
        self.commands: dict[str, Command] = {name: c for name, (_, c) in commands.items()}
        self._widen_claims()
        self.queries: dict[str, Query] = {name: q for name, (_, q) in queries.items()}
        self.reports: dict[str, Report] = {name: r for name, (_, r) in reports.items()}
        answering = [query_of(r, self.queries) for r in self.reports.values()]
        self.queries.update({q.name: q for q in answering})
        # In the order in which they are asked whether they take a message: the kernel's takes whatever is left.
        ordered = sorted(notifiers.items(), key=lambda item: (item[1][0] == KERNEL, item[1][1].rank, item[0]))
        self.notifiers: dict[str, Notifier] = {name: n for name, (_, n) in ordered}
        self.jobs: dict[str, Job | ChunkedJob] = {name: j for name, (_, j) in jobs.items()}
        self.channels: dict[str, PaymentChannel] = {name: c for name, (_, c) in channels.items()}
        self.sources: dict[str, SourceKind] = {name: s for name, (_, s) in sources.items()}
        self.member_effects: dict[str, MemberEffect] = {name: e for name, (_, e) in sorted(effects.items())}
        self.routes: tuple[Route, ...] = tuple(r for _, r in routes.values())
        self.mappings: tuple[ResourceMapping, ...] = tuple(m for _, m in mappings.values())
        report += self._mapping_problems(mappings.values())
        if report:
            raise PluginErrors(report)
        problems = [*self._scheme_problems(), *self._name_problems(), *self._plugin_settings()]
        if problems:
            raise SettingsError(file, tuple(problems))
        self._subscribers: dict[str, tuple[str, ...]] = {}

    def _mapping_problems(self, mappings: Iterable[tuple[str, ResourceMapping]]) -> list[Problem]:
        """What is wrong with the mappings, as the kernel sees it and as the plugin that speaks their surface does."""
        mappings = tuple(mappings)
        manifests = self.plugins.manifests.values()
        nouns = {*KERNEL_NOUNS, *(noun for manifest in manifests for noun in manifest.nouns)}
        found = mapping_problems(mappings, self.queries, self.commands, nouns)
        checks = {surface: check for manifest in manifests for surface, check in manifest.surfaces.items()}
        for plugin, mapping in mappings:
            for words in checks[mapping.surface](mapping) if mapping.surface in checks else ():
                message = f"plugin {plugin!r}, mapping {mapping.name}: {words}"
                found.append(Problem(f"plugins.enabled.{plugin}", "mapping", message))
        return found

    def _widen_claims(self) -> None:
        """Add the fields of the scheme types to the input of `claims.submit`: in every door, and in the OpenAPI."""
        fields: dict[str, Any] = {}
        for kind in self.scheme_types.values():
            for one in attrs.fields(kind.claim_fields) if kind.claim_fields is not None else ():
                fields[one.name] = attrs.field(default=None, type=one.type)
        if fields:
            submit = self.commands["claims.submit"]
            widened = attrs.make_class(submit.input.__name__, fields, bases=(submit.input,), frozen=True, kw_only=True)
            self.commands[submit.name] = attrs.evolve(submit, input=widened)

    def _misnamed(self, surfaces: Sequence[tuple[str, str]], with_type: set[str]) -> list[Problem]:
        """A plugin's commands and queries begin with its own nouns; the plugin of a scheme type may add to any noun."""
        found = []
        kernels = {name.partition(".")[0] for name, plugin in surfaces if plugin == KERNEL}
        for plugin, manifest in self.plugins.manifests.items():
            for noun in manifest.nouns:
                if plugin != KERNEL and noun in kernels and noun not in KERNEL_NOUNS:
                    message = f"plugins {KERNEL!r} and {plugin!r} both claim the noun {noun!r}"
                    found.append(Problem(f"plugins.enabled.{plugin}", "clash", message))
        for name, plugin in surfaces:
            noun = name.partition(".")[0]
            if not _SURFACE.match(name):
                message = f"plugin {plugin!r} registers {name!r}; a name is noun.verb in lower case"
                found.append(Problem(f"plugins.enabled.{plugin}", "noun", message))
            elif plugin != KERNEL and plugin not in with_type and noun not in self.plugins.manifests[plugin].nouns:
                message = f"plugin {plugin!r} registers {name!r}, but its manifest does not list the noun {noun!r}"
                found.append(Problem(f"plugins.enabled.{plugin}", "noun", message))
        return found

    def _scheme_problems(self) -> list[Problem]:
        found = []
        for code, scheme in self.settings.schemes.items():
            kind = self.scheme_types.get(scheme.type)
            if kind is None:
                known = ", ".join(self.scheme_types) or "none"
                message = f"no enabled plugin knows the scheme type {scheme.type!r} (known: {known})"
                message += suggestion(scheme.type, self.scheme_types)
                if self.settings.disabled:
                    message += f"; IMIS_DISABLE switches off {', '.join(self.settings.disabled)}"
                found.append(Problem(f"schemes.{code}.type", "unknown", message))
            else:
                for feature in scheme.features:
                    if feature not in kind.features:
                        message = f"{scheme.type} has no feature {feature!r}{suggestion(feature, kind.features)}"
                        found.append(Problem(f"schemes.{code}.features.{feature}", "unknown", message))
            for index, plugin in enumerate(scheme.plugins or ()):
                if plugin not in self.plugins.manifests and plugin not in self.settings.disabled:
                    message = f"plugin {plugin!r} is not enabled{suggestion(plugin, self.plugins.names)}"
                    found.append(Problem(f"schemes.{code}.plugins.{index}", "unknown", message))
        return found

    def _name_problems(self) -> list[Problem]:
        found = []
        for command in self.settings.approvals:
            definition = self.commands.get(command)
            if definition is None and self.settings.disabled:
                continue  # it may be a command of the plugin that is switched off for this start
            if definition is None:
                message = f"there is no command {command!r}{suggestion(command, self.commands)}"
                found.append(Problem(f"approvals.{command}", "unknown", message))
            elif definition.approval:
                message = "an approval cannot itself wait for approval"
                found.append(Problem(f"approvals.{command}", "approval", message))
        return found

    def _plugin_settings(self) -> list[Problem]:
        found = []
        self.plugin_settings: dict[str, Any] = {}
        for name in self.settings.plugins:
            if name != "enabled" and name not in self.plugins.installed and name not in self.settings.disabled:
                message = f"there is no plugin {name!r}{suggestion(name, self.plugins.installed)}"
                found.append(Problem(f"plugins.{name}", "unknown", message))
        for name, manifest in self.plugins.manifests.items():
            table = self.settings.plugin_settings(name)
            if manifest.settings is None:
                if table:
                    found.append(Problem(f"plugins.{name}", "unknown", f"plugin {name!r} has no settings"))
                continue
            try:
                self.plugin_settings[name] = parse(table, manifest.settings)
            except InvalidInput as error:
                found += [p.at(f"plugins.{name}") for p in error.problems]
        return found

    def type_of(self, scheme: str) -> SchemeType:
        """The kind of a configured scheme."""
        return self.scheme_types[self.settings.schemes[scheme].type]

    def features_of(self, scheme: str) -> dict[str, bool]:
        """The scheme's features: the type's defaults, overridden by the configuration."""
        return {**self.type_of(scheme).features, **self.settings.schemes[scheme].features}

    def speakers(self, scheme: str) -> tuple[str, ...]:
        """Plugins that speak for a scheme: the one of its type, and the cross-cutting ones it names (or all)."""
        table = self.settings.schemes[scheme]
        typed = set(self._type_plugins.values())
        own = self._type_plugins[table.type]
        if table.plugins is None:
            others = [n for n in self.plugins.names if n not in typed and n != KERNEL]
        else:
            others = [n for n in table.plugins if n in self.plugins.manifests]  # without one that is switched off
        return (own, *(n for n in others if n != own))

    def speaking(self, spec: Callable[..., Any], scheme: str) -> list[str]:
        """Plugins that implement a hook and speak for a scheme, the one of its type first."""
        implementing = self.plugins.implementers(spec)
        return [name for name in self.speakers(scheme) if name in implementing]

    def listeners(self, event: str, scheme: str | None) -> tuple[str, ...]:
        """Plugins that are told of an event: those that implement its hook and, in a scheme, speak for it."""
        implementing = self.subscribers(event)
        if scheme is None:
            return implementing
        speaking = (KERNEL, *self.speakers(scheme))
        return tuple(name for name in implementing if name in speaking)

    def subscribers(self, event: str) -> tuple[str, ...]:
        """Plugins that implement the hook of an event."""
        if event not in self._subscribers:
            self._subscribers[event] = tuple(self.plugins.implementers(hook_of(event)))
        return self._subscribers[event]

    def unknown_name(self, name: str) -> Refusal:
        """`not_found` for a command or query that nobody registered."""
        name = name[:WORD_MAX]
        close = get_close_matches(name, [*self.commands, *self.queries], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "; `imis run --list` shows all"
        return Refusal("not_found", f"there is no command or query {name!r}{hint}")


class Application(Composition):
    """A composition at work on a database. All doors, jobs and hooks hang on this object."""

    def __init__(
        self, settings: Settings, database: Database, clock: Clock, ids_key: bytes,
        *, file: str = "imis.toml", extra: Mapping[str, object] | None = None, var: Path | None = None,
        seals_key: bytes | None = None,
    ) -> None:  # fmt: skip
        super().__init__(settings, file, extra)
        self._var = var
        self.seals_key = seals_key or secrets.token_bytes(SEALS_KEY_BYTES)  # a throw-away application has its own
        self.database = database
        self.clock = clock
        nouns = {noun: number for m in self.plugins.manifests.values() for noun, number in m.nouns.items()}
        self.ids = Ids(ids_key, nouns)
        self.system: Caller = system_caller()
        self.lookups = Allowance(settings.security.lookups_per_hour, 3600.0)
        self.event_types = EVENT_TYPES
        self.terms_cache: dict[tuple[int, str], Any] = {}
        self.watchers: list[Callable[[str, Mapping[str, int], float], object]] = []

    @cached_property
    def var(self) -> Path:
        """Where the running system keeps files: the deployment's `var`, or a folder that goes with a throw-away one."""
        if self._var is not None:
            return self._var
        folder = Path(tempfile.mkdtemp(prefix="imis-var-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    @cached_property
    def keys(self) -> Path:
        """Where secrets that are no data lie: the deployment's `keys`, beside `var`; never in the database."""
        return self.var / "keys" if self._var is None else self._var.parent / "keys"

    def told(self, command: str, outcomes: Mapping[str, int], seconds: float) -> None:
        """A command has ended: a line of the log, and whoever counts (`watchers`: the metrics of a web process)."""
        logs.tell("command", outcomes=dict(outcomes), ms=round(seconds * 1000, 1))
        for watcher in self.watchers:
            watcher(command, outcomes, seconds)

    @cached_property
    def queue(self) -> Queue:
        """The queue of background jobs."""
        return Queue(self)

    def run(self, name: str, data: Any, caller: Caller, *, key: str | None = None, atomic: bool = False) -> Any:
        """Run a command (one object, or a list as a batch) or a query; plain data out.

        One object: its result, or `ImisError`. A list: results and refusals in order.
        """
        if name in self.queries:
            return run_query(self, name, data, caller)
        if isinstance(data, (list, tuple)):
            return run_command(self, name, data, caller, key=key, atomic=atomic).outcomes
        return self.run_one(name, data, caller, key=key).outcomes[0]

    def run_one(self, name: str, data: Any, caller: Caller, *, key: str | None = None) -> Reply:
        """Run a command on one object. Raises `ImisError` if it is refused."""
        reply = run_command(self, name, (data,), caller, key=key, single=True)
        if isinstance(reply.outcomes[0], Refusal):
            raise ImisError(reply.outcomes[0])
        return reply

    def hold_for_approval(self, context: Context, definition: Command, items: Sequence[Any], single: bool) -> Reply:
        """Store a request that needs a second person."""
        from imis_core.approvals import hold

        return hold(context, definition, items, single)

"""What a plugin shows without a database: its manifest, hooks, settings, names, sentences, and what it imports."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from imis_core import hookspecs
from imis_core.application import Composition
from imis_core.deployment import SettingsError, settings_from
from imis_core.ids import KERNEL_NOUNS
from imis_core.parsing import InvalidInput, parse
from imis_core.plugins import PluginErrors
from imis_core.testing.conformance.complaints import Complaint

_PERMISSION: Final = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*\Z")
_NOUN: Final = re.compile(r"[a-z][a-z0-9_]*\Z")
_MENDS: Final[Mapping[str, str]] = {
    "hook": "write it as imis_core/hookspecs.py has it, with @hookimpl and without defaults",
    "manifest": "answer imis_plugin with a Manifest whose name is that of the entry point",
    "name": "name the plugin in lower case letters, digits and underscores",
    "kernel": "widen the manifest's `kernel`, or install a fitting imis-core",
    "clash": "choose a name or number that nobody has",
    "number": "give the noun a number from 1000",
    "noun": "list the noun in the manifest, or begin the name with one that is listed",
    "import": "let the plugin's page import without errors",
    "not_installed": "install the plugin: its entry point is in the group imis.plugins",
    "port": "name the plugin that provides it in `beside`",
}
# Calls by which a rule would read the machine's clock, or SQL's, instead of the context's.
_CLOCKS: Final = {
    "date.today", "datetime.now", "datetime.utcnow", "datetime.today", "func.now", "func.current_date",
    "func.current_timestamp", "func.clock_timestamp", "func.localtimestamp", "time.time",
}  # fmt: skip


def compose(tables: Mapping[str, Any], extra: Mapping[str, object], plugin: str) -> Composition | list[Complaint]:
    """The plugin put together with the kernel as at every start, or everything that keeps it from starting."""
    try:
        return Composition(settings_from(tables, "conformance"), "conformance", extra)
    except (PluginErrors, SettingsError) as error:
        return [
            Complaint(plugin, problem.path, problem.message, _MENDS.get(problem.reason, "see the message"))
            for problem in error.refusal.problems
        ]


def compose_with_schemes(
    tables: dict[str, Any], extra: Mapping[str, object], plugin: str
) -> Composition | list[Complaint]:
    """The same with a scheme of each kind that the plugin knows; the schemes are added to `tables`."""
    found = compose(tables, extra, plugin)
    if isinstance(found, list):
        return found
    own = [name for name, owner in found._type_plugins.items() if owner == plugin]
    tables["schemes"] = {f"conformance{i or ''}": {"type": name} for i, name in enumerate(own)}
    return compose(tables, extra, plugin)


def check_surface(composition: Composition, plugin: str) -> Iterator[Complaint]:
    """Everything about a plugin that can be started, but what needs a database."""
    yield from _signatures(composition, plugin)
    yield from _idempotent(composition, plugin)
    yield from _manifest(composition, plugin)
    yield from _settings(composition, plugin)
    yield from _doors(composition, plugin)
    yield from _imports(composition, plugin)


def _hooks(composition: Composition, plugin: str) -> Iterator[tuple[str, Callable[..., Any], Callable[..., Any]]]:
    """Name, specification and implementation of each hook that the plugin implements."""
    manager = composition.plugins._manager
    for name in sorted(n for n in dir(hookspecs) if n.startswith("imis_")):
        for implementation in getattr(manager.hook, name).get_hookimpls():
            if implementation.plugin_name == plugin:
                yield name, getattr(hookspecs, name), implementation.function


def _signatures(composition: Composition, plugin: str) -> Iterator[Complaint]:
    for name, spec, function in _hooks(composition, plugin):
        wanted = inspect.signature(spec).parameters
        for argument in inspect.signature(function).parameters.values():
            if argument.name == "self" or argument.annotation is inspect.Parameter.empty:
                continue
            theirs, ours = (str(a).rpartition(".")[2] for a in (argument.annotation, wanted[argument.name].annotation))
            if theirs not in (ours, "Any"):
                what = f"the argument {argument.name!r} is annotated as {theirs}, the hook gives {ours}"
                yield Complaint(plugin, name, what, f"annotate it as {ours}, from imis_core.api")
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            yield Complaint(plugin, name, "it is asynchronous, hooks are not", "write it as a plain function")


def _idempotent(composition: Composition, plugin: str) -> Iterator[Complaint]:
    """Asked again, a plugin answers the same: a hook that registers by a side effect does not."""
    for name, spec, _ in _hooks(composition, plugin):
        if name != "imis_plugin" and not name.startswith("imis_register_"):
            continue
        answers = []
        for _ in range(2):
            answer: Any = composition.plugins.call_plugin(plugin, spec)
            answers.append(answer if name == "imis_plugin" else [item.name for item in answer])
        if answers[0] != answers[1]:
            what = f"asked twice it answers {_short(answers[0])}, then {_short(answers[1])}"
            yield Complaint(plugin, name, what, "build the answer anew each time, from what never changes")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _manifest(composition: Composition, plugin: str) -> Iterator[Complaint]:
    manifest = composition.plugins.manifests[plugin]
    for noun in manifest.nouns:
        if not _NOUN.match(noun):
            mend = "write it in lower case with underscores, in the plural"
            yield Complaint(plugin, f"imis_plugin, noun {noun!r}", "a noun's name is lower case", mend)
    if (manifest.tables is None) != (manifest.migrations is None):
        what = "tables and migrations come together, the manifest names only one of them"
        yield Complaint(plugin, "imis_plugin", what, "name both `tables` and `migrations`, or none")


def _settings(composition: Composition, plugin: str) -> Iterator[Complaint]:
    kind = composition.plugins.manifests[plugin].settings
    if kind is None:
        return
    where = f"settings class {kind.__name__}"
    if not attrs.has(kind):
        yield Complaint(plugin, where, "it is no attrs class", "make it @frozen(kw_only=True), each field with a type")
        return
    if not getattr(kind, "__setattr__", None).__qualname__.startswith("_frozen"):  # type: ignore[union-attr]
        yield Complaint(plugin, where, "it is not frozen", "make it @frozen(kw_only=True)")
    try:
        parse({"no_such_setting": 1}, kind)
    except InvalidInput as error:
        if not any(problem.path == "no_such_setting" for problem in error.problems):
            yield Complaint(plugin, where, "it takes settings that it does not know", "use plain attrs fields only")
    except Exception as error:
        what = f"reading [plugins.{plugin}] fails with {type(error).__name__}: {error}"
        yield Complaint(plugin, where, what, "use types that settings can have: text, numbers, dates, lists, tables")
    else:
        yield Complaint(plugin, where, "it takes settings that it does not know", "use plain attrs fields only")


def _doors(composition: Composition, plugin: str) -> Iterator[Complaint]:
    plugins = composition.plugins
    nouns = {*KERNEL_NOUNS, *(noun for m in plugins.manifests.values() for noun in m.nouns)}
    for hook, items in (
        ("imis_register_commands", _registered(composition, plugin, hookspecs.imis_register_commands)),
        ("imis_register_queries", _registered(composition, plugin, hookspecs.imis_register_queries)),
    ):
        for item in items:
            where = f"{hook}, {item.name}"
            if not _PERMISSION.match(item.permission):
                what = f"its permission {item.permission!r} is not named as noun.verb in lower case"
                yield Complaint(plugin, where, what, "leave `permission` out, or write noun.verb")
            elif item.permission.partition(".")[0] not in {*nouns, item.noun}:
                what = f"its permission {item.permission!r} belongs to no noun that anybody registers"
                yield Complaint(plugin, where, what, f"name it {item.noun}.something")
            if not item.summary.endswith("."):
                what = "its handler's docstring does not begin with a sentence" if item.summary else "it says nothing"
                yield Complaint(plugin, where, what, "begin the handler's docstring with one line that ends in a dot")
            if not attrs.has(item.input):
                yield Complaint(plugin, where, "its input is no attrs class", "make it @frozen(kw_only=True)")
    for job in _registered(composition, plugin, hookspecs.imis_register_jobs):
        if not job.summary.strip():
            yield Complaint(plugin, f"imis_register_jobs, {job.name}", "it says nothing", "give it a summary")
    for kind in _registered(composition, plugin, hookspecs.imis_register_scheme_types):
        if not (kind.terms.__doc__ or "").strip() or (kind.terms.__doc__ or "").startswith("Method generated"):
            where = f"imis_register_scheme_types, {kind.name}"
            yield Complaint(plugin, where, "its terms say nothing", f"give {kind.terms.__name__} a docstring")


def _registered(composition: Composition, plugin: str, spec: Any) -> tuple[Any, ...]:
    if plugin not in composition.plugins.implementers(spec):
        return ()
    return tuple(composition.plugins.call_plugin(plugin, spec))


# --- what its files import and call


def _imports(composition: Composition, plugin: str) -> Iterator[Complaint]:
    """A plugin sees the kernel through `imis_core.api`, no other plugin, and no clock but the context's."""
    folder = package_folder(composition, plugin)
    if folder is None:
        return
    package = folder.name
    for path in sorted(folder.rglob("*.py")):
        name = str(path.relative_to(folder.parent))
        tree = ast.parse(path.read_text("utf-8"), str(path))
        for node in ast.walk(tree):
            for module in _modules(node):
                top = module.partition(".")[0]
                allowed = module in ("imis_core.api", "imis_core.testing") or module.startswith("imis_core.testing.")
                if top == "imis_core" and not allowed:
                    mend = "import it from imis_core.api; what is missing there is worth an issue"
                    yield Complaint(plugin, f"{name}:{node.lineno}", f"it imports {module}", mend)  # type: ignore[attr-defined]
                elif top.startswith("imis_") and top not in ("imis_core", package):
                    mend = "what two plugins share is a port (Manifest.provides) or a room of the kernel"
                    yield Complaint(plugin, f"{name}:{node.lineno}", f"it imports another plugin, {module}", mend)  # type: ignore[attr-defined]
            if isinstance(node, ast.Call) and ".".join(ast.unparse(node.func).split(".")[-2:]) in _CLOCKS:
                what = f"it reads a clock with {ast.unparse(node.func)}()"
                yield Complaint(plugin, f"{name}:{node.lineno}", what, "use context.today or context.now")


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
        if node.module == "imis_core":
            return [f"imis_core.{alias.name}" for alias in node.names]
        return [node.module]
    return []


def package_folder(composition: Composition, plugin: str) -> Path | None:
    """The folder of the plugin's package; None for one that is no module of a package (made by a test)."""
    module = composition.plugins._manager.get_plugin(plugin)
    name = getattr(module, "__name__", None)
    package = sys.modules.get(name.partition(".")[0]) if name else None
    if name is None or "." not in name or package is None or not package.__file__:
        return None
    return Path(package.__file__).parent

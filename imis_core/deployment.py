"""`imis.toml` into frozen settings: every mistake of the file in one report, with its path and a way out.

Knows the file's form, not what plugins are installed: what only a plugin can judge (its settings, its scheme types and
their features) is checked by `imis_core.application` with the same kind of problems.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from attrs import evolve, field, frozen

from imis_core.errors import ImisError, Problem, Refusal, suggestion
from imis_core.gateway_settings import GatewayTable, gateway_problems
from imis_core.limit_settings import AMOUNTS, LimitsTable, limit_problems
from imis_core.notification_settings import NotificationsTable, notification_problems
from imis_core.parsing import InvalidInput, parse
from imis_core.protection import SecurityTable, security_problems
from imis_core.values import MINOR_UNITS, Amount, NotExact, Percent, to_minor

ADMINISTRATOR: Final = "administrator"
_VARIABLES: Final = {"url": "IMIS_DATABASE_URL", "owner_url": "IMIS_DATABASE_OWNER_URL"}  # they win over the file
_LOG_VARIABLES: Final = {"level": "IMIS_LOG_LEVEL", "format": "IMIS_LOG_FORMAT"}
# The approval commands cannot themselves wait for approval (contract-kernel.md, approvals).
_APPROVAL_VERBS: Final = re.compile(r"\.(approve|reject|withdraw)(_\w+)?\Z")
DEVIATION_MAX_PERCENT: Final = 100_000
_SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
_SCHEME = re.compile(r"[a-z][a-z0-9_]*\Z")
_PERMISSION = re.compile(r"(\*|[a-z_]+\.(\*|[a-z_]+))\Z")


@frozen
class PersonNumberRule:
    """How a person's number is made: fixed length and check digit (health_insurance.md 1)."""

    length: int | None = None
    checksum: object = None  # "luhn" or {modulo = k}


@frozen
class AttributeRule:
    """One declared attribute of persons or groups (contract.md, conventions)."""

    type: Literal["text", "int", "decimal", "bool", "date", "choice"]
    of: Literal["person", "group"] = "person"
    required: bool = False
    choices: tuple[str, ...] = ()
    unique: bool = False
    masked: bool = False


@frozen(kw_only=True)
class PhotoMonths:
    """How many months old a photo may be when a policy is renewed."""

    adult: int = 60
    child: int = 12


@frozen(kw_only=True)
class DeploymentTable:
    name: str | None = None
    country: str
    currency: str
    languages: tuple[str, ...] = ("en",)
    calendar: Literal["gregorian", "bikram_sambat", "ethiopian"] = "gregorian"
    timezone: str = "UTC"
    age_of_majority: int = 18
    person_names: Literal["required", "optional"] = "required"
    masked_identifiers: tuple[str, ...] = ()
    person_number: PersonNumberRule | None = None
    attributes: dict[str, AttributeRule] | None = None
    # Levels of facilities by the deployment's own names -> what they are; absent: the level is not checked.
    facility_levels: dict[str, Literal["dispensary", "health_centre", "hospital"]] | None = None
    renewal_notice_days: int = 14  # before a policy's end
    photo_months: PhotoMonths = field(factory=PhotoMonths)


@frozen(kw_only=True)
class DatabaseTable:
    url: str = field(default="embedded", repr=False, metadata={"secret": True})  # it carries a password
    owner_url: str | None = field(default=None, repr=False, metadata={"secret": True})


@frozen(kw_only=True)
class ReviewTable:
    """Which claims of a scheme wait for a medical review (health_insurance.md 4, selection).

    `above`: those that ask more than this amount; `share`: percent, by chance; `deviation`: those that ask more than so
    many percent above what claims of their diagnosis asked on average in the calendar year before.
    """

    above: Amount | None = None
    share: Percent | None = None
    deviation: int | None = None


@frozen(kw_only=True)
class FeedbackTable:
    """`share`: of how many percent of the claims, chosen by chance, the patient is asked whether the care was given."""

    share: Percent


@frozen(kw_only=True)
class SchemeTable:
    type: str
    currency: str | None = None
    plugins: tuple[str, ...] | None = None  # None: every enabled plugin without a scheme type speaks for it
    features: dict[str, bool] = field(factory=dict)
    packages: str | None = None
    review: ReviewTable | None = None
    feedback: FeedbackTable | None = None


@frozen(kw_only=True)
class ApprovalTable:
    roles: tuple[str, ...] = ()
    approvers: int = 1


@frozen(kw_only=True)
class RoleTable:
    permissions: tuple[str, ...] = ()
    scope: Literal["place", "provider", "all"] = "all"


@frozen(kw_only=True)
class LogsTable:
    """What the processes write to standard error; IMIS_LOG_LEVEL and IMIS_LOG_FORMAT win."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


@frozen(kw_only=True)
class BackupTable:
    """`max_age_hours`: from then on `imis doctor` calls the last backup too old."""

    max_age_hours: int = 26


@frozen(kw_only=True)
class RetentionTable:
    """For how many days what is not the scheme's own record is kept (docs/operate.md, Retention)."""

    idempotency_days: int = 30
    token_days: int = 30
    lookup_days: int = 730
    event_days: int = 90
    job_days: int = 30
    notification_days: int = 365
    provider_message_days: int = 365


@frozen(kw_only=True)
class Settings:
    """All of `imis.toml`. `folder` is where it lies (None for a scenario that carries its own)."""

    deployment: DeploymentTable
    database: DatabaseTable = field(factory=DatabaseTable)
    plugins: dict[str, object] = field(factory=dict)
    schemes: dict[str, SchemeTable] = field(factory=dict)
    approvals: dict[str, ApprovalTable] = field(factory=dict)
    roles: dict[str, RoleTable] = field(factory=dict)
    security: SecurityTable = field(factory=SecurityTable)
    backup: BackupTable = field(factory=BackupTable)
    logs: LogsTable = field(factory=LogsTable)
    retention: RetentionTable = field(factory=RetentionTable)
    notifications: NotificationsTable = field(factory=NotificationsTable)
    payment_gateways: dict[str, GatewayTable] = field(factory=dict)
    payment_limits: dict[str, LimitsTable] = field(factory=dict)
    folder: Path | None = field(default=None, metadata={"name": "(folder)"})

    @property
    def enabled(self) -> tuple[str, ...]:
        """Names of the plugins that are switched on, without those in `IMIS_DISABLE`."""
        return tuple(name for name in self._listed if name not in _switched_off())

    @property
    def disabled(self) -> tuple[str, ...]:
        """Names of listed plugins that `IMIS_DISABLE` switches off for this start."""
        return tuple(name for name in self._listed if name in _switched_off())

    @property
    def _listed(self) -> tuple[str, ...]:
        listed = self.plugins.get("enabled", ())
        assert isinstance(listed, (list, tuple))
        return tuple(str(name) for name in listed)

    def plugin_settings(self, name: str) -> Mapping[str, object]:
        """The table `[plugins.NAME]`, {} if absent."""
        table = self.plugins.get(name, {})
        assert isinstance(table, Mapping)
        return table

    @property
    def name(self) -> str:
        return self.deployment.name or "deployment"

    def currency_of(self, scheme: str) -> str:
        return self.schemes[scheme].currency or self.deployment.currency

    def limits_of(self, payment_provider: str) -> LimitsTable:
        """The limits of a payment provider; a provider with a service may have them in its own table."""
        own = self.payment_limits.get(payment_provider, LimitsTable())
        gateway = self.payment_gateways.get(payment_provider)
        if gateway is None:
            return own
        given = {name: getattr(gateway, name) for name in AMOUNTS if getattr(gateway, name) is not None}
        return evolve(own, **given)

    def permissions_of(self, role: str) -> tuple[str, ...]:
        return ("*",) if role == ADMINISTRATOR else self.roles[role].permissions

    def scope_of(self, role: str) -> str:
        return "all" if role == ADMINISTRATOR else self.roles[role].scope


def _switched_off() -> set[str]:
    return {name.strip() for name in os.environ.get("IMIS_DISABLE", "").split(",")}


class SettingsError(ImisError):
    """`imis.toml` is wrong; `refusal.problems` lists every mistake."""

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        count = f"{len(problems)} mistake{'s' if len(problems) != 1 else ''}"
        super().__init__(Refusal("settings.invalid", f"{file} has {count}; mend them and try again", problems))


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as data. Raises `SettingsError` with the line where it cannot be read."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError(str(path), (Problem("", "missing", f"there is no file {path}"),)) from None
    except UnicodeDecodeError as error:
        raise SettingsError(str(path), (Problem("", "encoding", f"not UTF-8 at byte {error.start}"),)) from None
    except RecursionError:
        raise SettingsError(str(path), (Problem("", "syntax", "not TOML: nested too deep"),)) from None
    except ValueError as error:  # not TOML, or a whole number of thousands of digits
        raise SettingsError(str(path), (Problem("", "syntax", f"not TOML: {error}"),)) from None
    except OSError as error:
        raise SettingsError(str(path), (Problem("", "unreadable", f"cannot be read: {error.strerror}"),)) from None


def load_settings(folder: Path) -> Settings:
    """The settings of a deployment folder, environment variables applied. Raises `SettingsError`."""
    path = folder / "imis.toml"
    problems: list[Problem] = []
    given = {}
    for field_name, variable in _VARIABLES.items():
        if url := os.environ.get(variable):
            given[field_name] = url
            problems += _url_problems(variable, url)
    logs = {name: word for name, variable in _LOG_VARIABLES.items() if (word := os.environ.get(variable))}
    try:
        logged = parse(logs, LogsTable)
    except InvalidInput as error:
        problems += [Problem(_LOG_VARIABLES[p.path], p.reason, p.message) for p in error.problems]
    try:
        settings = settings_from(read_toml(path), str(path))
    except SettingsError as error:
        raise SettingsError(str(path), (*error.refusal.problems, *problems)) from None
    if problems:
        raise SettingsError("the environment", tuple(problems))
    logged = evolve(settings.logs, **{name: getattr(logged, name) for name in logs})
    return evolve(settings, database=evolve(settings.database, **given), logs=logged, folder=folder.resolve())


def settings_from(data: Mapping[str, Any], file: str, default_name: str | None = None) -> Settings:
    """Settings from the tables of `imis.toml`. Raises `SettingsError` with all problems of form and meaning."""
    problems: list[Problem] = []
    settings: Settings | None = None
    try:
        settings = parse(data, Settings)
    except InvalidInput as error:
        problems += error.problems
    problems += _meaning(data)
    if problems or settings is None:
        unique = {(p.path, p.reason): p for p in problems}
        raise SettingsError(file, tuple(unique.values()))
    if settings.deployment.name is None:
        if default_name is None:
            raise SettingsError(file, (Problem("deployment.name", "required", "this field is required"),))
        settings = evolve(settings, deployment=evolve(settings.deployment, name=default_name))
    return settings


def _table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    return value if isinstance(value, Mapping) else {}


def _meaning(data: Mapping[str, Any]) -> list[Problem]:
    """What the types cannot say; works on the raw tables, so that it reports beside mistakes of form."""
    return [
        *_deployment_problems(_table(data, "deployment")),
        *_plugin_problems(_table(data, "plugins")),
        *_scheme_problems(data),
        *_role_problems(data),
        *_database_problems(_table(data, "database")),
        *security_problems(_table(data, "security")),
        *_day_problems(data),
        *notification_problems(_table(data, "notifications")),
        *gateway_problems(_table(data, "payment_gateways"), _table(data, "deployment").get("currency")),
        *limit_problems(
            _table(data, "payment_limits"), _table(data, "payment_gateways"), _table(data, "deployment").get("currency")
        ),
    ]


def _deployment_problems(table: Mapping[str, Any]) -> list[Problem]:
    found = []
    name = table.get("name")
    if isinstance(name, str) and not _SLUG.match(name):
        found.append(Problem("deployment.name", "format", f"{name!r} is no slug: lower-case words joined by '-'"))
    country = table.get("country")
    if isinstance(country, str) and not re.fullmatch("[A-Z]{2}", country):
        found.append(Problem("deployment.country", "format", f"{country!r} is not two capitals (ISO 3166)"))
    found += _currency("deployment.currency", table.get("currency"))
    zone = table.get("timezone")
    if isinstance(zone, str):
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            found.append(Problem("deployment.timezone", "unknown", f"there is no time zone {zone!r}"))
    majority = table.get("age_of_majority")
    if isinstance(majority, int) and not isinstance(majority, bool) and not 1 <= majority <= 120:
        found.append(Problem("deployment.age_of_majority", "range", "expected an age from 1 to 120"))
    found += _range("deployment.renewal_notice_days", table.get("renewal_notice_days"), 0, 366)
    for age, months in _table(table, "photo_months").items():
        found += _range(f"deployment.photo_months.{age}", months, 1, 1200)
    if table.get("languages") == []:
        found.append(Problem("deployment.languages", "required", "name at least one language"))
    rule = table.get("person_number")
    if isinstance(rule, Mapping):
        found += _number_rule(rule)
    for attribute, spec in _table(table, "attributes").items():
        if isinstance(spec, Mapping) and (spec.get("type") == "choice") != bool(spec.get("choices")):
            message = 'choices go with type = "choice", and only with it'
            found.append(Problem(f"deployment.attributes.{attribute}.choices", "choices", message))
    return found


def _range(path: str, value: object, low: int, high: int) -> list[Problem]:
    if isinstance(value, int) and not isinstance(value, bool) and not low <= value <= high:
        return [Problem(path, "range", f"expected {low} to {high}, found {value}")]
    return []


def _number_rule(rule: Mapping[str, Any]) -> list[Problem]:
    found = []
    length = rule.get("length")
    if isinstance(length, int) and not isinstance(length, bool) and not 2 <= length <= 30:
        found.append(Problem("deployment.person_number.length", "range", "expected a length from 2 to 30"))
    checksum = rule.get("checksum")
    modulo = checksum.get("modulo") if isinstance(checksum, Mapping) and set(checksum) == {"modulo"} else None
    if checksum is not None and checksum != "luhn" and not (isinstance(modulo, int) and 2 <= modulo <= 10):
        message = 'expected "luhn" or { modulo = k } with k from 2 to 10'
        found.append(Problem("deployment.person_number.checksum", "choice", message))
    return found


def _currency(path: str, code: object) -> list[Problem]:
    if isinstance(code, str) and code not in MINOR_UNITS:
        return [Problem(path, "unknown", f"there is no currency {code!r}{suggestion(code, MINOR_UNITS)}")]
    return []


def _plugin_problems(table: Mapping[str, Any]) -> list[Problem]:
    found = []
    enabled = table.get("enabled", [])
    if not isinstance(enabled, (list, tuple)) or not all(isinstance(name, str) for name in enabled):
        found.append(Problem("plugins.enabled", "type", "expected a list of plugin names"))
        enabled = []
    elif len(set(enabled)) != len(enabled):
        found.append(Problem("plugins.enabled", "duplicate", "a plugin is named twice"))
    for name, value in table.items():
        if name == "enabled":
            continue
        if not isinstance(value, Mapping):
            message = f"expected a table [plugins.{name}]{suggestion(name, ['enabled'])}"
            found.append(Problem(f"plugins.{name}", "type", message))
    return found


def _scheme_problems(data: Mapping[str, Any]) -> list[Problem]:
    found = []
    for code, scheme in _table(data, "schemes").items():
        if not _SCHEME.match(code):
            found.append(Problem(f"schemes.{code}", "format", f"{code!r} is no scheme code: lower case, digits, '_'"))
        if isinstance(scheme, Mapping):
            found += _currency(f"schemes.{code}.currency", scheme.get("currency"))
            found += _review_problems(code, scheme, _table(data, "deployment").get("currency"))
    return found


def _review_problems(code: str, scheme: Mapping[str, Any], default_currency: object) -> list[Problem]:
    """The amount of a review's table must be one of the scheme's currency, its deviation a sensible percentage."""
    currency = scheme.get("currency") or default_currency
    above, deviation = (_table(scheme, "review").get(name) for name in ("above", "deviation"))
    if isinstance(deviation, int) and not 0 <= deviation <= DEVIATION_MAX_PERCENT:
        message = f"expected a percentage from 0 to {DEVIATION_MAX_PERCENT}"
        return [Problem(f"schemes.{code}.review.deviation", "range", message)]
    if currency in MINOR_UNITS and isinstance(above, (str, int)) and not isinstance(above, bool):
        try:
            to_minor(Decimal(above), str(currency))
        except (NotExact, InvalidOperation) as error:
            if isinstance(error, NotExact):  # what is no number at all is told by its type
                return [Problem(f"schemes.{code}.review.above", "decimals", str(error))]
    return []


def _role_problems(data: Mapping[str, Any]) -> list[Problem]:
    found = []
    roles = _table(data, "roles")
    for name, role in roles.items():
        if name == ADMINISTRATOR:
            found.append(Problem(f"roles.{name}", "reserved", "the role administrator is built in; use another name"))
        permissions = role.get("permissions", []) if isinstance(role, Mapping) else []
        for index, permission in enumerate(permissions if isinstance(permissions, list) else []):
            if isinstance(permission, str) and not _PERMISSION.match(permission):
                message = f"{permission!r} is no permission: write noun.verb, noun.* or *"
                found.append(Problem(f"roles.{name}.permissions.{index}", "format", message))
    for command, table in _table(data, "approvals").items():
        if _APPROVAL_VERBS.search(command):
            found.append(Problem(f"approvals.{command}", "approval", "an approval cannot itself wait for approval"))
        named = table.get("roles") if isinstance(table, Mapping) else None
        for index, role in enumerate(named if isinstance(named, list) else []):
            if isinstance(role, str) and role not in roles and role != ADMINISTRATOR:
                message = f"there is no role {role!r}{suggestion(role, [*roles, ADMINISTRATOR])}"
                found.append(Problem(f"approvals.{command}.roles.{index}", "unknown", message))
        approvers = table.get("approvers", 1) if isinstance(table, Mapping) else 1
        if isinstance(approvers, int) and not 1 <= approvers <= 5:
            found.append(Problem(f"approvals.{command}.approvers", "range", "expected 1 to 5 approvers"))
    return found


def _day_problems(data: Mapping[str, Any]) -> list[Problem]:
    """Spans of time have sensible ends; what the database itself insists on is not promised shorter."""
    found = []
    for path, least, most, unit in (
        ("backup.max_age_hours", 1, 8_760, "hours"),
        ("retention.idempotency_days", 1, 3_650, "days"),
        ("retention.token_days", 1, 3_650, "days"),
        ("retention.lookup_days", 30, 36_500, "days"),  # the database itself keeps these and the next so long
        ("retention.event_days", 7, 3_650, "days"),
        ("retention.job_days", 1, 3_650, "days"),
        ("retention.notification_days", 7, 36_500, "days"),
        ("retention.provider_message_days", 7, 36_500, "days"),
    ):
        table, _, name = path.partition(".")
        value = _table(data, table).get(name)
        if isinstance(value, int) and not isinstance(value, bool) and not least <= value <= most:
            found.append(Problem(path, "range", f"expected {least} to {most} {unit}"))
    return found


def _database_problems(table: Mapping[str, Any]) -> list[Problem]:
    found = []
    for name in ("url", "owner_url"):
        url = table.get(name)
        if isinstance(url, str):
            found += _url_problems(f"database.{name}", url)
    return found


def _url_problems(path: str, url: str) -> list[Problem]:
    if url == "embedded":
        return []
    try:
        good = url.startswith(("postgresql://", "postgres://")) and bool(urlsplit(url).path.strip("/"))
        good = good and urlsplit(url).port != 0
    except ValueError:
        good = False
    message = 'expected "embedded" or postgresql://user:password@host/database'
    return [] if good else [Problem(path, "format", message)]


__all__ = ["ADMINISTRATOR", "Settings", "SettingsError", "load_settings", "read_toml", "settings_from"]

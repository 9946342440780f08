"""What the surface `fhir.r4` checks of mappings contributed for it, at start. Looks at descriptions, never at data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from imis_core.api import ResourceMapping
from imis_fhir.forms import FORMS
from imis_fhir.paths import EACH, WrongPath, parse_path, stars
from imis_fhir.search import KINDS

FIRST_LETTER_MESSAGE: Final = "a resource's name begins with a capital letter"


def problems(mapping: ResourceMapping) -> Iterator[str]:
    """What is wrong with a mapping, in words."""
    if not mapping.resource[:1].isupper() or not mapping.resource.isalpha():
        yield FIRST_LETTER_MESSAGE
    for entry in mapping.entries:
        yield from _entry_problems(entry)
    for one in mapping.filters:
        if one.form not in KINDS:
            yield f"the parameter {one.name!r} has the unknown form {one.form!r} (known: {', '.join(KINDS)})"
        elif not KINDS[one.form].fields <= set(one.fields):
            yield f"the parameter {one.name!r} needs the fields {', '.join(sorted(KINDS[one.form].fields))!r}"


def _entry_problems(entry: Any) -> Iterator[str]:
    try:
        parse_path(entry.path)
    except WrongPath as wrong:
        yield str(wrong)
        return
    if entry.form not in FORMS:
        yield f"the place {entry.path!r} has the unknown form {entry.form!r} (known: {', '.join(FORMS)})"
    if entry.column is None and entry.value is None:
        yield f"the place {entry.path!r} has neither a column nor a value"
    for which in (entry.column, entry.into):
        if which is not None and which.split(".").count(EACH) != stars(entry):
            yield f"the place {entry.path!r} and {which!r} go through different lists"

"""What a plugin does not keep to: the plugin, where, what, and how to mend it."""

from __future__ import annotations

from attrs import frozen


@frozen
class Complaint:
    """`where` is a hook, a table, a command, a file: what the author opens next."""

    plugin: str
    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"plugin {self.plugin!r}, {self.where}: {self.what}; mend: {self.mend}"

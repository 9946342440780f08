"""Blocks of code in the documents are true: those marked `run` are executed, those marked `imis` are right settings.

The blocks of one document run one after the other, in one folder and one Python namespace, as a reader would type them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "plugins/*/*.md", "templates/*/*.md") for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^(?P<indent> *)```(?P<words>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
RUN_SECONDS = 300


@frozen
class Block:
    """One fenced block of a document."""

    words: tuple[str, ...]
    code: str
    line: int


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a document, indented ones too."""
    text = path.read_text("utf-8")
    for found in FENCE.finditer(text):
        indent = found["indent"]
        code = "".join(line.removeprefix(indent) for line in found["code"].splitlines(keepends=True))
        yield Block(tuple(found["words"].split()), code, text.count("\n", 0, found.start()) + 1)


def marked(*words: str) -> list[object]:
    """The documents that have blocks with these words, as parameters of a test."""
    return [
        pytest.param(path, id=str(path.relative_to(ROOT)))
        for path in DOCUMENTS
        if any(block.words == words for block in blocks(path))
    ]


def named(path: Path, *words: str) -> list[Block]:
    return [block for block in blocks(path) if block.words == words]


@pytest.mark.parametrize("path", marked("sh", "run"))
def test_shell_blocks_run(path: Path, tmp_path: Path) -> None:
    """A reader who types the commands of a document one after the other meets no error."""
    script = "set -eu\n" + "\n".join(block.code for block in named(path, "sh", "run"))
    around = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=around, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", marked("python", "run"))
def test_python_blocks_run(path: Path) -> None:
    """Examples in Python run as they stand."""
    names: dict[str, object] = {"__name__": "example"}
    for block in named(path, "python", "run"):
        exec(compile("\n" * block.line + block.code, str(path), "exec", dont_inherit=True), names)


@pytest.mark.parametrize("path", marked("toml", "imis"))
def test_settings_blocks_are_right(path: Path) -> None:
    """An imis.toml of a document passes the check of settings and plugins."""
    from imis_core.application import Composition
    from imis_core.deployment import settings_from

    for block in named(path, "toml", "imis"):
        Composition(settings_from(tomllib.loads(block.code), str(path)))


def test_every_mark_is_known() -> None:
    """A misspelt mark would silently run nothing."""
    known = {("sh", "run"), ("python", "run"), ("toml", "imis"), ("sql", "run"), ("sh", "plugin")}
    wrong = [
        f"{path.relative_to(ROOT)}:{block.line}: {' '.join(block.words)}"
        for path in DOCUMENTS
        for block in blocks(path)
        if len(block.words) > 1 and block.words not in known and not block.words[1].startswith("file=")
    ]
    assert wrong == []

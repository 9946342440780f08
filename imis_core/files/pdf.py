"""PDF files from a template and data, made by Typst. It knows neither what is printed nor where the file goes.

Typst keeps what it has laid out in memory (about 50 KB a table row) and lets go of it late, so documents are made in a
process of their own that ends with them. The same template and data give the same bytes on a machine; characters that
Typst's own fonts lack are taken from the machine's fonts.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typst

_LENGTH: Final = struct.Struct(">Q")  # before each document in the child's answer


class TemplateError(Exception):
    """A template that Typst refuses; the message is Typst's own, with the place."""


def render_all(template: Path, documents: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """A document for each item of data, in order; the template reads it as `json(bytes(sys.inputs.data))`.

    The data is plain JSON. Raises `TemplateError`.
    """
    if not documents:
        return []
    asked = json.dumps({"template": str(template.resolve()), "documents": list(documents)})
    made = subprocess.run(  # noqa: S603 - this file, run by the interpreter that runs us
        [sys.executable, "-I", str(Path(__file__).resolve())], input=asked.encode(), capture_output=True, check=False
    )
    if made.returncode != 0:
        raise TemplateError(f"{template.name}: {made.stderr.decode(errors='replace').strip()}")
    pages, start = [], 0
    while start < len(made.stdout):
        (length,) = _LENGTH.unpack_from(made.stdout, start)
        start += _LENGTH.size
        pages.append(made.stdout[start : start + length])
        start += length
    return pages


def _answer() -> int:
    """The child: documents from standard input, their bytes with lengths to standard output."""
    asked = json.load(sys.stdin.buffer)
    for data in asked["documents"]:
        try:
            content = typst.compile(
                asked["template"], format="pdf", sys_inputs={"data": json.dumps(data)}, timestamp=0, pdf_tags=False
            )
        except typst.TypstError as error:
            sys.stderr.write(f"{error.message} {error.diagnostic}")
            return 1
        sys.stdout.buffer.write(_LENGTH.pack(len(content)) + content)
    return 0


if __name__ == "__main__":
    sys.exit(_answer())

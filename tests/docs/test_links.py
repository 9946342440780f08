"""Links between the documents lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "plugins/*/*.md", "templates/*/*.md") for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def headings(path: Path) -> set[str]:
    """The anchors of a document's headings, as the usual viewers make them."""
    found = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_links_between_documents_resolve() -> None:
    """A link to a file or a heading that is not there is a mistake."""
    broken = []
    for path in DOCUMENTS:
        text = re.sub(r"^( *)```.*?^\1```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        for link in LINK.findall(text):
            if "://" in link:
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / name).resolve() if name else path
            if not target.exists() or (anchor and anchor not in headings(target)):
                broken.append(f"{path.relative_to(ROOT)}: {link}")
    assert broken == []


def test_every_document_is_reached() -> None:
    """A document that no other one links to is read by nobody."""
    linked = {
        (path.parent / link.partition("#")[0]).resolve()
        for path in DOCUMENTS
        for link in LINK.findall(path.read_text("utf-8"))
    }
    lost = [str(p.relative_to(ROOT)) for p in DOCUMENTS if p != ROOT / "README.md" and p.resolve() not in linked]
    assert lost == []

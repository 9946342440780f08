"""`python -m tests.real_data FOLDER [--write FILE]`: run the whole of the data and print the table of outcomes."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from imis_core.opening import playground
from tests.real_data.report import as_markdown
from tests.real_data.run import run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default=os.environ.get("IMIS_REAL_DATA"), type=Path)
    parser.add_argument("--write", type=Path, help="write the table to this Markdown file")
    arguments = parser.parse_args()
    if arguments.folder is None or not Path(arguments.folder).is_dir():
        print("name the folder of the Synthea files as argument or in IMIS_REAL_DATA", file=sys.stderr)
        return 2
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as work, playground() as ground:
        outcome = run(ground, Path(arguments.folder), Path(work))
    text = as_markdown(outcome, time.monotonic() - started)
    print(text)
    if arguments.write is not None:
        arguments.write.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Reads CSV, XLSX and NDJSON files into rows of text with their row numbers and problems; it does not interpret a cell:
what is a date, a code or an amount is for those to say who take the rows.

A file is surveyed from end to end before the first row is given out, so that a file that cannot be read as a whole
(wrong encoding, cut off, unclosed quote) is refused before anything is done with it.
"""

from __future__ import annotations

from pathlib import Path

from imis_core.files.csv_rows import survey_csv
from imis_core.files.ndjson_rows import survey_ndjson
from imis_core.files.rows import ERRORS_COLUMN, ROW_COLUMN, Chunk, FileProblem, RowProblem, TableFile
from imis_core.files.sources import Source, detect_format, opened, refuse_other_encodings
from imis_core.files.xlsx_rows import MAXIMUM_XLSX_BYTES, read_xlsx


def read_table(path: Path, *, unescape: bool = False) -> TableFile:
    """Surveys a CSV, XLSX or NDJSON file, gzipped or not, and returns it ready to give out its rows.

    `unescape` takes away the apostrophe that `write_table(safe=True)` sets before cells that a spreadsheet would
    compute; for a file made by `ErrorFile` this happens by itself.
    Raises FileProblem: `files.not_found`, `files.empty`, `files.encoding`, `files.truncated`, `files.format`,
    `files.duplicate_column`, `files.too_large`, `files.nul`.
    """
    path = Path(path)
    with opened(path) as stream:
        source = Source(path, stream)
        head = source.peek(4096)
        file_format = detect_format(path, head, source.compressed)
        if file_format == "xlsx":
            return read_xlsx(path, source.rest(MAXIMUM_XLSX_BYTES), unescape)
        refuse_other_encodings(path, head)
        source.skip_bom()
        if file_format == "ndjson":
            return survey_ndjson(path, source, unescape)
        return survey_csv(path, source, unescape)


__all__ = ["ERRORS_COLUMN", "ROW_COLUMN", "Chunk", "FileProblem", "RowProblem", "TableFile", "read_table"]

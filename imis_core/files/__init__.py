"""The room of tabular files: turns files from outside into rows of text with their row numbers and problems, and rows
into files; it knows neither the database nor any other room."""

from imis_core.files.mapping import ColumnMap, MappedChunk, MappingFault, MappingProblem, load_mapping
from imis_core.files.reading import Chunk, FileProblem, RowProblem, TableFile, read_table
from imis_core.files.writing import ErrorFile, FileFormat, formats, write_table

__all__ = [
    "Chunk",
    "ColumnMap",
    "ErrorFile",
    "FileFormat",
    "FileProblem",
    "MappedChunk",
    "MappingFault",
    "MappingProblem",
    "RowProblem",
    "TableFile",
    "formats",
    "load_mapping",
    "read_table",
    "write_table",
]

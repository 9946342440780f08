"""Named reports: queries with a title that are written as files."""

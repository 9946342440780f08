"""The registry's way of working: staged imports, duplicates, registration periods, change requests, self-exclusion."""

"""The small expression language of conditions: parsed once, compiled to SQL over persons and households."""

"""All SQL. One module a noun; functions take a transaction and return domain objects. Two dialects, one code path."""

"""The one database: PostgreSQL. Embedded server or a server by URL, engine, roles, table kinds, bulk writes."""

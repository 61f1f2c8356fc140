"""Alembic entry: runs inside the connection that `pipelines.database.migrate` hands over."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
    version_table_schema="vigil",
)
context.run_migrations()

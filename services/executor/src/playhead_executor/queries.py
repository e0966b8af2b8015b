"""Every SQL statement of the executor, by name."""

DUE = "select execution_id::text, tenant, version from read.executions where due_at < %s order by due_at limit %s"
"""Executions at which somebody should have been acting before a moment, longest due first."""

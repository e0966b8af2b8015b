"""Every SQL statement of the executor, by name."""

DUE = "select execution_id::text, tenant, version from read.executions where due_at < %s order by due_at limit %s"
"""Executions at which somebody should have been acting before a moment, longest due first."""

DISPATCHED_BEFORE = (
    "select distinct execution_id::text from read.block_states where status = 'dispatched' and started_at < %s"
)
"""Executions that wait for a task which was given out before a moment."""

"""Everything that is said on the wire: events, commands, the workflow document, ids, subjects, problem types.

No IO, and no logic beyond validation. A consumer in another language gets the same facts from the JSON Schemas
that `schemas.py` generates from these types.
"""

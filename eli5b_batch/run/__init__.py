"""A run, from a checked job to an exit code: the plan, the calls, the engine."""

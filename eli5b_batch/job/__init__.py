"""The job file: what may stand in it, and what every other part reads of it."""

"""The job file: its schema, its checks, and the resolved job that every other part reads."""

"""Grading again: from the replies and gold answers on record to new verdicts, without asking a model.

Must not know: how a verdict is reached (`grading`), how a run works.
"""

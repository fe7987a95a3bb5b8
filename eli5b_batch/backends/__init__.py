"""Who answers: one client per wire protocol, and a table of dialects.

Must not know: when calls are sent, the journal.
"""

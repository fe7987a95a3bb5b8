"""Who answers: one client per wire protocol, and the simulated servers.

Must not know: when calls are sent, the journal.
"""

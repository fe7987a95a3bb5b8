"""Clients of model servers: one per wire protocol, and a table of the dialects that hosts speak.

Must not know: when calls are sent, the journal.
"""

"""Ollama servers that a run starts, watches over and stops itself: `manage: true` of a provider.

Must not know: calls, the journal. The rest of a run sees slots with addresses, as if the user had started the servers.
"""

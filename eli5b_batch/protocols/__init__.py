"""The experiments: a folder each, plain Python over `ctx.call`. Start with `eli5b/protocol.py`."""

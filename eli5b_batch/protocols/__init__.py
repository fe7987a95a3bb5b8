"""The experiments: one module each, plain Python over `ctx.call`. Start with `eli5b.py`."""

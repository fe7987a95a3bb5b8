"""When and where a call is sent: pacing, retries, budget, slot choice.

Must not know: what is asked and why, or what a reply means. `dispatcher.py` is the way in.
"""

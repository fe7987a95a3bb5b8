"""Processes that can be killed: each makes one call after another, and a call that goes wrong ends only its process.

Must not know: what is called, and what the end of a call means to whoever asked.

    program    what such a process runs, and what bounds a call inside it
    worker     one such process as its caller sees it: started, asked, killed
    pool       calls from an event loop
    blocking   calls from threads
"""

"""Grading: from a reply's text and the gold answer to a verdict; derived data that can be rebuilt.

Must not know: models, calls, the journal, files.

    extract    which part of a text is the final answer           linear scans only
    notation   one spelling for what can be written in many ways   no sympy
    math       equal to the gold?  cheap exact rules, then ...
    symbolic   ... sympy and math-verify                           may hang: inside a pool only
    pool       worker processes that can be killed                 the way in: `GraderPool.grade`
"""

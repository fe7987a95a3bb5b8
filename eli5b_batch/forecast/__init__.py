"""Rehearsals: the same engine on a virtual clock against modelled servers, to say what a run will take.

Must not know: how results are graded or reported. Whatever comes out of here is a prediction and says so.
"""

"""What a run will take, before it is made.

`check` counts calls and asks nothing. `rehearse` runs the engine on a virtual clock against modelled servers, and says
that its figures are a prediction.
"""

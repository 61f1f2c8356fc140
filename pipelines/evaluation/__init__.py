"""How good scores are and whether the evidence can be trusted: measures, the leakage check, pictures.

Everything here takes rows and scores and returns values; it knows no model and loads none, so training may use it.
"""

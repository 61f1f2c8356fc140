"""Gates: one module measures one thing about a candidate; the engine sets it against the rules in force."""

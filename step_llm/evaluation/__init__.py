"""How good a model is: scores and pictures."""

"""From next-token probabilities to text: search, sampling, translation."""

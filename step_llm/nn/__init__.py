"""The boxes of the paper, one page each: a function for the mathematics, a Cell for the weights."""

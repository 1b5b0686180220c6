"""The lengths of batches, apart from what makes batches: `train --help` does without NumPy."""

from __future__ import annotations

__all__ = ["BUCKETS", "fewer"]

# Each length is one more shape to compile, which takes 7 to 15 s. With these, real tokens fill 86 %
# of the positions on Multi30k (joint vocabulary of 6,000 byte pairs, 2,400 positions a batch).
BUCKETS = (12, 14, 16, 18, 21, 25, 33, 64)


def fewer(buckets: tuple, most: int = 4) -> tuple:
    """At most so many of the lengths, the longest among them, for where compiling costs most.

    Args:
        buckets: ascending lengths.
        most: at least 1.
    """
    step = -(-len(buckets) // most)
    return tuple(buckets[::-1][::step][::-1])

"""The lengths of batches, apart from what makes batches: `train --help` does without NumPy."""

from __future__ import annotations

__all__ = ["BUCKETS", "fewer"]

# Each length is one more shape to compile, which takes 7 to 15 s. With these, real tokens fill 86 %
# of the positions on Multi30k (joint vocabulary of 6,000 byte pairs, 2,400 positions a batch).
BUCKETS = (12, 14, 16, 18, 21, 25, 33, 64)


def fewer(buckets: tuple, most: int) -> tuple:
    """At most so many of the lengths, the longest among them, for less compiling and memory.

    Args:
        buckets: ascending lengths.
        most: at least 1.

    Raises:
        ValueError: another ``most``.
    """
    if most < 1:
        raise ValueError(f"the most lengths of batches are {most}; expected at least 1")
    kept = {len(buckets) * place // most for place in range(most)}  # from the longest on
    return tuple(buckets[-1 - place] for place in sorted(kept, reverse=True))

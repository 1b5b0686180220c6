"""What the fields of a configuration, or of a JSON file of ours, must be: a table for each."""

from __future__ import annotations

__all__ = ["check_fields", "is_number", "is_whole"]


def check_fields(values: dict, rules: dict, what: str = "", needed=()) -> None:
    """Name the first field that is not what its rules say.

    Args:
        values: the fields by name; one that has no rule is not looked at.
        rules: for each field a function that tells whether a value is right, and what is expected,
            in words.
        what: of what these are the fields.
        needed: the names of those that must be there.

    Raises:
        ValueError: there is one, or ``values`` is no dictionary.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{what} is {values!r}; expected an object")
    before = what and f"{what}."
    for name in needed:
        if name not in values:
            raise ValueError(f"{before}{name} is missing")
    for name, (is_right, expected) in rules.items():
        if name in values and not is_right(values[name]):
            raise ValueError(f"{before}{name} is {values[name]!r}; expected {expected}")


def is_whole(value) -> bool:
    """Whether it is a whole number; True, which to Python is one, is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value) -> bool:
    """Whether it is a number; NaN is none, and neither is True."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value

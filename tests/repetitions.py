"""How many examples a property is tried with."""

from hypothesis import settings


def examples(count: int) -> int:
    """`count` in make test-long; a quarter of it in make test."""
    is_long = settings().max_examples >= settings.get_profile("long").max_examples
    return count if is_long else max(10, count // 4)

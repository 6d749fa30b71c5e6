"""Values as a later version of the product would have them."""

import dataclasses


def newer(value, **defaults):
    """A dataclass's value as of a version with more fields, which are at their defaults."""
    extra = [(name, type(default), default) for name, default in defaults.items()]
    kind = dataclasses.make_dataclass(
        "Newer", extra, bases=(type(value),), frozen=True, slots=True, kw_only=True
    )
    return kind(**{field.name: getattr(value, field.name) for field in dataclasses.fields(value)})

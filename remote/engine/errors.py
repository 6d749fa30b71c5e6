"""Errors of the engine that a user can act on, each with a stable code."""

from typing import ClassVar


class EngineError(RuntimeError):
    """A run that cannot start or finish. code: each kind of error has its own."""

    code: ClassVar[str]


class NotANumberError(EngineError):
    """NaN or infinite values in the model's output."""

    code = "E_NOT_FINITE"


class BlackFramesError(EngineError):
    """Black frames for a picture that is not black."""

    code = "E_BLACK"


class FrozenFramesError(EngineError):
    """Frames that do not move."""

    code = "E_FROZEN"


class PlacesError(EngineError):
    """Boxes of speakers that the model could not tell apart."""

    code = "E_SPEAKER"


class BackendUnavailableError(EngineError):
    """A kernel that is missing, or does not take this device or dtype."""

    code = "E_ATTENTION"

"""How a process takes input and what its output means."""

from __future__ import annotations

from watchglass.protocol.workers import Speech as SpeechName

from .base import FRESH, Resumed, Speech
from .jsonl import JsonlSpeech
from .stream import PlainStream
from .text import TextSpeech

__all__ = ["PlainStream", "Resumed", "Speech", "new_speech"]

_MACHINES: dict[SpeechName, type[TextSpeech | JsonlSpeech]] = {
    SpeechName.TEXT: TextSpeech,
    SpeechName.JSONL: JsonlSpeech,
}


def new_speech(name: SpeechName, resumed: Resumed = FRESH) -> Speech:
    """A machine for one worker, fresh unless it goes on where another one stopped."""
    return _MACHINES[name](resumed)

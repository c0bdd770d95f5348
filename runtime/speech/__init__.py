"""How a process takes input and what its output means."""

from __future__ import annotations

from watchglass.protocol.workers import Speech as SpeechName

from .base import Speech
from .jsonl import JsonlSpeech
from .stream import PlainStream
from .text import TextSpeech

__all__ = ["PlainStream", "Speech", "new_speech"]

_MACHINES: dict[SpeechName, type[TextSpeech | JsonlSpeech]] = {
    SpeechName.TEXT: TextSpeech,
    SpeechName.JSONL: JsonlSpeech,
}


def new_speech(name: SpeechName) -> Speech:
    """A fresh machine for one worker."""
    return _MACHINES[name]()

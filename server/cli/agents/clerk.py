"""An agent that speaks jsonl: one turn for each thing it is told, with a thought, a tool and an answer."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

WORD_PAUSE_S = 0.04


def main() -> None:
    """One turn a line of stdin, until it ends."""
    say("invoke_start", kind="clerk")
    for turn, line in enumerate(sys.stdin, start=1):
        take_turn(turn, json.loads(line)["content"])


def take_turn(turn: int, content: str) -> None:
    """Think, count with a tool, answer word by word."""
    say("turn_start", turn=turn)
    say("thinking_start")
    say("thinking_delta", text="this wants counting")
    say("thinking_done", text="this wants counting")
    counts = {"words": len(content.split()), "letters": sum(map(str.isalpha, content))}
    call = f"call-{turn}"
    say("tool_call_start", id=call, name="count")
    say("tool_call_done", id=call, name="count", arguments={"text": content})
    say("tool_result", id=call, summary=json.dumps(counts), output=counts, is_error=False)
    answer = f"You said {content!r}. That is {counts['words']} words of {counts['letters']} letters in all."
    for word in answer.split(" "):
        say("text_delta", text=f"{word} ")
        time.sleep(WORD_PAUSE_S)
    say("text_done", text=answer)
    say("usage", input_tokens=len(content.split()), output_tokens=len(answer.split()))
    say("turn_end", turn=turn)


def say(event: str, **data: Any) -> None:
    """One event, at once."""
    print(json.dumps({"event": event, "data": data}), flush=True)


if __name__ == "__main__":
    main()

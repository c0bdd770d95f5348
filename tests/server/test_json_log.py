"""Logs are one JSON object a line."""

from __future__ import annotations

import logging

import orjson
import pytest

from watchglass.server.json_log import JsonFormatter, logging_json


def test_a_record_is_one_object_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("watchglass.test")
    with logging_json("info"):
        log.info("two\nlines %s", 1, extra={"port": 8080, "odd": object})
        log.debug("not this")
        log.error("failed", exc_info=ValueError("why"))
    log.error("nor this")
    lines = [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == ["two\nlines 1", "failed"]
    assert lines[0]["port"] == 8080
    assert set(lines[0]) == {"ts", "level", "logger", "message", "port", "odd"}
    assert lines[1]["level"] == "error"
    assert "ValueError: why" in lines[1]["exception"]


def test_what_is_no_utf_8_and_what_json_has_no_number_for_are_logged_too() -> None:
    record = logging.makeLogRecord({"msg": "cannot read %s", "args": ("a\udcff",), "size": 1 << 70})
    line = orjson.loads(JsonFormatter().format(record))
    assert (line["message"], line["size"]) == ("cannot read a\\udcff", str(1 << 70))

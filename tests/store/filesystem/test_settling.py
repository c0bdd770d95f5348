"""What the log says of a disk that takes nothing for a while."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from watchglass.store.filesystem import open_filesystem_store

from support.failing_files import FailingFiles
from support.stores import nobody, record_of, said
from support.tasks import soon, until

pytestmark = pytest.mark.asyncio


async def test_a_store_that_falls_behind_says_so_once_and_once_when_it_has_caught_up(
    in_memory: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    files = FailingFiles()
    async with open_filesystem_store(in_memory, files=files, settle_s=0.01) as store:
        log = await store.create(record_of("w", 1), nobody)
        await soon(log.append(said("one"), durable=True))
        tries = 0

        def refuse(*_arguments: object) -> None:
            nonlocal tries
            tries += 1
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as full:
            full.setattr(files, "fdatasync", refuse)
            full.setattr(files, "fsync", refuse)
            await soon(log.append(said("two")))
            await until(lambda: tries > 5)
        await until(lambda: "caught up" in caplog.text)
    words = [record.message for record in caplog.records if record.name.endswith(".settling")]
    assert len(words) == 2
    assert words[0].startswith("the store is behind, and tries again every 0.01 s: ")
    assert "No space left on device" in words[0]
    assert words[1].startswith("the store has caught up")

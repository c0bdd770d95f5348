"""The search for garbage: off while many objects are made that stay, and on again afterwards."""

from __future__ import annotations

import errno
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from watchglass.store.base import StoreUnusable
from watchglass.store.filesystem import open_filesystem_store
from watchglass.store.filesystem.files import Files
from watchglass.store.garbage import leave_unsearched, never_searched, not_searched


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    yield
    gc.unfreeze()
    gc.enable()


def test_it_is_off_within_and_on_again_behind() -> None:
    with not_searched():
        assert not gc.isenabled()
        with not_searched():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_it_is_on_again_after_a_failure() -> None:
    with pytest.raises(OSError, match="no disk"), not_searched():
        raise OSError("no disk")
    assert gc.isenabled()


def test_where_it_was_off_it_stays_off() -> None:
    gc.disable()
    with not_searched():
        pass
    assert not gc.isenabled()


def test_what_is_made_is_old_at_once_and_still_searched() -> None:
    with not_searched():
        made: list[list[object]] = [[]]
        made[0].append(made)
    assert not any(each is made for young in (0, 1) for each in gc.get_objects(young))
    assert any(each is made for each in gc.get_objects(2))


def test_whoever_leaves_searches_for_nothing_any_more() -> None:
    circle = _Circle()
    there = weakref.ref(circle)
    leave_unsearched()
    del circle
    gc.collect()
    assert there() is not None


def test_what_is_there_is_left_out_until_the_block_ends() -> None:
    with never_searched():
        assert gc.get_freeze_count() > 0
        with never_searched():
            pass
        assert gc.get_freeze_count() > 0, "the outer block is not over"
    assert gc.get_freeze_count() == 0


def test_what_others_froze_stays_frozen() -> None:
    gc.freeze()
    with not_searched(), never_searched():
        pass
    assert gc.get_freeze_count() > 0
    assert gc.isenabled()


class _Circle:
    def __init__(self) -> None:
        self.itself = self


class _Unlisted(Files):
    """A disk that lists no directory."""

    def listdir(self, path: str) -> list[str]:  # type: ignore[override]
        raise OSError(errno.EIO, "unreadable", path)


@pytest.mark.asyncio
async def test_it_is_on_again_after_a_store_that_could_not_be_opened(tmp_path: Path) -> None:
    async with open_filesystem_store(tmp_path):
        assert gc.isenabled()
    with pytest.raises(StoreUnusable):
        async with open_filesystem_store(tmp_path, files=_Unlisted()):
            pass
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0

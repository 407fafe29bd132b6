"""The starts of a job."""

from __future__ import annotations

import threading
from pathlib import Path

from tidegate.engine.checkpoint.attempts import ATTEMPTS_KEPT, Attempts
from tidegate.engine.checkpoint.blobs import Blobs


def test_each_start_takes_the_next_number(tmp_path: Path) -> None:
    """From 1, and the newest is the last."""
    attempts = Attempts(Blobs(tmp_path), "job")
    assert attempts.newest() is None
    assert [attempts.claim(1_000, 0, {}).attempt for _ in range(3)] == [1, 2, 3]
    assert attempts.newest() == attempts.newest()
    assert attempts.newest().attempt == 3  # type: ignore[union-attr]  # it is there


def test_a_start_says_who_it_is(tmp_path: Path) -> None:
    """For the message to the one it fences."""
    attempts = Attempts(Blobs(tmp_path), "job")
    attempts.claim(1_000, 7, {"host": "a", "pid": 12})
    newest = attempts.newest()
    assert newest is not None
    assert newest.who == "attempt 1 (host a, pid 12)"
    assert newest.started_at_ms == 1_000


def test_starts_at_the_same_time_get_different_numbers(tmp_path: Path) -> None:
    """Whoever comes second takes the next one."""
    taken: list[int] = []

    def start() -> None:
        attempts = Attempts(Blobs(tmp_path), "job")
        taken.extend(attempts.claim(1_000, 0, {}).attempt for _ in range(5))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 21))


def test_a_damaged_record_still_counts(tmp_path: Path) -> None:
    """The number alone fences."""
    attempts = Attempts(Blobs(tmp_path), "job")
    attempts.claim(1_000, 7, {})
    (tmp_path / "job/attempts/000001.json").write_bytes(b'{"attem')
    newest = attempts.newest()
    assert newest is not None
    assert newest.attempt == 1
    assert attempts.claim(1_000, 0, {}).attempt == 2


def test_a_record_that_will_not_change_is_read_once(tmp_path: Path) -> None:
    """That of a start which has decided what it begins from; before that its owner may still write it."""
    owner, other = Attempts(Blobs(tmp_path), "job"), Attempts(Blobs(tmp_path), "job")
    record = owner.claim(1_000, 57, {})
    assert owner.kept() == ([record], [])
    assert other.read(1) == record
    assert other.kept() == ([], [1])
    begun = owner.begin(record, 57, 1)
    assert other.read(1) == begun
    assert other.kept() == ([begun], [])


def test_old_records_are_cleared_and_numbers_go_on(tmp_path: Path) -> None:
    """A number is never given out twice."""
    attempts = Attempts(Blobs(tmp_path), "job")
    for _ in range(ATTEMPTS_KEPT + 3):
        attempts.claim(1_000, 0, {})
    attempts.clear()
    assert len(list((tmp_path / "job/attempts").iterdir())) == ATTEMPTS_KEPT
    assert attempts.claim(1_000, 0, {}).attempt == ATTEMPTS_KEPT + 4


def test_a_number_that_checkpoints_tell_of_is_not_taken_again(tmp_path: Path) -> None:
    """Also where the records of starts are lost."""
    attempts = Attempts(Blobs(tmp_path), "job")
    assert attempts.claim(1_000, 0, {}, above=7).attempt == 8
    assert attempts.claim(1_000, 0, {}, above=7).attempt == 9

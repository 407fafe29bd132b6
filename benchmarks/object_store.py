"""A real object store beside what is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from .scenario import BenchmarkError, Bucket


@contextmanager
def running_store(name: str) -> Iterator[Bucket]:
    """A fresh store that ends with the block, its objects in files of this machine.

    Args:
        name: of the scenario that needs it.

    Raises:
        BenchmarkError: it is not built, and there is no Go to build it with; says what to do.
    """
    from tidegate.engine.testing.s3_server import LocalS3
    from tidegate.engine.testing.servers import ServerUnavailableError

    s3 = LocalS3()
    try:
        s3.__enter__()
    except ServerUnavailableError as error:
        raise BenchmarkError(f"{name}: {error}") from None
    with closing(s3):
        yield Bucket(s3.url(), s3.options, s3.objects)

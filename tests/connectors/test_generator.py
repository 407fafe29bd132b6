"""Generated records: deterministic, whatever the splits and wherever one resumes."""

import pytest
from tidegate.connectors import Split, generator
from tidegate.engine.testing.connector_suites import SourceSuite
from tidegate.engine.testing.contexts import ManualSourceContext


def _value(random, index):
    return index, random.randrange(1000)


async def _all(source):
    context = ManualSourceContext()
    reader = source.reader(context)
    values = []
    for split in await source.discover(context, frozenset()):
        await reader.open(split, None)
        while True:
            fetch = await reader.read(split.id, 100)
            values += fetch.values
            if fetch.end:
                break
    await reader.close()
    return values


class TestGeneratorSource(SourceSuite):
    """The contract of sources, held by a function; the offsets resume inside a block."""

    limits = (7, 300)

    def source(self):
        return generator.records(lambda i: i, count=600, splits=2)

    def expected(self):
        return {"0": [*range(256), *range(512, 600)], "1": list(range(256, 512))}


async def test_the_number_of_splits_does_not_change_the_records():
    """Record i is the same in one split and in three."""
    one = await _all(generator.records(_value, count=1000, seed=7))
    three = await _all(generator.records(_value, count=1000, seed=7, splits=3))
    assert one == sorted(three)
    assert [index for index, _ in one] == list(range(1000))


async def test_another_seed_gives_other_records():
    """The seed decides, nothing else."""
    assert await _all(generator.records(_value, count=50, seed=1)) != await _all(
        generator.records(_value, count=50, seed=2)
    )


async def test_a_resume_in_the_middle_of_a_block_draws_the_same_numbers():
    """Random draws do not depend on where reading began."""
    source = generator.records(_value, count=400, seed=3)
    whole = await _all(source)
    for offset in (0, 1, 100, 255, 256, 399):
        reader = source.reader(ManualSourceContext())
        await reader.open(Split("0"), offset)
        assert (await reader.read("0", 1000)).values == whole[offset:]
        await reader.close()


async def test_without_a_count_there_is_no_end():
    """An unbounded source gives as many as asked for, and knows no lag."""
    source = generator.records(lambda i: i)
    assert not source.bounded
    reader = source.reader(ManualSourceContext())
    await reader.open(Split("0"), None)
    fetch = await reader.read("0", 1000)
    assert (len(fetch.values), fetch.end, reader.lag("0")) == (1000, False, None)


async def test_lag_is_the_rest():
    """A bounded generator knows how many records are left."""
    reader = generator.records(lambda i: i, count=10).reader(ManualSourceContext())
    await reader.open(Split("0"), 4)
    assert reader.lag("0").records == 6


@pytest.mark.parametrize("settings", [{"splits": 0}, {"count": -1}])
def test_wrong_settings_are_refused(settings):
    """A bad count is an error at once."""
    with pytest.raises(ValueError, match=r"generator\.records"):
        generator.records(lambda i: i, **settings)

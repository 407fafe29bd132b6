"""The events, the same in every run and on every machine.

Proportions and distributions are those of the reference generator (github.com/nexmark/nexmark, `generator/`), with its
usual settings: of fifty events one is a person, three are auctions, forty-six are bids; half of the bids go to the first of
the last hundred auctions, three quarters of them come from one of the last hundred persons; an auction is open for as long
as it takes to begin a hundred others, on average. The random numbers are others than there, and so are the letters.

Event time runs at `rate` events per second, in order, or in groups of `disorder` events that are shuffled as there. Unless
told otherwise it begins shortly before a midnight, for the queries that count by day.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from .events import Event

if TYPE_CHECKING:
    import numpy as np

    Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

VERSION: Final = 1
"""Part of the file's name: raise it whenever the same call would make other events."""

START_MS: Final = 1_700_006_340_000
"""One minute before midnight."""

N_PERSONS: Final = 1
N_AUCTIONS: Final = 3
N_EVENTS: Final = 50
"""Persons and auctions among so many events; the others are bids."""

FIRST_ID: Final = 1000
FIRST_CATEGORY: Final = 10
N_CATEGORIES: Final = 5
OPEN_AUCTIONS: Final = 100
ACTIVE_PERSONS: Final = 1000
LEAD: Final = 10
"""Ids so far ahead of the newest are used already: an event may come before what it speaks of."""
HOT_EVERY: Final = 100
"""The first of so many auctions, and of so many persons, is hot while it is among the newest."""

CHUNK: Final = 100_000
"""Events that are made at a time: those of a chunk depend on the settings and its number alone."""

_SEED: Final = 42
_EXTRA_BYTES: Final = {"person": 200, "auction": 500, "bid": 100}
_STATES: Final = ("AZ", "CA", "ID", "OR", "WA", "WY")
_CITIES: Final = (
    "Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne",
)  # fmt: skip
_FIRST_NAMES: Final = (
    "Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter",
)  # fmt: skip
_LAST_NAMES: Final = ("Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris")
_HOT_CHANNELS: Final = ("Google", "Facebook", "Baidu", "Apple")
_N_CHANNELS: Final = 10_000
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"

_PERSON: Final = (
    '{"type":"person","id":%d,"name":"%s","email_address":"%s@%s.com","credit_card":"%04d %04d %04d %04d",'
    '"city":"%s","state":"%s","date_time":%d,"extra":"%s"}\n'
)
_AUCTION: Final = (
    '{"type":"auction","id":%d,"item_name":"%s","description":"%s","initial_bid":%d,"reserve":%d,"date_time":%d,'
    '"expires":%d,"seller":%d,"category":%d,"extra":"%s"}\n'
)
_BID: Final = (
    '{"type":"bid","auction":%d,"bidder":%d,"price":%d,"channel":"%s","url":"%s","date_time":%d,"extra":"%s"}\n'
)


@dataclass(frozen=True)
class Settings:
    """What events are made.

    Attributes:
        rate: events per second of event time.
        disorder: so many events in a row come in another order than that of their times.
        seed: other events of the same kind.
        start_ms: the time of the first event.
    """

    rate: int = 10_000
    disorder: int = 1
    seed: int = _SEED
    start_ms: int = START_MS


def json_chunks(n: int, settings: Settings | None = None) -> Iterator[bytes]:
    """The first `n` events as JSON lines, in blocks of whole lines."""
    maker = line_maker(settings or Settings())
    # A chunk is always drawn whole, so that the first events of many are those of few.
    for first in range(0, n, CHUNK):
        yield "".join(maker.lines(first)[: n - first]).encode()


def events(n: int, settings: Settings | None = None) -> Iterator[Event]:
    """The first `n` events."""
    decoder = msgspec.json.Decoder(Event)
    for chunk in json_chunks(n, settings):
        yield from decoder.decode_lines(chunk)


def events_file(folder: Path, n: int, settings: Settings | None = None) -> Path:
    """The file of the first `n` events as JSON lines, made if it is not there yet. It is whole or not there."""
    made = settings or Settings()
    start = "" if made.start_ms == START_MS else f"-start{made.start_ms}"
    path = folder / f"nexmark-v{VERSION}-{n}-rate{made.rate}-disorder{made.disorder}-seed{made.seed}{start}.jsonl"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.writelines(json_chunks(n, made))
        partial.replace(path)
    return path


@lru_cache(maxsize=4)
def line_maker(settings: Settings) -> LineMaker:
    """What makes the lines of events."""
    return LineMaker(settings)


class LineMaker:
    """Makes the lines of events, chunk by chunk. Get one from `line_maker`: it takes a while to be made."""

    def __init__(self, settings: Settings) -> None:
        import numpy as np

        self._np = np
        self._settings = settings
        random = np.random.default_rng([settings.seed, 0])
        self._text = "".join(_LETTERS[i] for i in random.integers(0, 26, 1 << 20).tolist())
        self._hot_urls = [self._base_url(random) for _ in _HOT_CHANNELS]
        self._urls = [
            self._base_url(random) + (f"&channel_id={random.integers(0, 1 << 31)}" if random.random() < 0.9 else "")
            for _ in range(_N_CHANNELS)
        ]

    def lines(self, first: int) -> list[str]:
        """The lines of the chunk that begins with event number `first`."""
        np, settings = self._np, self._settings
        random = np.random.default_rng([settings.seed, 1 + first // CHUNK])
        number = np.arange(first, first + CHUNK, dtype=np.int64)
        within = number % settings.disorder
        shuffled = number - within + number * 953 % settings.disorder
        time = settings.start_ms + shuffled * 1000 // settings.rate
        place = number % N_EVENTS
        lines = np.empty(CHUNK, dtype=object)
        is_person = place < N_PERSONS
        is_bid = place >= N_PERSONS + N_AUCTIONS
        is_auction = ~is_person & ~is_bid
        lines[is_person] = self._persons(random, number[is_person], time[is_person])
        lines[is_auction] = self._auctions(random, number[is_auction], time[is_auction])
        lines[is_bid] = self._bids(random, number[is_bid], time[is_bid])
        return lines.tolist()

    def _persons(self, random: np.random.Generator, number: Ints, time: Ints) -> list[str]:
        n = len(number)
        cards = random.integers(0, 10_000, (4, n)).tolist()
        return [
            _PERSON % row
            for row in zip(
                (_newest_person(self._np, number) + FIRST_ID).tolist(),
                [
                    f"{first} {last}"
                    for first, last in zip(
                        self._some(random, _FIRST_NAMES, n), self._some(random, _LAST_NAMES, n), strict=True
                    )
                ],
                self._words(random, n, 3, 7),
                self._words(random, n, 3, 5),
                *cards,
                self._some(random, _CITIES, n),
                self._some(random, _STATES, n),
                time.tolist(),
                self._extra(random, n, "person", 70),
                strict=True,
            )
        ]

    def _auctions(self, random: np.random.Generator, number: Ints, time: Ints) -> list[str]:
        np, n = self._np, len(number)
        newest_person = _newest_person(np, number)
        hot_seller = newest_person // HOT_EVERY * HOT_EVERY
        seller = np.where(random.integers(0, 4, n) > 0, hot_seller, self._any_person(random, newest_person))
        first_bid, more = self._prices(random, n), self._prices(random, n)
        # As long as it takes, on average, until so many others have begun.
        horizon_ms = max(1, OPEN_AUCTIONS * N_EVENTS // N_AUCTIONS * 1000 // self._settings.rate)
        expires = time + 1 + random.integers(0, 2 * horizon_ms, n)
        return [
            _AUCTION % row
            for row in zip(
                (_newest_auction(np, number) + FIRST_ID).tolist(),
                self._words(random, n, 3, 20),
                self._words(random, n, 3, 100),
                first_bid.tolist(),
                (first_bid + more).tolist(),
                time.tolist(),
                expires.tolist(),
                (seller + FIRST_ID).tolist(),
                (random.integers(0, N_CATEGORIES, n) + FIRST_CATEGORY).tolist(),
                self._extra(random, n, "auction", 110),
                strict=True,
            )
        ]

    def _bids(self, random: np.random.Generator, number: Ints, time: Ints) -> list[str]:
        np, n = self._np, len(number)
        newest = _newest_auction(np, number)
        oldest = np.maximum(newest - OPEN_AUCTIONS, 0)
        any_auction = oldest + (random.random(n) * (newest - oldest + 1 + LEAD)).astype(np.int64)
        auction = np.where(random.integers(0, 2, n) > 0, newest // HOT_EVERY * HOT_EVERY, any_auction)
        newest_person = _newest_person(np, number)
        # The second of a hundred: the first sells.
        hot_bidder = newest_person // HOT_EVERY * HOT_EVERY + 1
        bidder = np.where(random.integers(0, 4, n) > 0, hot_bidder, self._any_person(random, newest_person))
        is_hot = (random.integers(0, 2, n) > 0).tolist()
        hot = random.integers(0, len(_HOT_CHANNELS), n).tolist()
        other = random.integers(0, _N_CHANNELS, n).tolist()
        hot_urls, urls = self._hot_urls, self._urls
        return [
            _BID % row
            for row in zip(
                (auction + FIRST_ID).tolist(),
                (bidder + FIRST_ID).tolist(),
                self._prices(random, n).tolist(),
                [_HOT_CHANNELS[i] if h else f"channel-{j}" for h, i, j in zip(is_hot, hot, other, strict=True)],
                [hot_urls[i] if h else urls[j] for h, i, j in zip(is_hot, hot, other, strict=True)],
                time.tolist(),
                self._extra(random, n, "bid", 32),
                strict=True,
            )
        ]

    def _any_person(self, random: np.random.Generator, newest: Ints) -> Ints:
        np = self._np
        persons = newest + 1
        active = np.minimum(persons, ACTIVE_PERSONS)
        return persons - active + (random.random(len(newest)) * (active + LEAD)).astype(np.int64)

    def _prices(self, random: np.random.Generator, n: int) -> Ints:
        """From a dollar to a million, evenly spread over the magnitudes."""
        prices: Ints = (10 ** (random.random(n) * 6) * 100).round().astype(self._np.int64)
        return prices

    def _some(self, random: np.random.Generator, words: tuple[str, ...], n: int) -> list[str]:
        return [words[i] for i in random.integers(0, len(words), n).tolist()]

    def _words(self, random: np.random.Generator, n: int, shortest: int, longest: int) -> list[str]:
        text = self._text
        begins = random.integers(0, len(text) - longest, n).tolist()
        lengths = random.integers(shortest, longest, n).tolist()
        return [text[begin : begin + length] for begin, length in zip(begins, lengths, strict=True)]

    def _extra(self, random: np.random.Generator, n: int, kind: str, others: int) -> list[str]:
        """So much that an event has its usual size, when its other fields take `others` bytes."""
        wanted = _EXTRA_BYTES[kind] - others
        spread = math.floor(wanted * 0.2)
        return self._words(random, n, wanted - spread, wanted + spread)

    def _base_url(self, random: np.random.Generator) -> str:
        words = "/".join(self._words(random, 3, 3, 5))
        return f"https://www.nexmark.com/{words}/item.htm?query=1"


def _newest_person(np: Any, number: Ints) -> Ints:
    """The number of the newest person at an event, from 0; of a person its own."""
    newest: Ints = number // N_EVENTS * N_PERSONS + np.minimum(number % N_EVENTS, N_PERSONS - 1)
    return newest


def _newest_auction(np: Any, number: Ints) -> Ints:
    """The number of the newest auction at an event, from 0; of an auction its own; −1 before the first."""
    place = number % N_EVENTS - N_PERSONS
    newest: Ints = number // N_EVENTS * N_AUCTIONS + np.clip(place, -1, N_AUCTIONS - 1)
    return newest

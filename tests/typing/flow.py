"""Types flow along streams. Each `# E:` names the error that a type checker must give on its line, each `# R:` the
type it must reveal; nothing else may be found."""

from __future__ import annotations

from typing import reveal_type

import msgspec
from tidegate.connectors import files, formats, memory
from tidegate.engine import KeyedStream, Topology
from tidegate.operators import DeadLetter, ProcessContext, ProcessFunction, agg, patterns, windows


class Flight(msgspec.Struct):
    """A record."""

    origin: str
    departed_ms: int
    delay: float | None


class Alarm(msgspec.Struct):
    """Another record."""

    origin: str
    minutes: int


topology = Topology("types")
flights = topology.source("flights", memory.source([Flight("JFK", 0, None)]), event_time="departed_ms")
reveal_type(flights)  # R: Stream[Flight]
reveal_type(topology.source("files", files.lines("in.jsonl", formats.json(Flight))))  # R: Stream[Flight]

# map, filter, flat_map
reveal_type(flights.map(lambda f: f.departed_ms))  # R: Stream[int]
reveal_type(flights.map(lambda f: (f.origin, f.delay)))  # R: Stream[tuple[str, float | None]]
reveal_type(flights.filter(lambda f: f.delay is not None))  # R: Stream[Flight]
reveal_type(flights.flat_map(lambda f: [f.origin, f.origin]))  # R: Stream[str]
flights.map(lambda f: f.nothing)  # E: "Flight" has no attribute "nothing"
flights.map(lambda f, g: f)  # E: Cannot infer
flights.filter(lambda f: f.orign == "JFK")  # E: "Flight" has no attribute "orign"
flights.flat_map(lambda f: f.departed_ms)  # E: expected "Iterable[

# key_by and what follows
keyed = flights.key_by(lambda f: f.origin)
reveal_type(keyed)  # R: KeyedStream[str, Flight]
reveal_type(flights.key_by("origin"))  # R: KeyedStream[Any, Flight]
flights.key_by(lambda f: f.carrier)  # E: "Flight" has no attribute "carrier"
flights.window(windows.tumbling("1h"))  # E: has no attribute "window"
flights.aggregate(n=agg.count())  # E: has no attribute "aggregate"

counted = keyed.aggregate(n=agg.count(), late=agg.max(lambda f: f.departed_ms))
reveal_type(counted)  # R: KeyedStream[str, KeyResult[str]]
reveal_type(counted.map(lambda r: r.key))  # R: Stream[str]
reveal_type(keyed.reduce(lambda a, b: a))  # R: KeyedStream[str, Flight]
reveal_type(keyed.fold(0, lambda total, f: total + f.departed_ms))  # R: KeyedStream[str, int]
keyed.reduce(lambda a, b: 7)  # E: expected "Flight"
keyed.fold(0, lambda total, f: total + f.orign)  # E: "Flight" has no attribute "orign"

# windows
windowed = keyed.window(windows.tumbling("1h"), allowed_lateness="10m")
hourly = windowed.aggregate(n=agg.count(), mean=agg.mean("delay"))
reveal_type(windowed)  # R: WindowedStream[str, Flight]
reveal_type(hourly)  # R: KeyedStream[str, WindowResult[str]]
reveal_type(hourly.map(lambda w: w.start_ms))  # R: Stream[int]
windowed.reduce(lambda a, b: b.delay)  # E: expected "Flight"
keyed.window("1h")  # E: incompatible type "str"

# some of the records, ranked, moving
reveal_type(keyed.dedupe("1h"))  # R: KeyedStream[str, Flight]
reveal_type(keyed.throttle("1s").debounce("5s").sort())  # R: KeyedStream[str, Flight]
reveal_type(flights.sort().sample(0.5))  # R: Stream[Flight]
reveal_type(keyed.over(last=3).aggregate(n=agg.count()).map(lambda r: r.value.origin))  # R: Stream[str]
reveal_type(windowed.top_n(3, lambda f: f.departed_ms))  # R: KeyedStream[str, WindowResult[str]]
keyed.dedupe("1h", keep="middle")  # E: incompatible type
keyed.over(3)  # E: No overload variant
windowed.top_n(3, lambda f: f.nothing)  # E: "Flight" has no attribute "nothing"

# update streams
best = keyed.top_n(3, lambda f: f.departed_ms)
reveal_type(best)  # R: KeyedStream[str, Change[Flight]]
reveal_type(keyed.to_changes())  # R: KeyedStream[str, Change[Flight]]
reveal_type(best.to_changes())  # R: KeyedStream[str, Change[Flight]]
reveal_type(best.to_upserts())  # R: Stream[Change[Flight]]
reveal_type(best.insert_only())  # R: Stream[Flight]
reveal_type(best.top_n(1, lambda f: f.delay))  # R: KeyedStream[str, Change[Flight]]
flights.insert_only()  # E: Invalid self argument

# patterns
late_twice = patterns.begin("one", Flight).where(lambda f: f.delay is not None).next("two").where(lambda f, m: m["one"])
reveal_type(late_twice)  # R: Pattern[Flight]
reveal_type(keyed.match(late_twice))  # R: KeyedStream[str, Match[str, Flight]]
reveal_type(keyed.match(late_twice, select=lambda m: m.first("one").departed_ms))  # R: KeyedStream[str, int]
late_twice.where(lambda f: f.orign)  # E: "Flight" has no attribute "orign"
keyed.match(late_twice, select=lambda m: m.first("one").orign)  # E: "Flight" has no attribute "orign"
of_alarms = patterns.begin("alarm", Alarm)
keyed.match(of_alarms)  # E: incompatible type "Pattern[Alarm]"

# join points
alarms = topology.source("alarms", memory.source([Alarm("JFK", 5)]))
reveal_type(flights.union(flights.filter(lambda f: True)))  # R: Stream[Flight]
flights.union(alarms)  # E: incompatible type "Stream[Alarm]"
late, rest = flights.split({"late": lambda f: (f.delay or 0) > 60})
reveal_type(late["late"])  # R: Stream[Flight]
reveal_type(rest)  # R: Stream[Flight]
reveal_type(flights.side_output("failed"))  # R: Stream[DeadLetter[Any]]


async def ask(flight: Flight) -> Alarm:
    return Alarm(flight.origin, 1)


class Watch(ProcessFunction[Flight, Alarm]):
    """From flights to alarms."""

    def process(self, value: Flight, context: ProcessContext) -> list[Alarm]:
        return [Alarm(value.origin, 1)]


reveal_type(flights.map_async(ask))  # R: Stream[Alarm]
reveal_type(keyed.process(Watch()))  # R: Stream[Alarm]
alarms.map_async(ask)  # E: incompatible type
alarms.key_by(lambda a: a.origin).process(Watch())  # E: incompatible type

# ends
flights.sink("out", files.lines("out", formats.json(Flight)))
alarm_files = files.lines("out", formats.json(Alarm))
flights.sink("alarms", alarm_files)  # E: incompatible type "Files[Alarm]"


def keyed_only(stream: KeyedStream[str, Flight]) -> None:
    """Takes keyed streams."""


keyed_only(keyed)
keyed_only(flights)  # E: incompatible type "Stream[Flight]"
letters: DeadLetter[Flight] | None = None

"""Events of Nexmark at any rate, into files, into a Kafka topic, or into a query:

    python -m benchmarks.nexmark files events/ --events 1000000
    python -m benchmarks.nexmark kafka localhost:9092 nexmark --events 1000000 --by-clock --rate 5000
    python -m benchmarks.nexmark query q5 results/ --events 1000000

Each runs a topology. Without `--events` there is no end, and Ctrl-C stops it; with `--checkpoints` it goes on next time where
it was, and what it writes into files shows at each checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tidegate.connectors import ConnectorError, files, formats
from tidegate.connectors.sink import Sink
from tidegate.engine import RunConfig, TidegateError, Topology, run

from .generator import Settings
from .queries import NAMES, query_topology
from .source import NexmarkSource


def generated(source: NexmarkSource, sink: Sink) -> Topology:
    """Events into a sink."""
    topology = Topology("nexmark-events")
    topology.source("events", source, event_time="date_time").sink("events-out", sink)
    return topology


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line says."""
    options = _parser().parse_args(arguments)
    settings = Settings(options.rate, options.disorder, options.seed)
    source = NexmarkSource(options.events, settings=settings, by_clock=options.by_clock)
    if options.into == "query":
        topology = query_topology(options.name, source, files.lines(options.folder, formats.json()))
    elif options.into == "files":
        topology = generated(source, files.lines(options.folder, formats.json()))
    else:
        from tidegate.connectors import kafka

        sink = kafka.sink(options.servers, options.topic, format=formats.json(), delivery="at_least_once")
        topology = generated(source, sink)
    try:
        run(topology, RunConfig(checkpoints=options.checkpoints, checkpoint_interval="1s"), live=False)
    except (ConnectorError, TidegateError) as error:
        sys.exit(str(error))


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--events", type=_at_least_one, help="how many; without end if not given")
    common.add_argument("--rate", type=_at_least_one, default=10_000, help="events per second of event time (10000)")
    common.add_argument(
        "--by-clock", action="store_true", help="event time follows the clock: so many events per second, from now on"
    )
    common.add_argument(
        "--disorder", type=_at_least_one, default=1, help="so many events in a row are shuffled (1: none)"
    )
    common.add_argument("--seed", type=int, default=Settings().seed, help="other events of the same kind")
    common.add_argument("--checkpoints", type=Path, help="where to keep checkpoints, to go on from; none if not given")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nexmark", description="Events of Nexmark at any rate.")
    into = parser.add_subparsers(dest="into", required=True, metavar="INTO")
    to_files = into.add_parser("files", parents=[common], help="files of JSON lines")
    to_files.add_argument("folder", type=Path)
    to_kafka = into.add_parser("kafka", parents=[common], help="a Kafka topic, as JSON")
    to_kafka.add_argument("servers")
    to_kafka.add_argument("topic")
    to_query = into.add_parser("query", parents=[common], help="a query, made in its own process")
    to_query.add_argument("name", choices=NAMES, metavar="QUERY")
    to_query.add_argument("folder", type=Path, help="where its results go")
    return parser


if __name__ == "__main__":
    main()

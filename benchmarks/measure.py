"""One side of one scenario, measured in this process: `python -m benchmarks.measure SCENARIO SIDE …`.

The last line on stdout is the result, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from .scenario import Broker, Bucket, Setup, load
from .stopwatch import print_result


def _bucket(text: str) -> Bucket:
    found = json.loads(text)
    return Bucket(found["url"], found["options"], Path(found["folder"]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure", description=__doc__)
    parser.add_argument("scenario")
    parser.add_argument("side")
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--bids", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--spawned-ns", type=int, default=0)
    parser.add_argument("--servers", help="of the Kafka broker, if one runs beside")
    parser.add_argument("--broker-pid", type=int, default=0)
    parser.add_argument("--store", type=_bucket, help="the object store, if one runs beside, as JSON")
    parser.add_argument("--core", type=int, help="run on this core only")
    given = parser.parse_args()
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    scenario = load(given.scenario)
    broker = Broker(given.servers, given.broker_pid) if given.servers else None
    setup = Setup(given.events, given.bids, given.work, given.spawned_ns, broker, given.store)
    print_result(scenario.sides[given.side](setup))


if __name__ == "__main__":
    main()

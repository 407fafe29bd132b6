"""The topology of `tidegate demo`, as an application's file. It stands in `tidegate.engine.demo.flights`.

    tidegate demo --keep --output flights
    cd flights
    tidegate explain ../examples/flight_delays.py --code

It reads `flights.jsonl` and `airlines.csv` in the folder where it is run, and writes below `results/`.
"""

from tidegate.engine import Topology
from tidegate.engine.demo.flights import flight_delays


def topology() -> Topology:
    """Delays per origin and hour, sessions of every aircraft; as fast as it goes."""
    return flight_delays(".")

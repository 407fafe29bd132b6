"""The simulator: a topology under thousands of seeded histories of crashes, delays and failures, in virtual time."""

from .outcome import Outcome, SimulationError
from .simulate import SimulationReport, simulate
from .weather import Weather

__all__ = ["Outcome", "SimulationError", "SimulationReport", "Weather", "simulate"]

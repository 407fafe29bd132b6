"""What all tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Examples are derived from the test itself, so a failure on one machine is a failure on every machine. Two
# cores shared by parallel test processes say nothing about a single example's time: no deadline.
settings.register_profile(
    "tidegate", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("tidegate")

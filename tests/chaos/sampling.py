"""What the job uses, every second; whether it stays level; and a picture of it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from statistics import median

FLOORS = {
    "rss_bytes": 16e6,
    "handles": 8,
    "threads": 4,
    "state_bytes": 8e6,
    "store_bytes": 8e6,
}
"""What is sampled, and a growth that is too little to tell."""

SHARE = 0.2
_SETTLED_S = 3.0

Sample = dict[str, float]


def sample(worker: int | None, state: Path, store: Path, now_s: float) -> Sample:
    """What there is to see now. What belongs to the worker is left out while there is none."""
    found: Sample = {"at_s": now_s, "state_bytes": _size(state), "store_bytes": _size(store)}
    if worker is not None:
        with contextlib.suppress(OSError, LookupError, ValueError):  # it has just ended
            status = Path(f"/proc/{worker}/status").read_text().splitlines()
            fields = {
                name: value.split()[0] for name, _, value in (line.partition(":") for line in status) if value.split()
            }
            started = float(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[19])
            uptime = float(Path("/proc/uptime").read_text().split()[0])
            found |= {
                "worker": float(worker),
                "age_s": uptime - started / os.sysconf("SC_CLK_TCK"),
                "rss_bytes": float(fields["VmRSS"]) * 1024,
                "threads": float(fields["Threads"]),
                "handles": float(len(os.listdir(f"/proc/{worker}/fd"))),
            }
    return found


def not_flat(samples: list[Sample]) -> list[str]:
    """What grows. A straight line is fitted to the second half of the samples; in that time it may rise by a fifth of the
    median and the floor. Workers that have just started are left out: they have not yet loaded all.

    >>> level = [{"at_s": float(t), "age_s": 9.0, "rss_bytes": 1e8 + t % 3 * 1e6} for t in range(100)]
    >>> not_flat(level)
    []
    >>> not_flat([one | {"rss_bytes": 1e8 + 2e6 * one["at_s"]} for one in level])
    ['rss_bytes: rises by 98000000 in the second half, median 249000000']
    """
    found = []
    for what, floor in FLOORS.items():
        points = [(s["at_s"], s[what]) for s in samples if what in s and s.get("age_s", 0) >= _SETTLED_S]
        points = points[len(points) // 2 :]
        if len(points) < 10:
            continue
        level = median(y for _, y in points)
        rise = _slope(points) * (points[-1][0] - points[0][0])
        if rise > floor + SHARE * level:
            found.append(f"{what}: rises by {rise:.0f} in the second half, median {level:.0f}")
    return found


def _slope(points: list[tuple[float, float]]) -> float:
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def _size(folder: Path) -> float:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            if name != "ballast":
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(path, name)).st_blocks * 512
    return float(total)


def draw(samples: list[Sample], faults: list[tuple[float, float, str]], title: str, picture: Path) -> None:
    """One row for each thing sampled, with the faults as bars behind. Nothing without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(max(12.0, samples[-1]["at_s"] / 25 if samples else 0), 11), layout="constrained")
    rows = figure.subplots(len(FLOORS), 1, sharex=True)
    for axes, what in zip(rows, FLOORS, strict=True):
        divisor = 1e6 if what.endswith("_bytes") else 1
        points = [(s["at_s"], s[what] / divisor) for s in samples if what in s]
        axes.plot(*zip(*points, strict=True), linewidth=0.8) if points else None
        axes.set_ylabel(what.replace("_bytes", ", MB"))
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        for began, ended, _ in faults:
            axes.axvspan(began, max(ended, began + 0.3), color="tab:red", alpha=0.15, linewidth=0)
    for began, _, kind in faults:
        rows[0].text(began, rows[0].get_ylim()[1], kind, rotation=90, fontsize=5, va="top")
    rows[0].set_title(title)
    rows[-1].set_xlabel("s")
    figure.savefig(picture, dpi=120)

"""What the growth scenario does: a running count per key, and counts per key and window from panes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..readings import Reading


class Totals(msgspec.Struct, gc=False):
    """A key so far."""

    key: int
    n: int
    total: int


class Window(msgspec.Struct, gc=False):
    """A key in a window."""

    key: int
    start_ms: int
    end_ms: int
    n: int
    total: int


def running(readings: Path, output: Path) -> None:
    """Count and sum per key so far: one result per record."""
    decode = msgspec.json.Decoder(Reading).decode
    encode = msgspec.json.Encoder().encode
    totals: dict[int, Totals] = {}
    with readings.open("rb", buffering=1 << 20) as lines, output.open("wb", buffering=1 << 20) as out:
        write = out.write
        for line in lines:
            reading = decode(line)
            so_far = totals.get(reading.key)
            if so_far is None:
                so_far = totals[reading.key] = Totals(reading.key, 0, 0)
            so_far.n += 1
            so_far.total += reading.value
            write(encode(so_far))
            write(b"\n")


def windows(readings: Path, output: Path, *, size_ms: int, slide_ms: int, disorder_ms: int) -> None:
    """Count and sum per key and window. The totals of a window are those of the one before, with the pane that has come
    and without the one that has gone."""
    decode = msgspec.json.Decoder(Reading).decode
    encode = msgspec.json.Encoder().encode
    panes: dict[int, dict[int, list[int]]] = {}
    totals: dict[int, list[int]] = {}
    newest_ms = next_end_ms = 0
    with readings.open("rb", buffering=1 << 20) as lines, output.open("wb", buffering=1 << 20) as out:

        def write_window(end_ms: int) -> None:
            start_ms = end_ms - size_ms
            for key, (n, total) in panes.pop(start_ms - slide_ms, {}).items():
                held = totals[key]
                held[0] -= n
                held[1] -= total
                if not held[0]:
                    del totals[key]
            for key, (n, total) in panes.get(end_ms - slide_ms, {}).items():
                held = totals.get(key)
                if held is None:
                    totals[key] = [n, total]
                else:
                    held[0] += n
                    held[1] += total
            out.write(b"".join([encode(Window(k, start_ms, end_ms, *held)) + b"\n" for k, held in totals.items()]))

        for line in lines:
            reading = decode(line)
            time_ms = reading.time_ms
            start_ms = time_ms - time_ms % slide_ms
            pane = panes.get(start_ms)
            if pane is None:
                pane = panes[start_ms] = {}
            held = pane.get(reading.key)
            if held is None:
                pane[reading.key] = [1, reading.value]
            else:
                held[0] += 1
                held[1] += reading.value
            if time_ms > newest_ms:
                newest_ms = time_ms
                passed_ms = time_ms - disorder_ms
                if not next_end_ms:
                    # Nothing is older than the first record by more than the disorder.
                    next_end_ms = passed_ms // slide_ms * slide_ms + slide_ms
                while passed_ms >= next_end_ms:
                    write_window(next_end_ms)
                    next_end_ms += slide_ms
        last_end_ms = max(panes) + size_ms
        while next_end_ms <= last_end_ms:
            write_window(next_end_ms)
            next_end_ms += slide_ms

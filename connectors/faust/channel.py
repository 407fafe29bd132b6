"""What source and sink say of a channel of a Faust app, and of what went wrong in it."""

from __future__ import annotations

from typing import Any


def described(channel: Any, function: str) -> tuple[str, bool]:
    """What a plan calls it, and whether it is a topic."""
    from faust.types import ChannelT, TopicT

    if not isinstance(channel, ChannelT):
        raise ValueError(f"faust.{function}({channel!r}): pass app.channel() or app.topic(...)")
    is_topic = isinstance(channel, TopicT)
    return (f"topic {channel}" if is_topic else "channel"), is_topic


def reason(error: BaseException) -> str:
    """An error in words."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

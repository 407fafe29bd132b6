"""The bridge to faust-streaming: a channel or topic of a Faust app as a source or a sink, in one process and one event loop.

Faust keeps what it is good at: the consumer group, its agents, its serializers. A topology takes a stream from it, computes
with checkpointed state, and hands results back. What a topology can read from Kafka itself, `kafka.source` reads faster
and exactly once; this is for what a Faust app has in its hands.
"""

from .channel_sink import ChannelSink, channel_sink
from .channel_source import ChannelSource, channel_source

__all__ = ["ChannelSink", "ChannelSource", "channel_sink", "channel_source"]

"""What a broker of a test is told: its server properties."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from .ports import HOST

# A small heap, quick restarts. Topics are made by who needs them, so that a wrong name is an error.
_SMALL_AND_QUICK = {
    "auto.create.topics.enable": "false",
    "background.threads": "2",
    "broker.heartbeat.interval.ms": "300",
    "broker.session.timeout.ms": "3000",
    "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.dedupe.buffer.size": "2097152",
    "num.io.threads": "4",
    "num.network.threads": "2",
    "offsets.topic.num.partitions": "4",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "transaction.state.log.num.partitions": "4",
}


@dataclass(frozen=True)
class BrokerAddresses:
    """Where a broker listens on the loopback interface, and the address that its clients are told."""

    number: int
    client_port: int
    internal_port: int
    controller_port: int
    advertised: tuple[str, int]


def broker_properties(broker: BrokerAddresses, cluster: Sequence[BrokerAddresses], protocol: str) -> dict[str, str]:
    """Those of a broker that is a controller too: where it and the others listen, and what is right for tests.

    Three brokers and more keep three replicas, two of which must be in sync; fewer keep one.

    Args:
        broker: whose properties.
        cluster: all brokers, this one among them.
        protocol: of the listener for clients. The internal listeners use plain text.
    """
    listeners = {
        "CLIENT": broker.client_port,
        "INTERNAL": broker.internal_port,
        "CONTROLLER": broker.controller_port,
    }
    advertised_host, advertised_port = broker.advertised
    replicas, in_sync = ("3", "2") if len(cluster) >= 3 else ("1", "1")
    return {
        "process.roles": "broker,controller",
        "node.id": str(broker.number),
        "controller.quorum.voters": ",".join(f"{it.number}@{HOST}:{it.controller_port}" for it in cluster),
        "listeners": ",".join(f"{name}://{HOST}:{port}" for name, port in listeners.items()),
        "advertised.listeners": f"CLIENT://{advertised_host}:{advertised_port},INTERNAL://{HOST}:{broker.internal_port}",
        "listener.security.protocol.map": f"CLIENT:{protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL",
        "controller.listener.names": "CONTROLLER",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.replication.factor": replicas,
        **_SMALL_AND_QUICK,
    }


def authentication_properties(users: Mapping[str, str], *, scram: bool) -> dict[str, str]:
    """How clients prove who they are: PLAIN, an unsecured OAUTHBEARER token, and SCRAM where the storage has been
    formatted with the credentials."""
    security = "org.apache.kafka.common.security"
    plain = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    modules = {
        "PLAIN": f"{security}.plain.PlainLoginModule required {plain};",
        "OAUTHBEARER": f"{security}.oauthbearer.OAuthBearerLoginModule required "
        'unsecuredLoginStringClaim_sub="broker";',
    }
    if scram:
        module = f"{security}.scram.ScramLoginModule required;"
        modules |= {"SCRAM-SHA-256": module, "SCRAM-SHA-512": module}
    return {
        "listener.name.client.sasl.enabled.mechanisms": ",".join(modules),
        **{f"listener.name.client.{name.lower()}.sasl.jaas.config": module for name, module in modules.items()},
    }


def authorization_properties(super_users: Collection[str]) -> dict[str, str]:
    """Only what an ACL allows may be done, except by these users and by the brokers among themselves, who are
    anonymous."""
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": ";".join(f"User:{user}" for user in ["ANONYMOUS", *super_users]),
    }

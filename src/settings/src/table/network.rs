//! Listeners, sockets, connections and requests.

use super::Setting;
use crate::rule::Rule;
use crate::value::ValueType::*;

#[rustfmt::skip]
pub(super) const ROWS: &[Setting] = &[
    Setting::null("advertised.listeners", List, "Endpoints that clients are told, when they differ from listeners.").high(),
    Setting::new("connection.failed.authentication.delay.ms", Int, "100", "Milliseconds that a connection stays open after a failed authentication.").at_least(0).low().unused(),
    Setting::new("connections.max.idle.ms", Long, "600000", "Milliseconds without a request after which a connection is closed; negative for never."),
    Setting::new("connections.max.reauth.ms", Long, "0", "Milliseconds after which a client has to authenticate again; 0 for never.").unused(),
    Setting::null("early.start.listeners", List, "Listeners that open before the authorizer has loaded.").unused(),
    Setting::new("fetch.max.bytes", Int, "57671680", "Largest fetch response in bytes, whatever the client asks for.").at_least(1024),
    Setting::null("inter.broker.listener.name", String, "Listener over which nodes talk to each other."),
    Setting::new("listener.security.protocol.map", List, "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", "Security protocol of each listener name.").per_broker().low(),
    Setting::new("listeners", List, "PLAINTEXT://localhost:9092", "Endpoints this node opens, as NAME://host:port. Without a host all interfaces are meant. (Kafka's default has no host.)")
        .rule(Rule::NonEmptyList).per_broker().high(),
    Setting::new("max.connection.creation.rate", Int, "2147483647", "New connections per second that the node accepts.").at_least(0).cluster_wide().unused(),
    Setting::new("max.connections", Int, "2147483647", "Connections that the node keeps open at a time.").at_least(0).cluster_wide(),
    Setting::new("max.connections.per.ip", Int, "2147483647", "Connections that one address may keep open at a time.").at_least(0).cluster_wide(),
    Setting::new("max.connections.per.ip.overrides", String, "", "Exceptions from max.connections.per.ip, as address:count.").cluster_wide().unused(),
    Setting::new("max.incremental.fetch.session.cache.slots", Int, "1000", "Incremental fetch sessions that one shard remembers.").at_least(0),
    Setting::new("max.request.partition.size.limit", Int, "2000", "Partitions in one DescribeTopicPartitions response.").at_least(1),
    Setting::new("queued.max.request.bytes", Long, "-1", "Bytes of requests that may wait; -1 for no bound. Here odradek.shard.queued.bytes bounds them.").unused(),
    Setting::new("queued.max.requests", Int, "500", "Requests that may wait before sockets are no longer read. Here odradek.shard.queued.bytes bounds them.").at_least(1).high().unused(),
    Setting::new("socket.connection.setup.timeout.max.ms", Long, "30000", "Longest wait in milliseconds for an outgoing connection.").unused(),
    Setting::new("socket.connection.setup.timeout.ms", Long, "10000", "Milliseconds to wait for an outgoing connection at first.").unused(),
    Setting::new("socket.listen.backlog.size", Int, "50", "Connections that wait to be accepted; more than the kernel's own bound is cut to it.").at_least(1),
    Setting::new("socket.receive.buffer.bytes", Int, "102400", "Socket receive buffer in bytes; -1 leaves it to the system.").high().unused(),
    Setting::new("socket.request.max.bytes", Int, "104857600", "Largest request in bytes.").at_least(1),
    Setting::new("socket.send.buffer.bytes", Int, "102400", "Socket send buffer in bytes; -1 leaves it to the system.").high().unused(),
    Setting::new("telemetry.max.bytes", Int, "1048576", "Bytes of metrics in one push of a client.").at_least(1).unused(),
    Setting::new("delete.records.purgatory.purge.interval.requests", Int, "1", "How often finished DeleteRecords requests are swept.").low().unused(),
    Setting::new("fetch.purgatory.purge.interval.requests", Int, "1000", "How often finished waiting fetches are swept.").unused(),
    Setting::new("producer.purgatory.purge.interval.requests", Int, "1000", "How often finished waiting produces are swept.").unused(),
    Setting::new("share.fetch.purgatory.purge.interval.requests", Int, "1000", "How often finished waiting share fetches are swept.").unused(),
];

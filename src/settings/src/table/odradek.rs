//! Our own keys. All of them start with `odradek.`.

use super::Setting;
use crate::rule::Rule;
use crate::value::ValueType::*;

const MIB: i64 = 1 << 20;

#[rustfmt::skip]
pub(super) const ROWS: &[Setting] = &[
    Setting::new("odradek.advertise", String, "cores", "What clients see as a broker: `cores` makes every shard a broker with a port of its own, `node` makes the whole process one broker behind the listener's port.")
        .rule(Rule::OneOf(&["cores", "node"])).high(),
    Setting::new("odradek.bypass.bytes", Int, "1048576", "Bytes that one partition must have waiting before its batches are written straight to the segment instead of the journal.")
        .between(65_536, 1 << 30).low(),
    Setting::new("odradek.cold.reads.percent", Int, "30", "Share in percent of a shard's time in which it may read cold data from disk while producers write: less keeps their latency lower, more lets consumers catch up sooner. Without writes there is no such bound.")
        .between(1, 100).low(),
    Setting::new("odradek.connections.queued.bytes", Long, "8388608", "Bytes of responses that may wait on one connection whose client does not read; beyond it the connection's requests are no longer read.")
        .between(65_536, i64::MAX),
    Setting::new("odradek.direct.io", String, "auto", "Direct I/O for journal and segments: `auto` uses it where the file system has it, `required` refuses to start without it, `off` never uses it.")
        .rule(Rule::OneOf(&["auto", "required", "off"])).high(),
    Setting::new("odradek.disk.reserve.bytes", Long, "33554432", "Free bytes of each file system that records do not take, so that state, indexes and checkpoints can be written when it is full. Below it produces are refused until there is room. 0 holds nothing back.")
        .at_least(0),
    Setting::new("odradek.journal.block.bytes", Int, "1048576", "Largest journal write in bytes: what arrives while a write is under way joins the next block up to this size.")
        .between(65_536, 64 * MIB).low(),
    Setting::new("odradek.journal.bytes", Long, "134217728", "Bytes of journal per shard. The files are written once in full and then recycled.").between(4 * MIB, i64::MAX),
    Setting::null("odradek.journal.dir", String, "Directory of the journals, best on a device of its own. Without it they live in the first of log.dirs."),
    Setting::new("odradek.journal.files", Int, "4", "Files that a shard's journal consists of; one is recycled when all it holds has reached the segments.").between(2, 1024).low(),
    Setting::new("odradek.log.format", String, "text", "Form of the process's own log lines.").rule(Rule::OneOf(&["text", "json"])),
    Setting::new("odradek.log.level", String, "info", "What the process logs: a level, or a tracing filter such as `info,odradek_store=debug`.").rule(Rule::NonEmpty),
    Setting::null("odradek.memory.bytes", Long, "Bytes of memory for batches, requests and responses of all shards together, split as docs/MEMORY.md says; what partitions, groups and connections themselves take comes on top. Without it each part of a shard has its default, all together no more than half of the machine's (or container's) memory.")
        .between(16 * MIB, i64::MAX).high(),
    Setting::new("odradek.metrics.listener", String, "", "host:port where GET /metrics tells the broker's metrics in the text format of Prometheus, and GET /ready whether it serves; localhost:9404 for instance. Empty opens nothing. There is no encryption and no login there."),
    Setting::new("odradek.open.files.max", Int, "4096", "Segment files that one shard keeps open; the least recently used is closed first.").between(16, 1 << 20).low(),
    Setting::new("odradek.pin", Boolean, "true", "Whether each shard is pinned to its CPU."),
    Setting::null("odradek.read.ahead.bytes", Int, "Bytes of cold data per shard that are read ahead and kept for consumers that read in order. Without it they are a part of odradek.memory.bytes. `odradek tune disk` measures it.").between(MIB, 1 << 30).low(),
    Setting::new("odradek.receive.buffer.bytes", Int, "262144", "Bytes of one receive buffer of a shard's ring.").rule(Rule::MultipleOf { of: 4096, min: 16_384, max: 16 * MIB }).low(),
    Setting::new("odradek.receive.buffers", Int, "16", "Receive buffers of a shard's ring; their product with odradek.receive.buffer.bytes is what arriving bytes may fill.").rule(Rule::PowerOfTwo { min: 2, max: 1024 }).low(),
    Setting::new("odradek.replicas.per.node", Int, "1", "Replicas of one partition that may live on one node. More than 1 protects nothing and is meant for tests.").between(1, 1000).low(),
    Setting::new("odradek.request.control.max.bytes", Int, "16777216", "Largest request in bytes other than Produce; those are bound by socket.request.max.bytes.").between(65_536, i32::MAX as i64),
    Setting::new("odradek.shard.port.offset", Int, "10000", "With odradek.advertise=cores, shard i also listens on the listener's port plus this offset plus i.").between(1, 64_000),
    Setting::null("odradek.shard.queued.bytes", Long, "Bytes in one shard, over all its connections, of requests that arrive or are worked on (beyond it they are read one after the other, and a client that stops in the middle of one loses its connection), and as many of responses that wait for clients to read (beyond half of it each client gets little at a time, beyond all of it those that take nothing lose their connection). Without it both are parts of odradek.memory.bytes.")
        .between(MIB, i64::MAX),
    Setting::new("odradek.shards", Int, "0", "Shards of this node, each a thread of its own. 0 means one for each CPU the process may run on.").between(0, 1000).high(),
    Setting::new("odradek.shutdown.timeout.ms", Int, "30000", "Milliseconds that requests in flight have to finish after SIGTERM or SIGINT.").at_least(0),
    Setting::new("odradek.spin.us", Int, "20", "Microseconds that a shard looks for work before it sleeps. Shortens round trips on virtual machines, costs CPU.").between(0, 10_000).low(),
    Setting::null("odradek.tail.cache.bytes", Long, "Bytes of recent batches per shard that stay in memory for consumers at the tail. Without it they are a part of odradek.memory.bytes.").between(MIB, i64::MAX),
    Setting::null("odradek.unflushed.bytes.max", Long, "Bytes per shard that may be acknowledged by the journal and not yet be in a segment; beyond it producers are slowed down. Without it they are a part of odradek.memory.bytes.")
        .between(MIB, i64::MAX),
];

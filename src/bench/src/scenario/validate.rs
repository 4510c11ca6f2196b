//! What a scenario's numbers may be.

use super::{Keys, Rate, Scenario, Size};
use crate::payload::HEADER_BYTES;
use odradek_client::producer::Acks;
use odradek_wire::compress::Codec;

/// Most members of a group: each has a thread that waits for the coordinator.
const MEMBERS_MAX: usize = 1000;
/// Most connections of any kind.
const CONNECTIONS_MAX: usize = 100_000;
const KEYS_MAX: u32 = 100_000_000;
/// Largest value of a record and of a batch, in bytes.
const BYTES_MAX: usize = 256 << 20;
/// Kafka's bound for an idempotent producer (`max.in.flight.requests.per.connection`).
const IDEMPOTENT_IN_FLIGHT_MAX: usize = 5;

pub fn range<T: PartialOrd + std::fmt::Display>(key: &str, value: T, low: T, high: T) -> Result<(), String> {
    if value >= low && value <= high { Ok(()) } else { Err(format!("{key} = {value}: allowed are {low} to {high}")) }
}

impl Scenario {
    /// What is wrong with it, if anything is.
    pub fn validate(&self) -> Result<(), String> {
        if self.name.trim().is_empty() {
            return Err("name is empty".to_owned());
        }
        range("topics", self.topics, 1, 100_000)?;
        range("partitions", self.partitions, 1, 100_000)?;
        range("warm_up_s", self.warm_up_s, 0.0, 86_400.0)?;
        range("duration_s", self.duration_s, 0.01, 86_400.0)?;
        range("idle_connections", self.idle_connections as usize, 0, CONNECTIONS_MAX)?;
        self.validate_record()?;
        self.validate_producers()?;
        if let Some(c) = &self.consumers {
            range("consumers.groups", c.groups, 1, 1000)?;
            range("consumers.count", c.count, 1, CONNECTIONS_MAX)?;
            if c.group {
                range("consumers.count of members", c.count, 1, MEMBERS_MAX)?;
                range("consumers.heartbeat_ms", c.heartbeat_ms, 10, 15_000)?;
                range("consumers.commit_interval_ms", c.commit_interval_ms, 10, 3_600_000)?;
                range("consumers.rebalance_every_s", c.rebalance_every_s.unwrap_or(1.0), 0.1, 86_400.0)?;
            } else if c.rebalance_every_s.is_some() {
                return Err(
                    "consumers.rebalance_every_s needs consumers.group = true: without members there is nothing to rebalance".to_owned()
                );
            }
            fetch("consumers", c.max_wait_ms, c.min_bytes, c.max_bytes, c.partition_max_bytes)?;
            if self.producers.is_none() {
                return Err("[consumers] read what [producers] write; to read what is there, use [catch_up]".to_owned());
            }
        }
        if let Some(c) = &self.catch_up {
            range("catch_up.count", c.count, 1, CONNECTIONS_MAX)?;
            range("catch_up.preload_mb", c.preload_mb, 0, 1 << 30)?;
            fetch("catch_up", c.max_wait_ms, c.min_bytes, c.max_bytes, c.partition_max_bytes)?;
            if c.preload_mb > 0 && self.producers.is_none() {
                return Err("catch_up.preload_mb needs [producers] that write it".to_owned());
            }
        }
        match (&self.producers, &self.catch_up) {
            (None, None) => Err("neither [producers] nor [catch_up]: nothing to do".to_owned()),
            _ => Ok(()),
        }
    }

    fn validate_record(&self) -> Result<(), String> {
        let record = &self.record;
        range("record.random_ratio", record.random_ratio, 0.0, 1.0)?;
        match &record.size {
            Size::Fixed(bytes) => range("record.size", *bytes, HEADER_BYTES, BYTES_MAX)?,
            Size::Range(r) => {
                range("record.size.min", r.min, HEADER_BYTES, BYTES_MAX)?;
                range("record.size.max", r.max, r.min, BYTES_MAX)?;
            }
            Size::Weighted(sizes) => {
                for &(bytes, weight) in sizes {
                    range("record.size", bytes, HEADER_BYTES, BYTES_MAX)?;
                    range("weight of a record.size", weight, 0.0, 1e9)?;
                }
                // No weight is NaN: the range above refuses it.
                if sizes.iter().map(|s| s.1).sum::<f64>() <= 0.0 {
                    return Err("record.size: the weights add up to nothing".to_owned());
                }
            }
        }
        match record.keys {
            Keys::None => Ok(()),
            Keys::Uniform(keys) => range("record.keys.uniform", keys, 1, KEYS_MAX),
            Keys::Zipf { keys, exponent } => {
                range("record.keys.zipf.keys", keys, 1, KEYS_MAX)?;
                range("record.keys.zipf.exponent", exponent, 0.0, 10.0)
            }
        }
    }

    fn validate_producers(&self) -> Result<(), String> {
        let Some(p) = &self.producers else {
            return if self.rate.is_some() { Err("[rate] is the rate of [producers], which are not there".to_owned()) } else { Ok(()) };
        };
        range("producers.count", p.count, 1, CONNECTIONS_MAX)?;
        range("producers.in_flight", p.in_flight, 1, 1000)?;
        range("producers.batch_bytes", p.batch_bytes, 1, BYTES_MAX)?;
        range("producers.linger_ms", p.linger_ms, 0.0, 60_000.0)?;
        let acks = Acks::parse(&p.acks).map_err(|_| format!("producers.acks = \"{}\": allowed are \"0\", \"1\", \"all\"", p.acks))?;
        if Codec::from_name(&p.codec).is_none() {
            return Err(format!("producers.codec = \"{}\": allowed are none, gzip, snappy, lz4, zstd", p.codec));
        }
        if p.idempotent && acks != Acks::All {
            return Err("producers.idempotent needs producers.acks = \"all\"".to_owned());
        }
        if p.transactional && acks != Acks::All {
            return Err("producers.transactional needs producers.acks = \"all\"".to_owned());
        }
        // A coordinator aborts what is open for a minute.
        range("producers.transaction_ms", p.transaction_ms, 1.0, 30_000.0)?;
        if p.idempotent || p.transactional {
            range("producers.in_flight of idempotent producers", p.in_flight, 1, IDEMPOTENT_IN_FLIGHT_MAX)?;
        }
        match &self.rate {
            // They only write what is to be read.
            None if self.consumers.is_none() && self.catch_up.as_ref().is_some_and(|c| c.preload_mb > 0) => Ok(()),
            None => Err("[producers] without rate: give rate.requests_per_s, rate.records_per_s, rate.steps or rate.closed_loop".to_owned()),
            Some(Rate::RequestsPerS(_) | Rate::ClosedLoop(_)) if self.record.keys != Keys::None => Err(
                "record.keys decide the partition of each record, so batches cannot be cut in advance: give rate.records_per_s or rate.steps"
                    .to_owned(),
            ),
            Some(Rate::RequestsPerS(rate)) => range("rate.requests_per_s", *rate, 0.001, 1e8),
            Some(Rate::RecordsPerS(rate)) => range("rate.records_per_s", *rate, 0.001, 1e9),
            Some(Rate::Steps(s)) => {
                range("rate.steps.records_per_s", s.records_per_s, 0.001, 1e9)?;
                range("rate.steps.factor", s.factor, 1.01, 100.0)?;
                range("rate.steps.count_max", s.count_max, 1, 1000)?;
                range("rate.steps.p99_ms_max", s.p99_ms_max, 0.001, 1e6)
            }
            Some(Rate::ClosedLoop(true)) => Ok(()),
            Some(Rate::ClosedLoop(false)) => Err("rate.closed_loop = false: leave it out and give a rate".to_owned()),
        }
    }
}

fn fetch(table: &str, max_wait_ms: i32, min_bytes: i32, max_bytes: i32, partition_max_bytes: i32) -> Result<(), String> {
    range(&format!("{table}.max_wait_ms"), max_wait_ms, 0, 60_000)?;
    range(&format!("{table}.min_bytes"), min_bytes, 0, i32::MAX)?;
    range(&format!("{table}.max_bytes"), max_bytes, 1, i32::MAX)?;
    range(&format!("{table}.partition_max_bytes"), partition_max_bytes, 1, i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "name = 'a B, c'\nrate.requests_per_s = 10\n[producers]\n";

    fn error(text: &str) -> String {
        Scenario::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn a_small_file_gets_the_defaults() {
        let scenario = Scenario::parse(SMALL).unwrap();
        assert_eq!((scenario.topics, scenario.partitions, scenario.topic().as_str()), (1, 1, "bench-a-b-c"));
        assert_eq!(scenario.rate, Some(Rate::RequestsPerS(10.0)));
        let producers = scenario.producers.unwrap();
        assert_eq!((producers.acks(), producers.codec(), producers.in_flight), (Acks::All, Codec::None, 5));
    }

    #[test]
    fn every_way_to_say_sizes_and_keys() {
        let parse = |line: &str| Scenario::parse(&format!("{}[record]\n{line}\n", SMALL.replace("requests", "records"))).unwrap().record;
        assert_eq!(parse("size = 100").size, Size::Fixed(100));
        assert_eq!(parse("size = { min = 100, max = 200 }").size, Size::Range(crate::scenario::SizeRange { min: 100, max: 200 }));
        assert_eq!(parse("size = [[100, 0.9], [5000, 0.1]]").size, Size::Weighted(vec![(100, 0.9), (5000, 0.1)]));
        assert_eq!(parse("keys = 'none'").keys, Keys::None);
        assert_eq!(parse("keys = { uniform = 7 }").keys, Keys::Uniform(7));
        assert_eq!(parse("keys = { zipf = { keys = 7, exponent = 1.1 } }").keys, Keys::Zipf { keys: 7, exponent: 1.1 });
    }

    #[test]
    fn producers_that_only_preload_need_no_rate() {
        Scenario::parse("name = 'x'\n[producers]\n[catch_up]\npreload_mb = 1").unwrap();
        assert!(error("name = 'x'\n[producers]\n[consumers]\n[catch_up]\npreload_mb = 1").contains("without rate"));
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("name = 'x'", "nothing to do"),
            ("name = 'x'\n[producers]", "without rate"),
            ("name = 'x'\npartitons = 3\n[catch_up]", "unknown field `partitons`"),
            ("name = 'x'\nrate.closed_loop = true\n[producers]\nack = 'all'", "unknown field `ack`"),
            ("name = 'x'\nrate.closed_loop = true\n[producers]\nacks = '2'", "producers.acks"),
            ("name = 'x'\nrate.closed_loop = true\n[producers]\ncodec = 'rar'", "gzip"),
            ("name = 'x'\nrate.closed_loop = true\n[producers]\nidempotent = true\nacks = '1'", "idempotent"),
            ("name = 'x'\nrate.closed_loop = true\n[producers]\nidempotent = true\nin_flight = 6", "1 to 5"),
            ("name = 'x'\nrate.closed_loop = true\n[producers]\ntransactional = true\nacks = '1'", "transactional"),
            ("name = 'x'\nrate.closed_loop = true\n[producers]\ntransactional = true\nin_flight = 6", "1 to 5"),
            ("name = 'x'\npartitions = 0\n[catch_up]", "partitions = 0: allowed are 1 to"),
            ("name = 'x'\nduration_s = -1\n[catch_up]", "duration_s"),
            ("name = 'x'\nrate.records_per_s = 0\n[producers]", "rate.records_per_s"),
            ("name = 'x'\nrate.requests_per_s = 5\n[catch_up]", "[rate]"),
            ("name = 'x'\nrate.requests_per_s = 5\nrecord.size = 10\n[producers]", "record.size = 10: allowed are 40"),
            ("name = 'x'\nrate.requests_per_s = 5\nrecord.size = [[100, 0]]\n[producers]", "weights"),
            ("name = 'x'\nrate.requests_per_s = 5\nrecord.size = { min = 100, max = 50 }\n[producers]", "record.size.max"),
            ("name = 'x'\nrate.requests_per_s = nan\n[producers]", "rate.requests_per_s"),
            ("name = 'x'\nrate.requests_per_s = 5\nrecord.keys = { uniform = 5 }\n[producers]", "rate.records_per_s"),
            ("name = 'x'\n[consumers]", "[catch_up]"),
            ("name = 'x'\nrate.closed_loop = true\n[producers]\n[consumers]\nrebalance_every_s = 1", "consumers.group"),
            ("name = 'x'\nrate.closed_loop = true\n[producers]\n[consumers]\ngroup = true\nheartbeat_ms = 0", "heartbeat_ms"),
            ("name = 'x'\n[catch_up]\npreload_mb = 5", "preload_mb"),
        ];
        for (text, part) in cases {
            let error = error(text);
            assert!(error.contains(part), "{text}\n  gave: {error}\n  wanted: {part}");
        }
    }

    #[test]
    fn the_scenarios_that_come_with_the_harness_parse() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/scenarios");
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(files.len() >= 8, "{files:?}");
        for file in files {
            Scenario::load(&file).unwrap_or_else(|e| panic!("{e}"));
        }
    }
}

//! Metrics and readiness over HTTP: what is told moves with what is done, and odd clients hurt nobody.

mod support;

use odradek_client::admin::NewTopic;
use odradek_settings::Settings;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use support::metrics::{Samples, http, scrape};
use support::records::{batch, fetch, produce_ok};
use support::{Mode, SHARDS, TestBroker, eventually};

both_modes!(what_is_done_shows_in_the_next_scrape, clients_that_say_nothing_or_nonsense_hurt_nobody);

const LISTENER: &str = "odradek.metrics.listener=127.0.0.1:0";

fn what_is_done_shows_in_the_next_scrape(mode: Mode) {
    let broker = TestBroker::start_with(mode, &[LISTENER]);
    let address = broker.metrics_address();
    assert!(http(address, "GET /ready HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
    assert!(http(address, "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
    let before = scrape(address);
    let mut cluster = broker.cluster();
    let topic = NewTopic { name: "t".to_owned(), partitions: Some(i32::from(SHARDS)), ..NewTopic::default() };
    cluster.admin().create_topic(&topic, false).expect("created");
    let records = batch(&["a value"]);
    let (mut batches, mut bytes) = (0, 0);
    for round in 0..5 {
        for partition in 0..i32::from(SHARDS) {
            assert_eq!(produce_ok(&mut cluster, "t", partition, records.clone()), round);
            assert_eq!(fetch(&mut cluster, "t", partition, round).high_watermark, round + 1);
            batches += 1;
            bytes += records.len();
        }
    }
    let after = scrape(address);
    let grown = |name: &str, labels: &[(&str, &str)]| after.sum(name, labels) - before.sum(name, labels);
    assert_eq!(grown("odradek_produced_batches_total", &[]), batches as f64);
    assert_eq!(grown("odradek_produced_bytes_total", &[]), bytes as f64);
    assert_eq!(grown("odradek_fetched_bytes_total", &[]), bytes as f64);
    assert_eq!(grown("odradek_appended_bytes_total", &[]), bytes as f64);
    for api in ["Produce", "Fetch"] {
        assert_eq!(grown("odradek_requests_total", &[("api", api)]), batches as f64, "{api}");
    }
    assert_eq!(grown("odradek_requests_total", &[("api", "CreateTopics")]), 1.0);
    assert_eq!(grown("odradek_partitions", &[]), f64::from(SHARDS));
    assert_eq!(grown("odradek_log_dir_bytes", &[]), bytes as f64);
    assert!(grown("odradek_journal_blocks_total", &[]) > 0.0 && grown("odradek_journal_bytes_total", &[]) > bytes as f64);
    assert!(
        grown("odradek_memory_used_bytes", &[("part", "tail")]) + grown("odradek_memory_used_bytes", &[("part", "pending")]) > bytes as f64
    );
    for shard in 0..SHARDS {
        let of_shard = |name: &str| after.sum(name, &[("shard", &shard.to_string())]);
        assert_eq!((of_shard("odradek_shard_answered"), of_shard("odradek_shard_ready")), (1.0, 1.0));
    }
    assert!(after.sum("odradek_connections", &[]) >= 1.0);
    assert_eq!(after.sum("odradek_offline_partitions", &[]) + after.sum("odradek_damaged_partitions", &[]), 0.0);
    assert!(after.sum("odradek_log_dir_free_bytes", &[]) > 0.0);
    assert!(after.sum("process_resident_memory_bytes", &[]) > 1e6 && after.sum("process_open_fds", &[]) > 10.0);
    assert!(after.sum("process_cpu_seconds_total", &[]) >= before.sum("process_cpu_seconds_total", &[]));
    has_help_and_type(&after);
}

/// Every sample belongs to a metric with a help text and a type; counters end in `_total`.
fn has_help_and_type(samples: &Samples) {
    assert!(samples.rows.len() > 100, "{} samples", samples.rows.len());
    for row in &samples.rows {
        let family = row.name.strip_suffix("_total").unwrap_or(&row.name);
        let kind = samples.types.get(family).unwrap_or_else(|| panic!("{} has no type", row.name));
        assert_eq!(row.name.ends_with("_total"), kind == "counter", "{} is a {kind}", row.name);
        assert!(samples.help.get(family).is_some_and(|help| help.len() > 10), "{} has no help", row.name);
        assert!(row.value.is_finite() && row.value >= 0.0);
        let label = |name: &str| ["shard", "part", "dir", "api"].contains(&name);
        assert!(row.labels.iter().all(|(name, _)| label(name)), "{:?}", row.labels);
    }
}

fn clients_that_say_nothing_or_nonsense_hurt_nobody(mode: Mode) {
    let broker = TestBroker::start_with(mode, &[LISTENER]);
    let address = broker.metrics_address();
    let status = |request: &str| http(address, request).split(' ').nth(1).unwrap_or_default().to_owned();
    assert_eq!(status("GET /nothing HTTP/1.1\r\n\r\n"), "404");
    assert_eq!(status("POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), "405");
    assert_eq!(status("DELETE /ready HTTP/1.1\r\n\r\n"), "405");
    assert_eq!(status("GET /metrics?x=y HTTP/1.0\r\n\r\n"), "200");
    assert_eq!(status("\r\n\r\n\u{1}\u{2}"), "400");
    assert_eq!(status(&format!("GET /metrics HTTP/1.1\r\nA: {}", "x".repeat(10_000))), "431");
    // Some ask and never read. Then more come than are answered at a time and say nothing: they take every place.
    let mut open: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(address).expect("accepted")).collect();
    for stream in &mut open {
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("sent");
    }
    for stream in &open {
        assert_eq!(stream.peek(&mut [0]).expect("an answer"), 1);
    }
    open.extend((0..40).map(|_| TcpStream::connect(address).expect("accepted")));
    let mut cluster = broker.cluster();
    cluster.admin().create_topic(&NewTopic { name: "t".to_owned(), partitions: Some(1), ..NewTopic::default() }, false).expect("created");
    assert_eq!(produce_ok(&mut cluster, "t", 0, batch(&["served all the while"])), 0);
    // Nobody keeps a place for ever, although all of them are still open on their side.
    eventually("a scrape", || {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.ends_with("# EOF\n").then_some(())
    });
    drop(open);
}

#[test]
fn an_address_that_is_taken_stops_the_start_and_names_the_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let dir = tempfile::tempdir().expect("a directory");
    let address = taken.local_addr().expect("bound");
    let overrides = [format!("log.dirs={}", dir.path().display()), format!("odradek.metrics.listener={address}")];
    let settings = Settings::load(None, &overrides).expect("valid").0;
    let error = odradek::serve::broker::Broker::start(Arc::new(settings)).err().expect("refused").to_string();
    assert!(error.contains("odradek.metrics.listener") && error.contains(&address.to_string()), "{error}");
}

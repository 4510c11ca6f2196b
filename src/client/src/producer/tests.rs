//! The producer against a broker with faults.

use super::*;
use crate::ClientConfig;
use crate::fake_broker::{Fault, start};
use std::cell::RefCell;
use std::rc::Rc;

const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const MESSAGE_TOO_LARGE: i16 = 10;

type Reports = Vec<(u64, Result<i64, String>)>;

/// Produces `count` records, each a batch of its own, and returns the log and what was reported.
fn produce(count: usize, faults: Vec<Option<Fault>>, idempotent: bool) -> (Vec<String>, Reports, usize) {
    let (address, log) = start();
    log.lock().unwrap().faults = faults;
    let mut client = ClientConfig::new(&address).unwrap();
    client.retry_backoff = Duration::from_millis(1);
    let reports: Rc<RefCell<Reports>> = Rc::default();
    let config = ProducerConfig { batch_bytes: 1, linger: Duration::ZERO, idempotent, ..ProducerConfig::default() };
    let mut producer = Producer::new(Cluster::connect(client).unwrap(), config, {
        let reports = reports.clone();
        move |d| reports.borrow_mut().push((d.token, d.result.map(|m| m.offset).map_err(|e| e.to_string())))
    });
    for i in 0..count {
        let value = Some(bytes::Bytes::from(i.to_string()));
        producer.send(ProducerRecord { topic: "t".into(), value, ..ProducerRecord::default() }).unwrap();
    }
    producer.flush().unwrap();
    let log = log.lock().unwrap();
    let values = log.values.iter().map(|v| String::from_utf8_lossy(v).into_owned()).collect();
    (values, reports.take(), log.produce_requests)
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| i.to_string()).collect()
}

#[test]
fn retries_keep_the_order_of_a_pipeline() {
    for idempotent in [true, false] {
        let faults = vec![None, Some(Fault::Error(NOT_LEADER_OR_FOLLOWER)), None, Some(Fault::Error(NOT_LEADER_OR_FOLLOWER))];
        let (log, reports, requests) = produce(30, faults, idempotent);
        assert_eq!(log, numbers(0..30), "idempotent {idempotent}");
        let expected: Reports = (0..30).map(|i| (i, Ok(i as i64))).collect();
        assert_eq!(reports, expected);
        assert!(requests > 30);
    }
}

#[test]
fn a_lost_answer_is_no_duplicate_for_an_idempotent_producer() {
    let (log, reports, _) = produce(20, vec![None, None, Some(Fault::LostAnswer), None, Some(Fault::LostAnswer)], true);
    assert_eq!(log, numbers(0..20));
    assert!(reports.iter().all(|(_, r)| r.is_ok()), "{reports:?}");
}

#[test]
fn what_no_retry_cures_fails_alone_and_the_rest_goes_on_under_a_new_identity() {
    let (log, reports, _) = produce(10, vec![None, Some(Fault::Error(MESSAGE_TOO_LARGE))], true);
    let failed: Vec<u64> = reports.iter().filter(|(_, r)| r.is_err()).map(|(token, _)| *token).collect();
    assert_eq!(failed, [1]);
    let mut expected = numbers(0..10);
    expected.remove(1);
    assert_eq!(log, expected);
}

#[test]
fn records_over_the_request_size_are_refused_at_once() {
    let (address, _) = start();
    let config = ProducerConfig { request_bytes_max: 1000, ..ProducerConfig::default() };
    let mut producer = Producer::new(Cluster::connect(ClientConfig::new(&address).unwrap()).unwrap(), config, |_| {});
    let value = Some(bytes::Bytes::from(vec![0; 1000]));
    let error = producer.send(ProducerRecord { topic: "t".into(), value, ..ProducerRecord::default() }).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge));
}

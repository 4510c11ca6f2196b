//! What a produced batch must be before it is appended, with Kafka's error codes.
//!
//! The order of the checks is Kafka's: `ProduceRequest.validateRecords` (framing, one batch, codec by version),
//! `UnifiedLog.analyzeAndValidateRecords` (base offset, size, CRC), `LogValidator` (counts, record by record). Records are walked in
//! full, also compressed ones, and more strictly than in Kafka where its answer would leave records that consumers cannot read.
//!
//! A [`Validator`] works in steps of a byte budget and holds a fixed window whatever the batch expands to.

use super::rebuild::Rebuild;
use super::scan::{Ended, Scanner, Visitor};
use super::{BatchView, HEADER_BYTES, LOG_OVERHEAD_BYTES, MAGIC, TimestampType, UP_TO_MAGIC_BYTES, field, set_max_timestamp};
use crate::compress::{Codec, CompressError, Compression, Decompressor, decoder_bytes};
use crate::records::{Malformed, RECORD_BYTES_MIN};
use crate::{ErrorCode, StrBytes};
use bytes::{Bytes, BytesMut};
use odradek_base::{ProducerEpoch, ProducerId, Timestamp};
use std::borrow::Cow;
use std::task::Poll;

/// Record errors reported for one batch; validation stops there.
pub const RECORD_ERRORS_MAX: usize = 100;
/// Decompressed bytes walked at once.
const WINDOW_BYTES: usize = 64 * 1024;
/// Smallest total size of a legacy record (`LegacyRecord.RECORD_OVERHEAD_V0`): below it a length field is corrupt.
const LENGTH_MIN: i32 = 14;

/// Topic settings and request facts that validation depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidationRules {
    /// `cleanup.policy` contains `compact`: records need keys.
    pub compacted: bool,
    /// `max.message.bytes`: largest batch, header included, before and after compression.
    pub max_message_bytes: usize,
    /// `segment.bytes`: a batch must fit in a segment.
    pub segment_bytes: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `compression.type`: `None` is `producer`, batches stay as they are.
    pub compression: Option<Compression>,
    /// The request's version is 7 or later.
    pub zstd_allowed: bool,
    /// The request carries a transactional id.
    pub transactional_id: bool,
    /// Most bytes a batch may decompress to.
    pub decompressed_bytes_max: u64,
}

impl Default for ValidationRules {
    /// Kafka's topic defaults, a current producer without transactions.
    fn default() -> Self {
        Self {
            compacted: false,
            max_message_bytes: 1_048_588,
            segment_bytes: 1 << 30,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compression: None,
            zstd_allowed: true,
            transactional_id: false,
            decompressed_bytes_max: 256 << 20,
        }
    }
}

/// A batch that may be appended. Offsets and leader epoch are still the producer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidBatch {
    /// One whole batch: the producer's bytes, or rebuilt where the topic's settings ask for it.
    pub bytes: Bytes,
    pub record_count: i32,
    pub last_offset_delta: i32,
    pub base_timestamp: Timestamp,
    /// The largest record timestamp; with LogAppendTime the validation's `now`, which the append replaces by its own
    /// ([`super::set_max_timestamp_and_log_append_time`]).
    pub max_timestamp: Timestamp,
    /// The first record that has the maximal timestamp, relative to the base offset.
    pub offset_of_max_timestamp_delta: i32,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: i32,
    pub is_transactional: bool,
    pub is_control: bool,
    pub codec: Codec,
}

/// One record's fault, as produce responses carry it (KIP-467).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// Position of the record in its batch.
    pub batch_index: i32,
    pub message: Option<StrBytes>,
}

/// Why a batch is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct BatchError {
    pub code: ErrorCode,
    pub message: Cow<'static, str>,
    pub record_errors: Vec<RecordError>,
}

impl BatchError {
    pub(super) fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), record_errors: Vec::new() }
    }
}

fn invalid(message: impl Into<Cow<'static, str>>) -> BatchError {
    BatchError::new(ErrorCode::InvalidRecord, message)
}

fn corrupt(message: impl Into<Cow<'static, str>>) -> BatchError {
    BatchError::new(ErrorCode::CorruptMessage, message)
}

/// Validates the records of one partition of a produce request at once. A request carries exactly one batch per partition; bytes
/// after it that are no batch are dropped, as Kafka does. Null records are the caller's case: [`missing`].
pub fn validate(records: &Bytes, rules: &ValidationRules, now: Timestamp) -> Result<ValidBatch, BatchError> {
    let mut validator = Validator::new(records.clone(), *rules, now);
    loop {
        if let Poll::Ready(result) = validator.step(usize::MAX) {
            return result;
        }
    }
}

/// The error for a partition whose records are null.
pub fn missing() -> BatchError {
    invalid("a produce request must have exactly one record batch per partition")
}

/// Whether the first batch is flagged transactional, judged before anything is validated (`RequestUtils.hasTransactionalRecords`).
pub fn first_batch_is_transactional(records: &Bytes) -> bool {
    BatchView::parse(records).is_ok_and(|batch| batch.is_transactional())
}

/// The batch with its records in another codec, otherwise unchanged (offsets in it become dense). For batches already validated.
pub fn recompress(batch: &Bytes, to: Compression, max_bytes: usize) -> Result<Bytes, BatchError> {
    let view = BatchView::parse(batch).map_err(|error| corrupt(error.to_string()))?;
    let rules = ValidationRules {
        max_message_bytes: max_bytes,
        timestamp_type: view.timestamp_type(),
        compression: Some(to),
        ..ValidationRules::default()
    };
    let batch = &batch.slice(..view.total_bytes());
    let mut walk = Walk::new(batch, &view, &rules, view.max_timestamp(), Some(to))?;
    walk.observer.check_records = false;
    while matches!(walk.step(batch, usize::MAX)?, Progress::More) {}
    walk.finish(batch, &view, &rules)
}

/// Validates one partition's records in slices, so that a batch that expands to very much holds nobody up.
///
/// Memory is bounded by the window of the codec, 64 KiB besides and, where the batch is rebuilt, `max_message_bytes`. A shard that
/// parks validators between slices should bound what they hold ([`Validator::held_bytes`]).
#[derive(Debug)]
pub struct Validator {
    records: Bytes,
    rules: ValidationRules,
    now: Timestamp,
    walk: Option<Walk>,
}

impl Validator {
    pub fn new(records: Bytes, rules: ValidationRules, now: Timestamp) -> Self {
        Self { records, rules, now, walk: None }
    }

    /// Whether the records have to be written anew in another codec.
    pub fn recompresses(&self) -> bool {
        let codec = BatchView::parse(&self.records).ok().and_then(|view| view.compression());
        self.rules.compression.is_some_and(|target| codec.is_some_and(|codec| codec != target.codec))
    }

    /// Bytes that it may hold between two steps, beside the records as they arrived.
    pub fn held_bytes(&self) -> usize {
        let Ok(view) = BatchView::parse(&self.records) else { return 0 };
        let codec = view.compression().unwrap_or_default();
        let decoder = decoder_bytes(codec, self.records.get(HEADER_BYTES..).unwrap_or_default());
        let rebuilt = if self.recompresses() { self.rules.max_message_bytes } else { 0 };
        decoder + WINDOW_BYTES + rebuilt
    }

    /// Goes on for about `budget_bytes` of (decompressed) records. After `Ready` the validator is spent and starts over.
    pub fn step(&mut self, budget_bytes: usize) -> Poll<Result<ValidBatch, BatchError>> {
        match self.try_step(budget_bytes) {
            Ok(None) => Poll::Pending,
            Ok(Some(batch)) => Poll::Ready(Ok(batch)),
            Err(error) => {
                self.walk = None;
                Poll::Ready(Err(error))
            }
        }
    }

    fn try_step(&mut self, budget_bytes: usize) -> Result<Option<ValidBatch>, BatchError> {
        let mut walk = match self.walk.take() {
            Some(walk) => walk,
            None => {
                self.records = check_framing(&self.records, self.rules.zstd_allowed)?;
                let view = BatchView::parse(&self.records).map_err(|error| corrupt(error.to_string()))?;
                let codec = check_header(&view, &self.rules)?;
                let rebuild = self.rules.compression.filter(|target| target.codec != codec);
                Walk::new(&self.records, &view, &self.rules, self.now, rebuild)?
            }
        };
        let view = BatchView::parse(&self.records).map_err(|error| corrupt(error.to_string()))?;
        match walk.step(&self.records, budget_bytes)? {
            Progress::End => {}
            Progress::More => {
                self.walk = Some(walk);
                return Ok(None);
            }
            Progress::NotDense => {
                // Kafka takes such a batch; its consumers then see offsets out of order or twice. The records get the offsets that
                // the header claims for them.
                let same = Compression::from(walk.codec);
                self.walk = Some(Walk::new(&self.records, &view, &self.rules, self.now, Some(same))?);
                return Ok(None);
            }
        }
        walk.into_valid(&self.records, &view, &self.rules, self.now).map(Some)
    }
}

/// `ProduceRequest.validateRecords` with `ByteBufferLogInputStream`: exactly one complete batch of magic 2. Returns it.
fn check_framing(records: &Bytes, zstd_allowed: bool) -> Result<Bytes, BatchError> {
    let (total, magic) = next_batch(records)?.ok_or_else(missing)?;
    if magic != MAGIC {
        return Err(invalid(format!("only record batches of magic 2 are accepted, not {magic}")));
    }
    let first = records.slice(..total);
    let codec = field::<2>(&first, super::ATTRIBUTES_AT).map(|bytes| bytes[1] & 7).and_then(Codec::from_id);
    if codec == Some(Codec::Zstd) && !zstd_allowed {
        return Err(BatchError::new(ErrorCode::UnsupportedCompressionType, "zstd needs produce version 7 or later"));
    }
    match next_batch(records.get(total..).unwrap_or_default())? {
        Some(_) => Err(invalid("only one record batch per partition is accepted")),
        None => Ok(first),
    }
}

/// Size and magic of the batch that starts `bytes`, `None` when there is no complete one.
fn next_batch(bytes: &[u8]) -> Result<Option<(usize, i8)>, BatchError> {
    if bytes.len() < LOG_OVERHEAD_BYTES {
        return Ok(None);
    }
    let length = field::<4>(bytes, super::LENGTH_AT).map_or(-1, i32::from_be_bytes);
    if length < LENGTH_MIN {
        return Err(corrupt(format!("record batch length {length} is too small")));
    }
    if bytes.len() < UP_TO_MAGIC_BYTES {
        return Ok(None);
    }
    let magic = bytes.get(UP_TO_MAGIC_BYTES - 1).map_or(-1, |&byte| byte as i8);
    if !(0..=MAGIC).contains(&magic) {
        return Err(corrupt(format!("record batch magic {magic} does not exist")));
    }
    let total = length as usize + LOG_OVERHEAD_BYTES;
    Ok((total <= bytes.len()).then_some((total, magic)))
}

/// Everything the header alone can show; the codec of a batch that passes.
fn check_header(view: &BatchView<'_>, rules: &ValidationRules) -> Result<Codec, BatchError> {
    if view.is_transactional() && !rules.transactional_id {
        return Err(BatchError::new(ErrorCode::TransactionalIdAuthorizationFailed, "a transactional batch without a transactional id"));
    }
    if view.base_offset().get() != 0 {
        return Err(invalid(format!("the base offset must be 0, not {}", view.base_offset())));
    }
    check_size(view.total_bytes(), rules)?;
    if !view.crc_valid() {
        return Err(corrupt(format!("record batch is corrupt: stored CRC {:#010x}", view.crc())));
    }
    if view.total_bytes() > rules.segment_bytes {
        let message = format!("record batch of {} bytes exceeds segment.bytes {}", view.total_bytes(), rules.segment_bytes);
        return Err(BatchError::new(ErrorCode::RecordListTooLarge, message));
    }
    let (count, last) = (view.record_count(), view.last_offset_delta());
    if last < 0 || count <= 0 || i64::from(last) + 1 != i64::from(count) {
        return Err(invalid(format!("record count {count} and last offset delta {last} do not match")));
    }
    if view.is_control() {
        return Err(invalid("clients may not write control records"));
    }
    if view.producer_id() != ProducerId::NONE && view.base_sequence() < 0 {
        return Err(invalid(format!("sequence number {} with a producer id", view.base_sequence())));
    }
    let unknown = || BatchError::new(ErrorCode::UnsupportedCompressionType, format!("unknown compression codec {}", view.attributes() & 7));
    let codec = view.compression().ok_or_else(unknown)?;
    let records_bytes_max = if codec == Codec::None { view.records().len() as u64 } else { rules.decompressed_bytes_max };
    if count as u64 > records_bytes_max / RECORD_BYTES_MIN as u64 {
        return Err(if codec == Codec::None { Malformed::Missing.into() } else { expands_too_far(rules) });
    }
    Ok(codec)
}

fn check_size(bytes: usize, rules: &ValidationRules) -> Result<(), BatchError> {
    if bytes <= rules.max_message_bytes {
        return Ok(());
    }
    let message = format!("record batch of {bytes} bytes exceeds max.message.bytes {}", rules.max_message_bytes);
    Err(BatchError::new(ErrorCode::MessageTooLarge, message))
}

fn expands_too_far(rules: &ValidationRules) -> BatchError {
    let message = format!("record batch expands to more than {} bytes", rules.decompressed_bytes_max);
    BatchError::new(ErrorCode::MessageTooLarge, message)
}

/// How far a step came.
enum Progress {
    More,
    End,
    /// The records' offsets do not count up from 0: they must be written anew.
    NotDense,
}

/// A walk over the records under way.
#[derive(Debug)]
struct Walk {
    codec: Codec,
    source: Source,
    scanner: Scanner,
    observer: Observer,
    decompressed_bytes_left: u64,
    decompressed_bytes_max: u64,
}

#[derive(Debug)]
enum Source {
    /// Position in the batch.
    Plain(usize),
    Compressed(Box<(Decompressor, Box<[u8]>)>),
}

impl Walk {
    fn new(
        batch: &Bytes,
        view: &BatchView<'_>,
        rules: &ValidationRules,
        now: Timestamp,
        rebuild: Option<Compression>,
    ) -> Result<Self, BatchError> {
        let codec = view.compression().unwrap_or_default();
        let source = match codec {
            Codec::None => Source::Plain(HEADER_BYTES),
            _ => Source::Compressed(Box::new((
                Decompressor::new(codec, batch.slice(HEADER_BYTES..view.total_bytes()))?,
                vec![0; WINDOW_BYTES].into_boxed_slice(),
            ))),
        };
        let rebuild = rebuild.map(|to| Rebuild::new(to, rules.max_message_bytes)).transpose()?;
        Ok(Self {
            codec,
            source,
            scanner: Scanner::new(),
            observer: Observer::new(view, rules, now, rebuild),
            decompressed_bytes_left: rules.decompressed_bytes_max,
            decompressed_bytes_max: rules.decompressed_bytes_max,
        })
    }

    fn step(&mut self, batch: &Bytes, budget_bytes: usize) -> Result<Progress, BatchError> {
        let mut left = budget_bytes.max(1);
        while left > 0 {
            let chunk = match &mut self.source {
                Source::Plain(at) => {
                    let rest = batch.get(*at..).unwrap_or_default();
                    let chunk = rest.get(..left.min(rest.len())).unwrap_or_default();
                    *at += chunk.len();
                    chunk
                }
                Source::Compressed(stream) => {
                    let (decompressor, window) = &mut **stream;
                    let read = decompressor.read(window)?;
                    self.decompressed_bytes_left = self
                        .decompressed_bytes_left
                        .checked_sub(read as u64)
                        .ok_or_else(|| BatchError::from(CompressError::TooLarge { max: self.decompressed_bytes_max as usize }))?;
                    window.get(..read).unwrap_or_default()
                }
            };
            if chunk.is_empty() {
                return Ok(Progress::End);
            }
            left = left.saturating_sub(chunk.len());
            match self.scanner.feed(chunk, &mut self.observer) {
                Ok(()) => {}
                Err(Ended::Malformed(reason)) => return Err(reason.into()),
                Err(Ended::Stop(Stop::NotDense)) => return Ok(Progress::NotDense),
                Err(Ended::Stop(Stop::Refused(error))) => return Err(error),
            }
        }
        Ok(Progress::More)
    }

    /// What can only be judged at the end.
    fn check_end(&mut self) -> Result<(), BatchError> {
        if !self.scanner.at_boundary() {
            return Err(Malformed::Truncated.into());
        }
        if self.observer.seen != self.observer.count {
            return Err(Malformed::Missing.into());
        }
        self.observer.record_errors()
    }

    /// The rebuilt batch.
    fn finish(mut self, batch: &Bytes, view: &BatchView<'_>, rules: &ValidationRules) -> Result<Bytes, BatchError> {
        self.check_end()?;
        let max_timestamp = match rules.timestamp_type {
            TimestampType::CreateTime => self.observer.max_timestamp,
            TimestampType::LogAppendTime => self.observer.now,
        };
        match self.observer.rebuild.take() {
            Some(rebuild) => Ok(rebuild.finish(view, rules.timestamp_type, max_timestamp)?),
            None => Ok(batch.clone()),
        }
    }

    fn into_valid(self, batch: &Bytes, view: &BatchView<'_>, rules: &ValidationRules, now: Timestamp) -> Result<ValidBatch, BatchError> {
        let append_time = rules.timestamp_type == TimestampType::LogAppendTime;
        let max_timestamp = if append_time { now } else { self.observer.max_timestamp };
        let offset_of_max_timestamp_delta = if append_time { 0 } else { self.observer.offset_of_max_timestamp };
        let codec = self.observer.rebuild.as_ref().and(rules.compression).map_or(self.codec, |to| to.codec);
        let mut bytes = self.finish(batch, view, rules)?;
        check_size(bytes.len(), rules)?;
        if !append_time {
            bytes = with_max_timestamp(bytes, max_timestamp);
        }
        Ok(ValidBatch {
            bytes,
            record_count: view.record_count(),
            last_offset_delta: view.last_offset_delta(),
            base_timestamp: view.base_timestamp(),
            max_timestamp,
            offset_of_max_timestamp_delta,
            producer_id: view.producer_id(),
            producer_epoch: view.producer_epoch(),
            base_sequence: view.base_sequence(),
            is_transactional: view.is_transactional(),
            is_control: view.is_control(),
            codec,
        })
    }
}

/// Puts the true maximum into the header, as Kafka does; a producer that got it right keeps its bytes.
fn with_max_timestamp(bytes: Bytes, max_timestamp: Timestamp) -> Bytes {
    let right = BatchView::parse(&bytes)
        .is_ok_and(|view| view.timestamp_type() == TimestampType::CreateTime && view.max_timestamp() == max_timestamp);
    if right {
        return bytes;
    }
    let mut copy = BytesMut::from(&bytes[..]);
    set_max_timestamp(&mut copy, TimestampType::CreateTime, max_timestamp);
    copy.freeze()
}

/// Judges the records one by one (`LogValidator.validateRecord`).
#[derive(Debug)]
struct Observer {
    now: Timestamp,
    compacted: bool,
    timestamp_type: TimestampType,
    before_max_ms: i64,
    after_max_ms: i64,
    /// False where a batch of our own is only written anew.
    check_records: bool,
    /// The producer flagged its timestamps as the broker's and gave none: refused for each record.
    forged_append_time: bool,
    base_timestamp: i64,
    count: u32,
    seen: u32,
    timestamp: i64,
    max_timestamp: Timestamp,
    offset_of_max_timestamp: i32,
    errors: Vec<RecordError>,
    timestamp_errors: bool,
    rebuild: Option<Rebuild>,
}

impl Observer {
    fn new(view: &BatchView<'_>, rules: &ValidationRules, now: Timestamp, rebuild: Option<Rebuild>) -> Self {
        let forged_append_time = view.timestamp_type() == TimestampType::LogAppendTime
            && (rules.timestamp_type == TimestampType::LogAppendTime || view.max_timestamp() == Timestamp::NONE);
        Self {
            now,
            compacted: rules.compacted,
            timestamp_type: rules.timestamp_type,
            before_max_ms: rules.timestamp_before_max_ms,
            after_max_ms: rules.timestamp_after_max_ms,
            check_records: true,
            forged_append_time,
            base_timestamp: view.base_timestamp().get(),
            count: view.record_count().max(0) as u32,
            seen: 0,
            timestamp: 0,
            max_timestamp: Timestamp::NONE,
            offset_of_max_timestamp: 0,
            errors: Vec::new(),
            timestamp_errors: false,
            rebuild,
        }
    }

    fn fault(&mut self, message: String) -> Result<(), BatchError> {
        self.errors.push(RecordError { batch_index: self.seen as i32, message: Some(StrBytes::from_string(message)) });
        if self.errors.len() == RECORD_ERRORS_MAX { self.record_errors() } else { Ok(()) }
    }

    /// The batch's error, if any record has one: INVALID_TIMESTAMP before INVALID_RECORD.
    fn record_errors(&mut self) -> Result<(), BatchError> {
        if self.errors.is_empty() {
            return Ok(());
        }
        let (code, message) = if self.timestamp_errors {
            (ErrorCode::InvalidTimestamp, "One or more records have been rejected due to invalid timestamp".into())
        } else {
            (
                ErrorCode::InvalidRecord,
                format!("One or more records have been rejected due to {} record errors in total", self.errors.len()).into(),
            )
        };
        Err(BatchError { code, message, record_errors: std::mem::take(&mut self.errors) })
    }

    fn check_record(&mut self, has_key: bool) -> Result<(), BatchError> {
        if self.compacted && !has_key {
            return self.fault("Compacted topic cannot accept message without key".to_string());
        }
        if self.forged_append_time {
            self.timestamp_errors = true;
            return self.fault("Producer should not set timestamp type to LogAppendTime".to_string());
        }
        if self.timestamp_type == TimestampType::CreateTime && self.timestamp != Timestamp::NONE.get() {
            let ahead = self.timestamp.wrapping_sub(self.now.get());
            if ahead > self.after_max_ms || ahead.wrapping_neg() > self.before_max_ms {
                self.timestamp_errors = true;
                let (from, to) = (self.now.get().saturating_sub(self.before_max_ms), self.now.get().saturating_add(self.after_max_ms));
                return self.fault(format!("Timestamp {} is out of range. The timestamp should be within [{from}, {to}]", self.timestamp));
            }
        }
        Ok(())
    }
}

/// Why the walk ends early.
#[derive(Debug)]
enum Stop {
    Refused(BatchError),
    NotDense,
}

impl<E: Into<BatchError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Refused(error.into())
    }
}

impl Visitor for Observer {
    type Stop = Stop;

    fn start(&mut self, timestamp_delta: i64, offset_delta: i32, rest_bytes: usize) -> Result<(), Stop> {
        if self.seen == self.count {
            return Err(Malformed::Excess.into());
        }
        self.timestamp = self.base_timestamp.wrapping_add(timestamp_delta);
        if self.timestamp > self.max_timestamp.get() {
            self.max_timestamp = Timestamp(self.timestamp);
            self.offset_of_max_timestamp = self.seen as i32;
        }
        match &mut self.rebuild {
            Some(rebuild) => Ok(rebuild.start(timestamp_delta, rest_bytes)?),
            None if i64::from(offset_delta) != i64::from(self.seen) => Err(Stop::NotDense),
            None => Ok(()),
        }
    }

    fn rest(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        match &mut self.rebuild {
            Some(rebuild) => Ok(rebuild.rest(bytes)?),
            None => Ok(()),
        }
    }

    fn end(&mut self, has_key: bool) -> Result<(), Stop> {
        if self.check_records {
            self.check_record(has_key)?;
        }
        self.seen += 1;
        Ok(())
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;

//! What a run measures: latencies by window and by second, counts, errors, and the generator itself.

mod recorder;
mod result;

pub use recorder::{Interval, Kind, Recorder};
pub use result::{
    AuditResult, BrokerUse, GeneratorLimit, GeneratorUse, GroupResult, Machine, RunResult, Second, StepResult, Summary, ThreadUse,
};

//! `odradek tune`: is this machine fit for low latency, what to change, and one Odradek node per NUMA node.
//!
//! Purpose: [`check`] compares what the kernel reports with what a broker of pinned threads, direct I/O and durable writes wants;
//! [`apply`] changes what can be changed while the machine runs, and keeps the former values for `undo`; [`plan`] divides the machine
//! into one node per NUMA node; [`disk`] measures a data directory and concludes settings.
//!
//! Invariants: everything but [`disk`] reads and writes below a [`Root`], which is `/` on a real machine and a made-up tree in tests, and
//! holds no opinion that it does not print: each item says found, wanted, why and how. Values that protect data (a drive's write cache,
//! file system barriers) are shown and never changed. Owner: the main thread of a command; nothing here runs in the broker. Failure
//! behaviour: a file that is not there makes its item `unknown` (a kernel without the feature, a container), never an error.

pub mod apply;
pub mod check;
mod checks;
mod command;
pub mod cpu_list;
pub mod disk;
pub mod machine;
pub mod plan;
pub mod remote;
mod root;
mod table;

pub use command::{command, run};
pub use root::Root;

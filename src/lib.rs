//! The broker as a library: what `odradek serve` starts, and what tests start in their own process.

pub mod serve;

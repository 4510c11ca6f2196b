//! Segments: one `.log` file with its indexes, in Kafka's formats and names.
//!
//! [`names`] are the file names, [`offset_index`], [`time_index`] and [`transaction_index`] the formats, [`meta`] is what is kept in memory
//! of a segment, [`scan`] reads a segment's batches back.

pub mod meta;
pub mod names;
pub mod offset_index;
pub mod scan;
pub mod time_index;
pub mod transaction_index;

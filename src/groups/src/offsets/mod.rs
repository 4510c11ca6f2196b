//! Committed offsets: commit, fetch, delete, expiry.

mod commit;
mod delete;
mod expire;
pub mod fetch;

//! How a result is shown: for a terminal, for HdrHistogram's tools, and as one HTML page.

pub mod hdr;
pub mod html;
mod plots;
pub mod text;

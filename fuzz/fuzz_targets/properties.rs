//! A properties file is read or refused with the line at fault, and settings from it have a description.
#![no_main]

use odradek_fuzz as _;

use libfuzzer_sys::fuzz_target;
use odradek_settings::{Settings, properties};

fuzz_target!(|data: &[u8]| {
    let text = properties::decode(data);
    if let Err(error) = properties::parse(&text) {
        assert!(error.line >= 1 && error.line <= text.matches(['\n', '\r']).count() + 1);
    }
    if let Ok((settings, _)) = Settings::parse(data, "file", &[]) {
        assert!(!settings.listeners().is_empty());
        let _ = settings.describe_json();
    }
});

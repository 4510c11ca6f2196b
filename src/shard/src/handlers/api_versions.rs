//! ApiVersions (key 18, KIP-35, KIP-511): what this broker serves.

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_wire::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use odradek_wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use odradek_wire::{ErrorCode, StrBytes, api};

pub fn handle(shard: &Shard, context: &Context<'_>) -> Result<Answer, Close> {
    if !api::supported(api::API_VERSIONS, context.version()) {
        return unsupported(context);
    }
    let request: ApiVersionsRequest = context.parse()?;
    let mut response = ApiVersionsResponse::default();
    if context.version() >= 3 && !(valid_software(&request.client_software_name) && valid_software(&request.client_software_version)) {
        response.error_code = ErrorCode::InvalidRequest.code();
        return context.respond(&response);
    }
    response.api_keys = rows();
    if context.version() >= 3 {
        response.finalized_features_epoch = shard.metadata_version() as i64;
        for (name, level) in shard.image().features() {
            let name = StrBytes::from_string(name.to_string());
            response
                .supported_features
                .push(SupportedFeatureKey::default().with_name(name.clone()).with_min_version(0).with_max_version(level));
            response
                .finalized_features
                .push(FinalizedFeatureKey::default().with_name(name).with_min_version_level(level).with_max_version_level(level));
        }
    }
    context.respond(&response)
}

fn rows() -> Vec<ApiVersion> {
    api::SUPPORTED
        .iter()
        .map(|row| ApiVersion::default().with_api_key(row.key).with_min_version(row.min).with_max_version(row.max))
        .collect()
}

/// An unknown version is answered at version 0 with the one row that the client needs to try again (KIP-511).
fn unsupported(context: &Context<'_>) -> Result<Answer, Close> {
    let mut response = ApiVersionsResponse::default();
    response.error_code = ErrorCode::UnsupportedVersion.code();
    response.api_keys = rows().into_iter().filter(|row| row.api_key == api::API_VERSIONS).collect();
    let frame = odradek_wire::encode_response(api::API_VERSIONS, 0, context.request.correlation_id, &response)?;
    Ok(Answer::frame(frame))
}

/// Kafka's pattern for a client's name and version: letters and digits, with `.` and `-` inside.
fn valid_software(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::valid_software;

    #[test]
    fn software_names() {
        for good in ["own", "apache-kafka-java", "4.3.1", "a"] {
            assert!(valid_software(good), "{good}");
        }
        for bad in ["", "a b!", "-a", "a-", "ü"] {
            assert!(!valid_software(bad), "{bad}");
        }
    }
}

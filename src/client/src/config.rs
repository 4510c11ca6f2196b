//! What a connection to a cluster needs to know, and how Kafka's client properties map to it.

use crate::error::ClientError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Port assumed when an address names none.
pub const PORT_DEFAULT: u16 = 9092;
/// Largest response accepted, in bytes: Kafka's default for requests (`socket.request.max.bytes`), which also bounds a fetch.
pub const RESPONSE_BYTES_MAX: usize = 100 * 1024 * 1024;

/// A flag that another thread or a signal handler raises to stop a waiting client.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Takes the interrupt back, so that what closes things down can still talk to the brokers.
    pub fn lower(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for `signal_hook::flag::register`.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `host:port` of brokers to start from, tried in order.
    pub bootstrap: Vec<String>,
    pub client_id: String,
    pub connect_timeout: Duration,
    /// Longest wait for one response.
    pub request_timeout: Duration,
    /// Longest wait for an operation that is retried (leader elections, a coordinator that loads).
    pub operation_timeout: Duration,
    pub retry_backoff: Duration,
    pub response_bytes_max: usize,
    pub interrupt: Interrupt,
}

impl ClientConfig {
    /// Defaults of Kafka's admin client, for a comma-separated list of addresses.
    pub fn new(bootstrap: &str) -> Result<Self, ClientError> {
        Ok(Self {
            bootstrap: parse_bootstrap(bootstrap)?,
            client_id: "odradek".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            operation_timeout: Duration::from_secs(60),
            retry_backoff: Duration::from_millis(100),
            response_bytes_max: RESPONSE_BYTES_MAX,
            interrupt: Interrupt::default(),
        })
    }

    /// Takes the properties that concern connections out of `properties`; what this client cannot honour is an error that names it.
    /// Keys that belong to producers, consumers or nobody stay for the caller.
    pub fn take_properties(&mut self, properties: &mut BTreeMap<String, String>) -> Result<(), ClientError> {
        if let Some(protocol) = properties.remove("security.protocol")
            && !protocol.trim().eq_ignore_ascii_case("PLAINTEXT")
        {
            return Err(ClientError::Invalid(format!(
                "security.protocol={protocol}: only PLAINTEXT is implemented by this tool; use Kafka's own tools for TLS or SASL"
            )));
        }
        if let Some(key) = properties.keys().find(|k| k.starts_with("sasl.") || k.starts_with("ssl.")) {
            return Err(ClientError::Invalid(format!("{key}: TLS and SASL are not implemented by this tool")));
        }
        if let Some(list) = properties.remove("bootstrap.servers") {
            self.bootstrap = parse_bootstrap(&list)?;
        }
        if let Some(id) = properties.remove("client.id") {
            self.client_id = id;
        }
        take_ms(properties, "request.timeout.ms", &mut self.request_timeout)?;
        take_ms(properties, "default.api.timeout.ms", &mut self.operation_timeout)?;
        take_ms(properties, "retry.backoff.ms", &mut self.retry_backoff)?;
        take_ms(properties, "socket.connection.setup.timeout.ms", &mut self.connect_timeout)?;
        Ok(())
    }
}

/// Moves a duration in milliseconds out of `properties` into `target`, where the key is present.
pub fn take_ms(properties: &mut BTreeMap<String, String>, key: &str, target: &mut Duration) -> Result<(), ClientError> {
    if let Some(ms) = take_number::<u64>(properties, key)? {
        *target = Duration::from_millis(ms);
    }
    Ok(())
}

/// Removes and parses a number; an error names the key and the value.
pub fn take_number<T: std::str::FromStr>(properties: &mut BTreeMap<String, String>, key: &str) -> Result<Option<T>, ClientError> {
    let Some(text) = properties.remove(key) else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| ClientError::Invalid(format!("{key}={text}: not a number in the allowed range")))
}

/// Removes and parses `true` or `false`.
pub fn take_bool(properties: &mut BTreeMap<String, String>, key: &str) -> Result<Option<bool>, ClientError> {
    let Some(text) = properties.remove(key) else { return Ok(None) };
    match text.trim().to_ascii_lowercase().as_str() {
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        _ => Err(ClientError::Invalid(format!("{key}={text}: expected true or false"))),
    }
}

/// Splits and checks a list like `host1:9092,[::1]:9093`.
pub fn parse_bootstrap(list: &str) -> Result<Vec<String>, ClientError> {
    let addresses: Vec<String> = list.split(',').map(str::trim).filter(|a| !a.is_empty()).map(with_port).collect::<Result<_, _>>()?;
    if addresses.is_empty() {
        return Err(ClientError::Invalid("the list of bootstrap servers is empty".to_owned()));
    }
    Ok(addresses)
}

fn with_port(address: &str) -> Result<String, ClientError> {
    let bad = || ClientError::Invalid(format!("'{address}' is not host:port"));
    let after_host = match address.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(bad)?.1,
        None => address.find(':').map_or("", |colon| &address[colon..]),
    };
    if after_host.is_empty() {
        return Ok(format!("{address}:{PORT_DEFAULT}"));
    }
    let port: u16 = after_host.strip_prefix(':').and_then(|p| p.parse().ok()).ok_or_else(bad)?;
    if port == 0 || address.starts_with(':') {
        return Err(bad());
    }
    Ok(address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_lists() {
        assert_eq!(parse_bootstrap("a:1, b ,[::1]:3").unwrap(), ["a:1", "b:9092", "[::1]:3"]);
        for bad in ["", ",", "a:x", "a:0", ":9092", "a:70000", "[::1", "::1"] {
            assert!(parse_bootstrap(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn properties_are_taken_or_refused_by_name() {
        let mut config = ClientConfig::new("localhost:9092").unwrap();
        let mut properties: BTreeMap<String, String> =
            [("client.id", "me"), ("request.timeout.ms", "5"), ("linger.ms", "7")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        config.take_properties(&mut properties).unwrap();
        assert_eq!((config.client_id.as_str(), config.request_timeout.as_millis()), ("me", 5));
        assert_eq!(properties.into_keys().collect::<Vec<_>>(), ["linger.ms"]);

        for (key, value) in [("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN"), ("request.timeout.ms", "soon")] {
            let error = config.take_properties(&mut BTreeMap::from([(key.to_owned(), value.to_owned())])).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}

//! Listeners: `NAME://host:port`, Kafka's notation for endpoints.

use crate::load::Settings;
use crate::value::list_items;
use std::fmt;

/// Listeners that one node may open.
pub const LISTENERS_MAX: usize = 64;

/// One endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Upper case, as Kafka compares them.
    pub name: String,
    /// PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
    pub protocol: String,
    /// Empty: all interfaces.
    pub host: String,
    pub port: u16,
}

impl Listener {
    /// What clients are told where no host was given: a listener on all interfaces cannot be advertised as such.
    pub fn advertised_host(&self) -> &str {
        match self.host.as_str() {
            "" | "0.0.0.0" | "::" => "localhost",
            host => host,
        }
    }

    /// Kafka's number of the security protocol (`SecurityProtocol.id`).
    pub fn protocol_id(&self) -> i16 {
        match self.protocol.as_str() {
            "SSL" => 1,
            "SASL_PLAINTEXT" => 2,
            "SASL_SSL" => 3,
            _ => 0,
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{}://{open}{}{close}:{}", self.name, self.host, self.port)
    }
}

/// `NAME`, host and port of one endpoint.
fn parse_endpoint(text: &str) -> Result<(String, String, u16), String> {
    let wrong = || format!("`{text}` is not of the form NAME://host:port");
    let (name, address) = text.split_once("://").ok_or_else(wrong)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse::<u16>().map_err(|_| format!("`{text}` has no port from 0 to 65535"))?;
    let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if !named || host.contains(['/', ' ']) {
        return Err(wrong());
    }
    Ok((name.to_ascii_uppercase(), host.to_owned(), port))
}

/// The protocols of `listener.security.protocol.map`.
fn parse_map(text: &str) -> Result<Vec<(String, String)>, String> {
    list_items(text)
        .into_iter()
        .map(|item| {
            let (name, protocol) = item.split_once(':').ok_or_else(|| format!("`{item}` is not of the form NAME:PROTOCOL"))?;
            let protocol = protocol.trim().to_ascii_uppercase();
            if !["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"].contains(&protocol.as_str()) {
                return Err(format!("{protocol} is no security protocol"));
            }
            Ok((name.trim().to_ascii_uppercase(), protocol))
        })
        .collect()
}

/// The form of a listener setting; other settings pass.
///
/// # Errors
/// What is wrong with it.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    match name {
        "listeners" | "advertised.listeners" => list_items(value).into_iter().try_for_each(|item| parse_endpoint(item).map(|_| ())),
        "listener.security.protocol.map" => parse_map(value).map(|_| ()),
        _ => Ok(()),
    }
}

/// The listeners for clients: those of `listeners` that are not only for controllers.
pub(crate) fn from_settings(settings: &Settings) -> Result<Vec<Listener>, String> {
    resolve(settings, settings.text("listeners").unwrap_or_default())
}

/// What clients are told: `advertised.listeners`, or `listeners` where that is not set.
pub(crate) fn advertised(settings: &Settings) -> Result<Vec<Listener>, String> {
    match settings.text("advertised.listeners") {
        Some(text) if !text.is_empty() => resolve(settings, text),
        _ => from_settings(settings),
    }
}

fn resolve(settings: &Settings, text: &str) -> Result<Vec<Listener>, String> {
    let map = parse_map(settings.text("listener.security.protocol.map").unwrap_or_default())?;
    let controllers: Vec<String> =
        list_items(settings.text("controller.listener.names").unwrap_or_default()).iter().map(|name| name.to_ascii_uppercase()).collect();
    let mut listeners: Vec<Listener> = Vec::new();
    for item in list_items(text) {
        let (name, host, port) = parse_endpoint(item)?;
        if controllers.contains(&name) {
            continue;
        }
        let protocol = map
            .iter()
            .find(|(mapped, _)| *mapped == name)
            .map(|(_, protocol)| protocol.clone())
            .ok_or_else(|| format!("no security protocol is given for listener {name} in listener.security.protocol.map"))?;
        if listeners.iter().any(|other| other.name == name) {
            return Err(format!("two listeners are called {name}"));
        }
        if port != 0 && listeners.iter().any(|other| other.port == port && other.host == host) {
            return Err(format!("two listeners have port {port}"));
        }
        listeners.push(Listener { name, protocol, host, port });
    }
    if listeners.is_empty() {
        return Err("no listener for clients is left".to_owned());
    }
    if listeners.len() > LISTENERS_MAX {
        return Err(format!("more than {LISTENERS_MAX} listeners"));
    }
    Ok(listeners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let table = [
            ("PLAINTEXT://localhost:9092", Some(("PLAINTEXT", "localhost", 9092))),
            ("plaintext://:0", Some(("PLAINTEXT", "", 0))),
            ("SSL_1://[::1]:9093", Some(("SSL_1", "::1", 9093))),
            ("PLAINTEXT://h", None),
            ("://h:1", None),
            ("PLAINTEXT://h:70000", None),
            ("PLAINTEXT:/h:1", None),
            ("PLAINTEXT://h:-1", None),
            ("", None),
        ];
        for (text, expected) in table {
            let got = parse_endpoint(text).ok();
            let got = got.as_ref().map(|(name, host, port)| (name.as_str(), host.as_str(), *port));
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn listeners_of_a_node() {
        let of = |text: &str| Settings::parse(text.as_bytes(), "f", &[]).map(|(settings, _)| settings);
        let settings = of("listeners=A://[::]:9092,B://h:9093\nlistener.security.protocol.map=a:plaintext,b:ssl").unwrap();
        let listeners = from_settings(&settings).unwrap();
        assert_eq!(listeners[1].to_string(), "B://h:9093");
        assert_eq!((listeners[0].protocol.as_str(), listeners[0].advertised_host()), ("PLAINTEXT", "localhost"));
        assert_eq!((listeners[1].protocol_id(), listeners[0].to_string().as_str()), (1, "A://[::]:9092"));
        for wrong in ["listeners=A://:1", "listeners=PLAINTEXT://:1,PLAINTEXT://:2", "listeners=PLAINTEXT://:1,SSL://:1", "listeners="] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
        let settings = of("listeners=PLAINTEXT://:9092\nadvertised.listeners=PLAINTEXT://public:1").unwrap();
        assert_eq!(advertised(&settings).unwrap()[0].to_string(), "PLAINTEXT://public:1");
    }
}

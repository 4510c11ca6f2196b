//! Kafka's tools that set a server up and start it, by their names and options: they need the broker, so they live beside `serve`.

mod server_start;
mod storage;

use odradek_cli::ServerTool;

/// The tools, for the command line.
pub fn tools() -> Vec<ServerTool> {
    vec![ServerTool { name: "kafka-server-start", run: server_start::run }, ServerTool { name: "kafka-storage", run: storage::run }]
}

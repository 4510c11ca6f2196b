//! Lines of standard input on a thread of their own, so that records already read are sent while nobody types.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::sync::mpsc::{Receiver, sync_channel};

/// Lines read ahead at most.
const LINES_AHEAD_MAX: usize = 1024;
/// Longest line, in bytes: the largest request Kafka takes.
pub const LINE_BYTES_MAX: u64 = 100 * 1024 * 1024;

/// Starts reading. Each line comes without its end (`\n` or `\r\n`); the channel closes at the end of the input.
/// With `prompt`, `>` is shown before each line when a person types.
pub fn start(prompt: bool) -> Receiver<Result<Vec<u8>, String>> {
    let (sender, receiver) = sync_channel(LINES_AHEAD_MAX);
    std::thread::spawn(move || {
        let prompt = prompt && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let mut input = std::io::stdin().lock();
        loop {
            if prompt {
                let mut out = std::io::stdout();
                let _ = out.write_all(b">").and_then(|()| out.flush());
            }
            let line = next_line(&mut input);
            let ended = !matches!(line, Ok(Some(_)));
            let sent = match line {
                Ok(Some(line)) => sender.send(Ok(line)).is_ok(),
                Ok(None) => false,
                Err(error) => sender.send(Err(error)).is_ok(),
            };
            if ended || !sent {
                return;
            }
        }
    });
    receiver
}

fn next_line(input: &mut impl BufRead) -> Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(|e| format!("standard input: {e}"))?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
        return Err(format!("a line of standard input is longer than {LINE_BYTES_MAX} bytes"));
    }
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_their_ends() {
        let mut input = &b"a\nb\r\n\nlast"[..];
        let lines: Vec<Vec<u8>> = std::iter::from_fn(|| next_line(&mut input).unwrap()).collect();
        assert_eq!(lines, [&b"a"[..], b"b", b"", b"last"]);
    }
}

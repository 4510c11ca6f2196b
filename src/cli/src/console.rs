//! The two streams a command writes to. A reader that went away (`| head`) ends output, not the program with a panic.

use std::io::Write;

/// Standard output and standard error, replaceable in tests.
pub struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    broken: bool,
}

impl<'a> Console<'a> {
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self { out, err, broken: false }
    }

    /// Bytes to standard output.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.broken |= self.out.write_all(bytes).is_err();
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub fn line(&mut self, text: &str) {
        self.text(text);
        self.text("\n");
    }

    pub fn error(&mut self, text: &str) {
        // What was printed before comes first where both streams are one.
        self.flush();
        // Nowhere is left to complain about standard error.
        let _ = self.err.write_all(text.as_bytes());
    }

    pub fn error_line(&mut self, text: &str) {
        self.error(text);
        self.error("\n");
    }

    pub fn flush(&mut self) {
        self.broken |= self.out.flush().is_err();
    }

    /// Whether standard output is gone.
    pub fn is_broken(&self) -> bool {
        self.broken
    }
}

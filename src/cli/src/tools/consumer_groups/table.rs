//! Left-aligned columns, each at least its minimum and as wide as its widest cell, every line led by a line break: the look of
//! Kafka's group tool.

use std::fmt::Write as _;

#[derive(Debug)]
pub struct Table<const N: usize> {
    header: [(&'static str, usize); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// Columns with their minimal widths.
    pub fn new(header: &[(&'static str, usize); N]) -> Self {
        Self { header: *header, rows: Vec::new() }
    }

    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// The table with a leading line break and without a final one.
    pub fn text(&self) -> String {
        let width = |i: usize| self.rows.iter().map(|r| r[i].chars().count()).fold(self.header[i].1, usize::max);
        let widths: Vec<usize> = (0..N).map(width).collect();
        let mut out = String::new();
        let header: [String; N] = self.header.map(|(name, _)| name.to_owned());
        for row in std::iter::once(&header).chain(&self.rows) {
            out.push('\n');
            for (i, cell) in row.iter().enumerate() {
                let _ = match widths[i] {
                    // A column of width 0 takes what it needs, as a plain %s.
                    _ if self.header[i].1 == 0 => write!(out, "{cell}"),
                    width => write!(out, "{cell:<width$}"),
                };
                if i + 1 < N {
                    out.push(' ');
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_grow_with_their_cells() {
        let mut table = Table::new(&[("GROUP", 6), ("LAG", 3), ("CLIENT-ID", 0)]);
        table.row(["a-long-group".into(), "1".into(), "c".into()]);
        assert_eq!(table.text(), "\nGROUP        LAG CLIENT-ID\na-long-group 1   c");
    }
}

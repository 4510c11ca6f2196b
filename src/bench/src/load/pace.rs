//! When records are due.

use super::lane::Planned;
use crate::scenario::{KeyDraw, SizeDraw};
use odradek_base::Rng;

/// How producers are driven.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Nothing is sent.
    Silent,
    /// As much as is answered.
    Closed,
    /// Full batches per second.
    Requests(f64),
    /// Records per second.
    Records(f64),
}

impl Pace {
    /// Moments between two arrivals, in nanoseconds; `None` where the answers set the pace.
    pub fn interval(self) -> Option<f64> {
        match self {
            Pace::Silent | Pace::Closed => None,
            Pace::Requests(rate) | Pace::Records(rate) => Some(1e9 / rate),
        }
    }
}

/// Draws records from the scenario's distributions.
#[derive(Debug)]
pub struct Draw {
    pub keys: KeyDraw,
    pub sizes: SizeDraw,
    pub rng: Rng,
}

impl Draw {
    /// Whether keys decide where records go.
    pub fn has_keys(&self) -> bool {
        !matches!(self.keys, KeyDraw::None)
    }

    pub fn record(&mut self, due: u64) -> Planned {
        Planned { due, size: self.sizes.draw(&mut self.rng) as u32, key: self.keys.draw(&mut self.rng) }
    }

    /// A batch of at least one record, as many as go into `bytes`, without keys.
    pub fn batch(&mut self, due: u64, bytes: usize) -> Vec<Planned> {
        let mut records = Vec::new();
        let mut left = bytes;
        loop {
            let size = self.sizes.draw(&mut self.rng);
            if !records.is_empty() && size > left {
                return records;
            }
            records.push(Planned { due, size: size as u32, key: None });
            left = left.saturating_sub(size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Keys, Size, SizeRange};

    #[test]
    fn batches_hold_what_fits() {
        let draw = |size| Draw { keys: KeyDraw::new(Keys::None), sizes: SizeDraw::new(&size), rng: Rng::with_seed(1) };
        assert_eq!(draw(Size::Fixed(100)).batch(7, 350).len(), 3);
        assert_eq!(draw(Size::Fixed(100)).batch(7, 300).len(), 3);
        assert_eq!(draw(Size::Fixed(100)).batch(7, 1), [Planned { due: 7, size: 100, key: None }]);
        let mut varied = draw(Size::Range(SizeRange { min: 50, max: 200 }));
        for _ in 0..100 {
            let total: u32 = varied.batch(0, 1000).iter().map(|r| r.size).sum();
            assert!((801..=1000).contains(&total), "{total}");
        }
        assert_eq!((Pace::Requests(1e9).interval(), Pace::Closed.interval()), (Some(1.0), None));
    }
}

//! Drawing keys and sizes from their distributions.

use super::{Keys, Size};
use odradek_base::Rng;

/// A number from 0 up to, not including, 1.
fn unit(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Draws keys.
#[derive(Debug)]
pub enum KeyDraw {
    None,
    Uniform(u32),
    Zipf(Zipf),
}

impl KeyDraw {
    pub fn new(keys: Keys) -> Self {
        match keys {
            Keys::None => Self::None,
            Keys::Uniform(keys) => Self::Uniform(keys),
            Keys::Zipf { keys, exponent } => Self::Zipf(Zipf::new(keys, exponent)),
        }
    }

    /// The next key, from 0; `None` where records have none.
    pub fn draw(&self, rng: &mut Rng) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Uniform(keys) => Some(rng.below(u64::from(*keys)) as u32),
            Self::Zipf(zipf) => Some(zipf.draw(rng)),
        }
    }
}

/// Zipf's distribution by rejection-inversion (Hörmann and Derflinger 1996): no table, however many keys.
#[derive(Debug)]
pub struct Zipf {
    keys: f64,
    exponent: f64,
    low: f64,
    high: f64,
    shortcut: f64,
}

impl Zipf {
    pub fn new(keys: u32, exponent: f64) -> Self {
        let mut zipf = Self { keys: f64::from(keys), exponent, low: 0.0, high: 0.0, shortcut: 0.0 };
        zipf.low = zipf.integral(1.5) - 1.0;
        zipf.high = zipf.integral(zipf.keys + 0.5);
        zipf.shortcut = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    fn weight(&self, x: f64) -> f64 {
        x.powf(-self.exponent)
    }

    /// Integral of the weight from 1 to x.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        let power = (1.0 - self.exponent) * log;
        if power.abs() < 1e-12 { log } else { power.exp_m1() / power * log }
    }

    fn inverse(&self, y: f64) -> f64 {
        let t = (y * (1.0 - self.exponent)).max(-1.0);
        if t.abs() < 1e-12 { y.exp() } else { (t.ln_1p() / t * y).exp() }
    }

    /// The next key; 0 is the most frequent.
    pub fn draw(&self, rng: &mut Rng) -> u32 {
        loop {
            let u = self.high + unit(rng) * (self.low - self.high);
            let x = self.inverse(u);
            let k = x.round().clamp(1.0, self.keys);
            if k - x <= self.shortcut || u >= self.integral(k + 0.5) - self.weight(k) {
                return k as u32 - 1;
            }
        }
    }
}

/// Draws sizes of values.
#[derive(Debug)]
pub struct SizeDraw(Size);

impl SizeDraw {
    pub fn new(size: &Size) -> Self {
        Self(size.clone())
    }

    pub fn max(&self) -> usize {
        match &self.0 {
            Size::Fixed(bytes) => *bytes,
            Size::Range(range) => range.max,
            Size::Weighted(sizes) => sizes.iter().map(|s| s.0).max().unwrap_or(0),
        }
    }

    /// The size of every record, where there is only one.
    pub fn fixed(&self) -> Option<usize> {
        match self.0 {
            Size::Fixed(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub fn draw(&self, rng: &mut Rng) -> usize {
        match &self.0 {
            Size::Fixed(bytes) => *bytes,
            Size::Range(range) => range.min + rng.below((range.max - range.min + 1) as u64) as usize,
            Size::Weighted(sizes) => {
                let mut left = unit(rng) * sizes.iter().map(|s| s.1).sum::<f64>();
                for &(bytes, weight) in sizes {
                    left -= weight;
                    if left < 0.0 {
                        return bytes;
                    }
                }
                self.max()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SizeRange;

    #[test]
    fn zipf_has_its_shape() {
        for exponent in [0.5, 1.0, 1.5] {
            let (zipf, mut rng) = (Zipf::new(1000, exponent), Rng::with_seed(1));
            let mut counts = vec![0u32; 1000];
            for _ in 0..200_000 {
                counts[zipf.draw(&mut rng) as usize] += 1;
            }
            let total: f64 = (1..=1000).map(|k| f64::from(k).powf(-exponent)).sum();
            for k in [1u32, 2, 10] {
                let expected = 200_000.0 * f64::from(k).powf(-exponent) / total;
                let seen = f64::from(counts[k as usize - 1]);
                assert!((seen - expected).abs() < 5.0 * expected.sqrt() + 1.0, "exponent {exponent}, key {k}: {seen}, expected {expected}");
            }
        }
    }

    #[test]
    fn sizes_stay_in_their_bounds_and_keep_their_shares() {
        let mut rng = Rng::with_seed(2);
        let range = SizeDraw::new(&Size::Range(SizeRange { min: 50, max: 52 }));
        let mut seen: Vec<usize> = (0..100).map(|_| range.draw(&mut rng)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [50, 51, 52]);
        let weighted = SizeDraw::new(&Size::Weighted(vec![(100, 3.0), (900, 1.0)]));
        let large = (0..10_000).filter(|_| weighted.draw(&mut rng) == 900).count();
        assert!((2300..2700).contains(&large), "{large}");
        assert_eq!(weighted.max(), 900);
    }
}

//! How many threads make the load, and on which cores, away from a broker that the harness starts.

use crate::load::Threads;
use crate::targets::{StartArgs, affinity};
use crate::{BenchError, pin};
use clap::Args;

/// With fewer cores a broker is not told to leave some of them.
const CORES_TO_SPLIT: usize = 4;

#[derive(Debug, Clone, Args)]
pub struct ThreadArgs {
    /// Threads that make the load; connections are spread over them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Cores of the threads, like 2 or 2,3. Default: those that --broker-cores leaves.
    #[arg(long, value_name = "CORES", alias = "pin-core")]
    pin_cores: Option<String>,
}

/// Who runs where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// CPUs of a broker that is started; `None`: all.
    pub broker: Option<Vec<usize>>,
    pub threads: Threads,
}

impl ThreadArgs {
    /// Where the threads and, if one is started, the broker are to run.
    pub fn place(&self, how: &StartArgs, starts: bool) -> Result<Placement, BenchError> {
        let parse = |text: &Option<String>| text.as_deref().map(affinity::parse).transpose().map_err(BenchError::Arguments);
        let allowed = affinity::allowed()?;
        let placement = place(usize::from(self.threads), parse(&self.pin_cores)?, parse(&how.broker_cores)?, &allowed, starts);
        placement.map_err(BenchError::Arguments)
    }
}

fn place(
    threads: usize,
    pinned: Option<Vec<usize>>,
    broker: Option<Vec<usize>>,
    allowed: &[usize],
    starts: bool,
) -> Result<Placement, String> {
    if let Some(core) = pinned.iter().chain(&broker).flatten().find(|c| !allowed.contains(c)) {
        return Err(format!("core {core} is not there, or not allowed; allowed are {}", affinity::list(allowed)));
    }
    if let Some(pinned) = pinned {
        if pinned.len() < threads {
            return Err(format!("--pin-cores {}: {threads} threads need as many cores", affinity::list(&pinned)));
        }
        return Ok(Placement { broker, threads: Threads { cores: pinned.into_iter().take(threads).map(Some).collect() } });
    }
    let broker = match broker {
        // The last cores: interrupts and most else prefer the first.
        None if starts && allowed.len() >= CORES_TO_SPLIT.max(2 * threads) => Some(allowed[..allowed.len() - threads].to_vec()),
        given => given,
    };
    let free: Vec<usize> = match &broker {
        Some(broker) => allowed.iter().copied().filter(|core| !broker.contains(core)).collect(),
        None => Vec::new(),
    };
    // Two threads on a core would wait for each other: then the kernel may choose.
    let cores = (0..threads).map(|i| free.get(i).copied().filter(|_| free.len() >= threads)).collect();
    Ok(Placement { broker, threads: Threads { cores } })
}

impl Placement {
    /// Pins this thread where it is the one that makes the load. Only after the broker was started, which inherits CPUs.
    pub fn settle(&self) -> Result<(), BenchError> {
        match self.threads.cores[..] {
            [core] => pin(core),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_and_broker_keep_apart_where_there_is_room() {
        let placed = |threads, pinned: Option<&[usize]>, broker: Option<&[usize]>, cores: usize, starts| {
            let allowed: Vec<usize> = (0..cores).collect();
            place(threads, pinned.map(<[usize]>::to_vec), broker.map(<[usize]>::to_vec), &allowed, starts)
                .map(|p| (p.broker, p.threads.cores))
        };
        // What is said is done.
        assert_eq!(placed(2, Some(&[5, 7]), None, 8, true), Ok((None, vec![Some(5), Some(7)])));
        assert_eq!(placed(1, None, Some(&[0]), 2, true), Ok((Some(vec![0]), vec![Some(1)])));
        // Not enough cores are left for two threads.
        assert_eq!(placed(2, None, Some(&[0]), 2, true), Ok((Some(vec![0]), vec![None, None])));
        // Nothing is said: only where there are cores enough, and a broker to keep away from.
        assert_eq!(placed(1, None, None, 2, true), Ok((None, vec![None])));
        assert_eq!(placed(2, None, None, 8, true), Ok((Some((0..6).collect()), vec![Some(6), Some(7)])));
        assert_eq!(placed(2, None, None, 8, false), Ok((None, vec![None, None])));
        assert_eq!(placed(3, None, None, 4, true), Ok((None, vec![None, None, None])));
        assert!(placed(2, Some(&[1]), None, 4, true).unwrap_err().contains("2 threads"));
        assert!(placed(1, Some(&[9]), None, 4, true).unwrap_err().contains("core 9"));
    }
}

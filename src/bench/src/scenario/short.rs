//! A scenario made shorter and smaller, to see that it works or to fit a small machine.

use super::{Rate, Scenario};
use clap::Args;

/// Steps that a shortened scenario is divided into, at most.
const STEPS_MAX: u32 = 4;
/// Megabytes that are preloaded for each second of a shortened scenario, at most.
const PRELOAD_MB_PER_S: f64 = 50.0;

#[derive(Debug, Clone, Default, Args)]
pub struct ShortArgs {
    /// Seconds of measurement instead of the scenario's, over all steps; the warm-up and what is preloaded shrink with it.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// A part of the scenario's rate, connections, topics and partitions: 0.1 is a tenth, rounded up.
    #[arg(long, value_name = "FACTOR")]
    scale: Option<f64>,
}

impl ShortArgs {
    /// Applies them.
    ///
    /// # Errors
    /// Numbers out of range.
    pub fn apply(&self, scenario: &mut Scenario) -> Result<(), String> {
        if let Some(seconds) = self.seconds {
            super::validate::range("--seconds", seconds, 0.05, 86_400.0)?;
            scenario.shorten(seconds);
        }
        if let Some(scale) = self.scale {
            super::validate::range("--scale", scale, 0.001, 1.0)?;
            scenario.scale(scale);
        }
        scenario.validate()
    }
}

impl Scenario {
    fn shorten(&mut self, seconds: f64) {
        self.duration_s = seconds;
        self.warm_up_s = self.warm_up_s.min(seconds / 4.0);
        if let Some(Rate::Steps(steps)) = &mut self.rate {
            steps.count_max = steps.count_max.min(STEPS_MAX);
            self.duration_s = seconds / f64::from(steps.count_max);
        }
        if let Some(c) = &mut self.catch_up
            && c.preload_mb > 0
        {
            c.preload_mb = c.preload_mb.min((seconds * PRELOAD_MB_PER_S).ceil() as u64);
        }
    }

    fn scale(&mut self, factor: f64) {
        let part = |count: usize| ((count as f64 * factor).ceil() as usize).max(1);
        self.topics = part(self.topics as usize) as u32;
        self.partitions = part(self.partitions as usize) as i32;
        self.idle_connections = (f64::from(self.idle_connections) * factor).ceil() as u32;
        match &mut self.rate {
            Some(Rate::RequestsPerS(rate) | Rate::RecordsPerS(rate)) => *rate *= factor,
            Some(Rate::Steps(steps)) => steps.records_per_s *= factor,
            Some(Rate::ClosedLoop(_)) | None => {}
        }
        if let Some(p) = &mut self.producers {
            p.count = part(p.count);
        }
        if let Some(c) = &mut self.consumers {
            c.count = part(c.count);
        }
        if let Some(c) = &mut self.catch_up {
            c.count = part(c.count);
            c.preload_mb = (c.preload_mb as f64 * factor).ceil() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_of_everything_and_at_least_one() {
        let text = "name = 'x'\ntopics = 30\npartitions = 1\nwarm_up_s = 5\nduration_s = 30\nidle_connections = 15\nrate.requests_per_s = 2000\n\
            [producers]\ncount = 25\n[consumers]\ncount = 3\n[catch_up]\npreload_mb = 4000\n";
        let mut s = Scenario::parse(text).unwrap();
        ShortArgs { seconds: Some(2.0), scale: Some(0.1) }.apply(&mut s).unwrap();
        assert_eq!((s.duration_s, s.warm_up_s, s.topics, s.partitions, s.idle_connections), (2.0, 0.5, 3, 1, 2));
        assert_eq!(s.rate, Some(Rate::RequestsPerS(200.0)));
        assert_eq!((s.producers.unwrap().count, s.consumers.unwrap().count, s.catch_up.unwrap().preload_mb), (3, 1, 10));

        let mut s = Scenario::parse("name = 'x'\nrate.steps = { records_per_s = 100 }\n[producers]\n").unwrap();
        ShortArgs { seconds: Some(2.0), scale: None }.apply(&mut s).unwrap();
        let Some(Rate::Steps(steps)) = s.rate else { panic!("{:?}", s.rate) };
        assert_eq!((steps.count_max, s.duration_s), (4, 0.5));
        for wrong in [ShortArgs { seconds: Some(0.0), scale: None }, ShortArgs { seconds: None, scale: Some(2.0) }] {
            let mut s = Scenario::parse(text).unwrap();
            assert!(wrong.apply(&mut s).unwrap_err().contains("allowed are"));
        }
    }
}

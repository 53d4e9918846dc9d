//! Several trials at a time.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Sender},
    },
    thread,
};

use clip_adapter::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{
    Arguments,
    resume::Journal,
    trial::{Outcome, Trial},
};

/// Runs the trials that the journal does not hold, and returns the outcomes of all, in the trials' order.
///
/// Of several failures the one of the first trial is returned, however many jobs there are.
pub fn run(
    arguments: &Arguments,
    trials: &[Trial<'_>],
    mut journal: Option<&mut Journal>,
) -> Result<Vec<Outcome>> {
    let mut outcomes: Vec<Option<Outcome>> = match &journal {
        Some(journal) => trials.iter().map(|trial| journal.find(trial)).collect::<Result<_>>()?,
        None => trials.iter().map(|_| None).collect(),
    };
    let open: Vec<usize> = (0..trials.len()).filter(|&at| outcomes[at].is_none()).collect();
    if journal.is_some() {
        eprintln!("{} of {} runs were finished before", trials.len() - open.len(), trials.len());
    }
    let bar = progress_bar(open.len());
    let pools = pools(arguments.jobs().min(open.len()))?;
    let queue = Queue { arguments, trials, open: &open, next: AtomicUsize::new(0) };
    let mut failed: Option<(usize, Error)> = None;
    thread::scope(|scope| {
        let (done, finished) = mpsc::channel();
        for pool in &pools {
            let (queue, done) = (&queue, done.clone());
            scope.spawn(move || queue.work(pool, &done));
        }
        drop(done); // so that what is finished ends with the last worker
        for (at, outcome) in finished {
            let recorded = outcome.and_then(|outcome| {
                journal.as_mut().map_or(Ok(()), |journal| journal.record(&trials[at], &outcome))?;
                Ok(outcome)
            });
            bar.set_message(trials[at].to_string());
            bar.inc(1);
            match recorded {
                Ok(outcome) => outcomes[at] = Some(outcome),
                Err(error) => {
                    queue.stop();
                    if failed.as_ref().is_none_or(|(first, _)| at < *first) {
                        failed = Some((at, error));
                    }
                }
            }
        }
    });
    bar.finish_and_clear();
    if let Some((at, error)) = failed {
        eprintln!("{} failed", trials[at]);
        return Err(error);
    }
    Ok(outcomes.into_iter().flatten().collect())
}

/// Trials that wait for a worker.
struct Queue<'a> {
    arguments: &'a Arguments,
    trials: &'a [Trial<'a>],
    open: &'a [usize],
    next: AtomicUsize,
}

impl Queue<'_> {
    /// Takes one trial after the other until there are none.
    fn work(&self, pool: &ThreadPool, done: &Sender<(usize, Result<Outcome>)>) {
        while let Some(&at) = self.open.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = pool.install(|| self.trials[at].outcome(self.arguments));
            if done.send((at, outcome)).is_err() {
                return;
            }
        }
    }

    /// Hands out no more. What was taken before is finished.
    fn stop(&self) {
        self.next.store(self.open.len(), Ordering::Relaxed);
    }
}

/// A pool of one thread for each job: a fit that spread over all cores would get in the others' way, and sums in
/// another order, of which the last digits would show.
fn pools(jobs: usize) -> Result<Vec<ThreadPool>> {
    let pool = |_| {
        let pool = ThreadPoolBuilder::new().num_threads(1).build();
        pool.map_err(|error| Error::execution("starting a thread", error))
    };
    (0..jobs).map(pool).collect()
}

fn progress_bar(length: usize) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:30} {pos}/{len}  {eta} left  {msg}").expect("a valid template");
    ProgressBar::new(length as u64).with_style(style)
}

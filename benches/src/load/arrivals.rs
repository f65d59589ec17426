//! When requests are sent.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::join_all;
use rand_distr::{Distribution, Exp};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};

use super::client::{Seen, Server};
use super::work::Work;

/// How long an open loop waits for answers behind its last arrival.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a level saw: requests that were sent while it counted.
#[derive(Debug)]
pub struct Observed {
    /// The requests.
    pub requests: Vec<Seen>,
    /// Tokens of all answers that came while it counted, whenever they were asked for.
    pub tokens: usize,
    /// Requests that no answer came for in time.
    pub lost: usize,
    /// How long it counted.
    pub time: Duration,
}

/// So many clients, each of which asks again as soon as it is answered.
pub async fn closed(
    server: &Server,
    work: &Work,
    clients: usize,
    warm_up: Duration,
    length: Duration,
) -> Observed {
    let from = Instant::now() + warm_up;
    let until = from + length;
    let clients = (0..clients as u64).map(|number| async move {
        let mut random = work.random(number);
        let mut seen = Vec::new();
        while Instant::now() < until {
            let request = work.request(&mut random, server.model());
            seen.push(server.ask(&request).await);
        }
        seen
    });
    let all = join_all(clients).await.into_iter().flatten().collect();
    observe(all, 0, from, length)
}

/// So many requests a second, the time between two being exponentially distributed.
pub async fn open(
    server: &Server,
    work: &Work,
    rate: f64,
    warm_up: Duration,
    length: Duration,
) -> Result<Observed> {
    let between = Exp::new(rate)?;
    let mut random = work.random(u64::MAX / 2);
    let start = Instant::now();
    let (from, until) = (start + warm_up, start + warm_up + length);
    let mut next = start;
    let mut asked = JoinSet::new();
    while next < until {
        sleep_until(next.into()).await;
        let request = work.request(&mut random, server.model());
        let server = server.clone();
        asked.spawn(async move { server.ask(&request).await });
        next += Duration::from_secs_f64(between.sample(&mut random));
    }
    let mut all = Vec::new();
    let end = (until + PATIENCE).into();
    while let Ok(Some(seen)) = timeout_at(end, asked.join_next()).await {
        all.push(seen?);
    }
    Ok(observe(all, asked.len(), from, length))
}

fn observe(all: Vec<Seen>, lost: usize, from: Instant, length: Duration) -> Observed {
    let counts = |at: Instant| at >= from && at < from + length;
    let tokens = all.iter().map(|seen| {
        let inside = seen
            .parts
            .iter()
            .filter(|&&part| counts(seen.sent + part))
            .count();
        // Parts may have several tokens.
        inside * seen.tokens / seen.parts.len().max(1)
    });
    Observed {
        tokens: tokens.sum(),
        lost,
        time: length,
        requests: all.into_iter().filter(|seen| counts(seen.sent)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_the_window_counts() {
        let from = Instant::now();
        let seen = |ahead: u64, parts: &[u64], tokens| Seen {
            sent: from - Duration::from_secs(ahead),
            parts: parts
                .iter()
                .map(|&part| Duration::from_secs(part))
                .collect(),
            tokens,
            total: Duration::from_secs(9),
            error: None,
        };
        let all = vec![seen(2, &[1, 3, 4, 20], 8), seen(0, &[1, 2], 2)];
        let observed = observe(all, 1, from, Duration::from_secs(10));
        assert_eq!(observed.requests.len(), 1, "the first was sent before");
        assert_eq!(observed.tokens, 4 + 2, "two of its four parts came in time");
        assert_eq!(observed.lost, 1);
    }
}

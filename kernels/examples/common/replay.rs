//! Timing of launches in a CUDA graph.

use std::time::Instant;

use cubecl::client::Client;

/// Waits until all that was launched is done.
pub fn sync(client: &Client) {
    cubecl::future::block_on(client.sync()).expect("the device finishes");
}

/// Median microseconds of what `launches` records: of `rounds` of `replays` each. Kernels that it launches
/// have run before.
///
/// # Safety
/// Every buffer of the recorded launches outlives the call.
pub unsafe fn time(client: &Client, [rounds, replays]: [usize; 2], launches: impl Fn()) -> f64 {
    sync(client);
    client.graph_prepare().expect("a capture");
    launches();
    sync(client);
    client.start_capture().expect("a capture");
    launches();
    let graph = client.stop_capture().expect("a graph");
    let round = || {
        sync(client);
        let start = Instant::now();
        for _ in 0..replays {
            // SAFETY: the caller's promise.
            unsafe { graph.replay() }.expect("a replay");
        }
        sync(client);
        start.elapsed().as_secs_f64() * 1e6 / replays as f64
    };
    let mut times: Vec<f64> = (0..rounds).map(|_| round()).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

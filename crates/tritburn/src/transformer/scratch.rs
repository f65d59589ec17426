//! What kernels need besides their operands, made once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use burn::tensor::StreamId;
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl::client::Client;
use tritburn_kernels::argmax::ArgmaxScratch;
use tritburn_kernels::attention::AttentionScratch;

/// Launches of one stream follow one another and may share scratch; those of two may not.
type Key = (CubeDevice, StreamId);

type Pool<T> = Mutex<Option<HashMap<Key, T>>>;

/// The scratch of `device` for the current stream.
pub(super) fn attention(client: &Client, device: &CubeDevice) -> AttentionScratch {
    static POOL: Pool<AttentionScratch> = Mutex::new(None);
    take(&POOL, device, |_| true, || AttentionScratch::new(client))
}

/// The scratch of `device` for the current stream and at least `tokens` tokens.
pub(super) fn argmax(client: &Client, device: &CubeDevice, tokens: usize) -> ArgmaxScratch {
    static POOL: Pool<ArgmaxScratch> = Mutex::new(None);
    take(
        &POOL,
        device,
        |scratch| scratch.tokens() >= tokens,
        || ArgmaxScratch::new(client, tokens),
    )
}

fn take<T: Clone>(
    pool: &Pool<T>,
    device: &CubeDevice,
    fits: impl FnOnce(&T) -> bool,
    make: impl FnOnce() -> T,
) -> T {
    // A panic while the lock was held left the old entry or none: both are whole.
    let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = pool.get_or_insert_default();
    let key = (device.clone(), StreamId::current());
    match pool.get(&key) {
        Some(scratch) if fits(scratch) => scratch.clone(),
        _ => {
            let scratch = make();
            pool.insert(key, scratch.clone());
            scratch
        }
    }
}

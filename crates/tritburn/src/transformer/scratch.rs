//! What kernels need besides their operands: made once and kept, because a captured graph goes on
//! using the scratch that it was captured with.

use std::sync::{Mutex, PoisonError};

use burn::tensor::{DType, StreamId};
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl::client::Client;
use tritburn_kernels::decoder::argmax::ArgmaxScratch;
use tritburn_kernels::decoder::attention::AttentionScratch;
use tritburn_kernels::decoder::stack::{self, StackScratch};

use super::kept::Kept;
use super::stack::StackShape;

/// Launches of one stream follow one another and may share scratch; those of two may not.
type Key = (CubeDevice, StreamId);

/// The scratch of `device` for the current stream, with at least `slots` slots.
pub(super) fn attention(client: &Client, device: &CubeDevice, slots: usize) -> AttentionScratch {
    static KEPT: Kept<Key, AttentionScratch> = Kept::new();
    // The first is that of launches that name no number: how many it has decides what those do.
    let first = KEPT.get(key(device), |_| true, || AttentionScratch::new(client));
    match slots <= first.slots() {
        true => first,
        false => KEPT.get(
            key(device),
            |scratch| scratch.slots() >= slots,
            || AttentionScratch::with_slots(client, slots.next_power_of_two()),
        ),
    }
}

/// The scratch of `device` for the current stream and at least `tokens` tokens.
pub(super) fn argmax(client: &Client, device: &CubeDevice, tokens: usize) -> ArgmaxScratch {
    static KEPT: Kept<Key, ArgmaxScratch> = Kept::new();
    KEPT.get(
        key(device),
        |scratch| scratch.tokens() >= tokens,
        || ArgmaxScratch::new(client, tokens.next_power_of_two()),
    )
}

/// The scratch of stacks of `shape` on `device`, for the stream that has the right to run them.
pub(super) fn stack(client: &Client, device: &CubeDevice, shape: StackShape) -> StackScratch {
    static KEPT: Kept<(Key, stack::StackShape), StackScratch> = Kept::new();
    let shape = stack::StackShape::from(shape);
    KEPT.get(
        (key(device), shape),
        |_| true,
        || StackScratch::new(client, &shape),
    )
}

/// The right of a stream to run stacks on a device, see [`Stack`](super::Stack).
#[derive(Debug)]
pub(super) struct StackClaim(CubeDevice);

/// Who has the right, and how often.
static CLAIMS: Mutex<Vec<(CubeDevice, StreamId, usize)>> = Mutex::new(Vec::new());

impl StackClaim {
    /// `None` if `device` has no kernel for `shape`, or another stream has the right.
    pub fn new(device: &CubeDevice, shape: StackShape) -> Option<Self> {
        if !matches!(shape.dtype, DType::BF16 | DType::F16)
            || !stack::runs(&device.client(), &shape.into(), shape.layers)
        {
            return None;
        }
        let stream = StreamId::current();
        let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
        match claims.iter_mut().find(|(of, ..)| of == device) {
            Some((_, owner, count)) if *owner == stream => *count += 1,
            Some(_) => {
                tracing::info!(
                    ?device,
                    "another thread runs all layers in one launch here: this one launches every operation"
                );
                return None;
            }
            None => claims.push((device.clone(), stream, 1)),
        }
        Some(Self(device.clone()))
    }
}

impl Drop for StackClaim {
    fn drop(&mut self) {
        let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((.., count)) = claims.iter_mut().find(|(of, ..)| *of == self.0) {
            *count -= 1;
        }
        claims.retain(|&(.., count)| count > 0);
    }
}

fn key(device: &CubeDevice) -> Key {
    (device.clone(), StreamId::current())
}

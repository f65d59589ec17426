//! What kernels need besides their operands: made once and kept, because a captured graph goes on
//! using the scratch that it was captured with.

use burn::tensor::StreamId;
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl::client::Client;
use tritburn_kernels::decoder::argmax::ArgmaxScratch;
use tritburn_kernels::decoder::attention::AttentionScratch;

use super::kept::Kept;

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

fn key(device: &CubeDevice) -> Key {
    (device.clone(), StreamId::current())
}

//! All layers in one launch: the results of the separate kernels.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tritburn_formats::WeightCode;
use tritburn_kernels::FloatType;
use tritburn_kernels::decoder::glu::GatedActivation;
use tritburn_kernels::decoder::stack::{self, StackShape};

use crate::decoder_layers::{Found, Layers};
use crate::harness::*;
use crate::support::client;

/// One at a time: a launch of another thread would end up in the graph that a test records, or end it.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

const SMALL: StackShape = StackShape {
    hidden: 512,
    inner: 1408,
    heads: 8,
    kv_heads: 2,
    dim: 64,
    activation: GatedActivation::SquaredRelu,
    sub_norms: true,
    code: WeightCode::Ternary,
    dtype: FloatType::BF16,
};

const BITNET: StackShape = StackShape {
    hidden: 2560,
    inner: 6912,
    heads: 20,
    kv_heads: 5,
    dim: 128,
    ..SMALL
};

fn shapes() -> Vec<StackShape> {
    vec![
        SMALL,
        BITNET,
        StackShape {
            sub_norms: false,
            activation: GatedActivation::Silu,
            dtype: FloatType::F16,
            ..SMALL
        },
        StackShape {
            hidden: 4096,
            inner: 14_336,
            heads: 32,
            kv_heads: 8,
            dim: 128,
            sub_norms: false,
            activation: GatedActivation::Silu,
            ..SMALL
        },
    ]
}

#[test]
fn a_stack_over_blocks_has_the_bits_of_the_separate_kernels() {
    let (_alone, client) = (alone(), client());
    for shape in shapes() {
        assert!(stack::runs(&client, &shape, 3), "{shape:?}");
        for position in [0, 1, 63, 64, 255, 256, 700, 1023] {
            let layers = |()| Layers::new(&client, shape, 3, 1024, Some(64));
            let (a, b) = (layers(()), layers(()));
            let (expected, found) = (a.separate(position), b.stacked(position));
            let what = format!("{shape:?} at {position}");
            assert!(expected.stream.iter().all(|x| x.is_finite()), "{what}");
            assert_bits(&found.caches, &expected.caches, &what);
            assert_bits(&found.stream, &expected.stream, &what);
        }
    }
}

/// Root of the mean square of the difference, over that of what is expected.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let off: f64 = found
        .iter()
        .zip(expected)
        .map(|(&a, &b)| square(f64::from(a) - f64::from(b)))
        .sum();
    let all: f64 = expected.iter().map(|&x| square(f64::from(x))).sum();
    (off / all).sqrt()
}

#[test]
fn a_stack_over_contiguous_rows_is_near_the_separate_kernels() {
    let (_alone, client) = (alone(), client());
    for shape in shapes() {
        for position in [0, 63, 64, 700, 2047] {
            let layers = |()| Layers::new(&client, shape, 1, 2048, None);
            let (a, b) = (layers(()), layers(()));
            let (expected, found) = (a.separate(position), b.stacked(position));
            let what = format!("{shape:?} at {position}");
            // Attention adds in another order: last places of attended heads differ, and some codes by one.
            let off = difference(&found.stream, &expected.stream);
            assert!(off < 0.01, "{what}: {off}");
            assert_bits(&found.caches, &expected.caches, &what);
        }
    }
}

#[test]
fn a_stack_is_the_same_every_time_with_any_number_of_layers_between() {
    let (_alone, client) = (alone(), client());
    let deep = Layers::new(&client, BITNET, 5, 1024, None);
    let first = deep.stacked(900);
    let shallow = Layers::new(&client, BITNET, 1, 1024, None);
    for _ in 0..20 {
        shallow.stacked(3);
        let again: Found = deep.stacked(900);
        assert_bits(&again.stream, &first.stream, "again");
    }
}

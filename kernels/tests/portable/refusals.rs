//! Every refusal comes before a launch, with the numbers that were wrong.

use cubecl::client::Client;
use tritburn_formats::layout::MAX_IN_FEATURES;
use tritburn_formats::{ScaleGranularity, WeightCode};
use tritburn_kernels::product::portable::gemv::GemvBlueprint;
use tritburn_kernels::product::{self, Plan, Strategy};
use tritburn_kernels::quantize::activation::{self, ActivationBlueprint};
use tritburn_kernels::quantize::weight::{self, SumBlueprint};
use tritburn_kernels::{
    Buffer, FloatMatrix, FloatType, FloatVector, IntegerDot, KernelError, PackedWeights,
    QuantizedActivations, UnitTile, backward, unpack,
};

use crate::device::client;
use crate::harness::*;

const F32: FloatType = FloatType::F32;

fn zeros(client: &Client, shape: [usize; 2]) -> FloatMatrix {
    let data = vec![0.0; shape[0] * shape[1]];
    float_matrix(client, &data, shape, shape[1], F32)
}

fn packed(client: &Client, n: usize, k: usize, scale: ScaleGranularity) -> PackedWeights {
    weights(
        client,
        &matrix(&mut rng(1), &layout(n, k, WeightCode::Ternary, scale)),
    )
}

fn shape(
    operand: &'static str,
    expected: [usize; 2],
    found: [usize; 2],
) -> Result<(), KernelError> {
    Err(KernelError::Shape {
        operand,
        expected,
        found,
    })
}

#[test]
fn packed_weights_with_buffers_of_another_length_are_refused() {
    let client = client();
    let layout = layout(3, 20, WeightCode::Ternary, ScaleGranularity::Row);
    let new = |words: Buffer, scales: Buffer| {
        PackedWeights::new(layout.clone(), words, scales).map(|_| ())
    };
    let (six, _) = empty(&client, 6);
    let (three, handle) = empty(&client, 3);
    assert_eq!(new(six.clone(), three.clone()), Ok(()));
    let length = |operand, expected, found| {
        Err(KernelError::Length {
            operand,
            expected,
            found,
        })
    };
    assert_eq!(new(three.clone(), three), length("packed words", 6, 3));
    assert_eq!(new(six.clone(), six.clone()), length("weight scales", 3, 6));
    let stated_too_long = Buffer::new(handle, 6);
    let bytes = KernelError::Bytes {
        operand: "packed words",
        expected: 24,
        found: 12,
    };
    assert_eq!(new(stated_too_long, six), Err(bytes));
}

#[test]
fn activations_without_columns_with_too_many_or_misplaced_are_refused() {
    let client = client();
    let (none, _) = empty(&client, 0);
    let new = |cols| QuantizedActivations::new(0, cols, none.clone(), none.clone()).map(|_| ());
    let empty_shape = KernelError::Empty {
        operand: "activations",
        shape: [0, 0],
    };
    assert_eq!(new(0), Err(empty_shape));
    assert_eq!(new(MAX_IN_FEATURES), Ok(()));
    let too_many = KernelError::InFeatures {
        operand: "activations",
        in_features: MAX_IN_FEATURES + 1,
        max: MAX_IN_FEATURES,
    };
    assert_eq!(new(MAX_IN_FEATURES + 1), Err(too_many));

    let (_, handle) = empty(&client, 8);
    let (scale, _) = empty(&client, 1);
    let shifted = Buffer::new(handle.offset_start(8), 4);
    let misplaced = KernelError::Alignment {
        operand: "activation codes",
        offset: 8,
        alignment: 16,
    };
    let found = QuantizedActivations::new(1, 16, shifted, scale).map(|_| ());
    assert_eq!(found, Err(misplaced));
}

#[test]
fn float_matrices_that_no_kernel_reads_are_refused() {
    let client = client();
    let (_, handle) = empty(&client, 12);
    let new = |shape, strides| FloatMatrix::new(handle.clone(), shape, strides, F32).map(|_| ());
    let operand = "float matrix";
    assert_eq!(new([3, 4], [4, 1]), Ok(()));
    assert_eq!(new([1, 4], [0, 1]), Ok(()));
    assert_eq!(new([3, 1], [4, 7]), Ok(()));
    let inner = KernelError::InnerStride { operand, stride: 3 };
    assert_eq!(new([4, 3], [1, 3]), Err(inner));
    let overlap = KernelError::RowStride {
        operand,
        stride: 0,
        cols: 4,
    };
    assert_eq!(new([3, 4], [0, 1]), Err(overlap));
    let short = KernelError::Bytes {
        operand,
        expected: 4 * 14,
        found: 4 * 12,
    };
    assert_eq!(new([3, 4], [5, 1]), Err(short));
    let none = KernelError::Empty {
        operand,
        shape: [3, 0],
    };
    assert_eq!(new([3, 0], [1, 1]), Err(none));
    let odd = FloatMatrix::new(handle.clone().offset_start(2), [1, 2], [2, 1], F32);
    let misplaced = KernelError::Alignment {
        operand,
        offset: 2,
        alignment: 4,
    };
    assert_eq!(odd.map(|_| ()), Err(misplaced));
}

#[test]
fn a_vector_longer_than_its_buffer_is_refused() {
    let (_, handle) = empty(&client(), 3);
    let error = KernelError::Bytes {
        operand: "float vector",
        expected: 16,
        found: 12,
    };
    assert_eq!(FloatVector::new(handle, 4, F32).map(|_| ()), Err(error));
}

#[test]
fn products_of_operands_that_do_not_fit_are_refused() {
    let client = client();
    let weights = packed(&client, 3, 20, ScaleGranularity::Row);
    let q = |k| activations(&client, &tokens(&mut rng(2), 2, k));
    let [y, y_short] = [[2, 3], [1, 3]].map(|shape| zeros(&client, shape));
    let auto = Strategy::Auto;
    let w2a8 = |k, y| product::w2a8(&client, &q(k), &weights, None, y, auto);
    assert_eq!(w2a8(20, &y), Ok(()));
    assert_eq!(w2a8(21, &y), shape("x", [2, 20], [2, 21]));
    assert_eq!(w2a8(20, &y_short), shape("y", [2, 3], [1, 3]));

    let x = |k| zeros(&client, [2, k]);
    let w2a16 = |k, y| product::w2a16(&client, &x(k), &weights, None, y, auto);
    assert_eq!(w2a16(19, &y), shape("x", [2, 20], [2, 19]));
    assert_eq!(w2a16(20, &y_short), shape("y", [2, 3], [1, 3]));

    let bias = float_vector(&client, &[0.0; 2], F32);
    let short_bias = KernelError::Length {
        operand: "bias",
        expected: 3,
        found: 2,
    };
    let found = product::w2a8(&client, &q(20), &weights, Some(&bias), &y, auto);
    assert_eq!(found, Err(short_bias));

    let (sums, _) = empty(&client, 5);
    let short_sums = KernelError::Length {
        operand: "y",
        expected: 6,
        found: 5,
    };
    let found = product::w2a8_i32(&client, &q(20), &weights, &sums, auto);
    assert_eq!(found, Err(short_sums));
}

#[test]
fn integer_sums_of_grouped_weights_are_refused() {
    let client = client();
    let weights = packed(&client, 3, 40, ScaleGranularity::Group { size: 32 });
    let x = activations(&client, &tokens(&mut rng(3), 2, 40));
    let (y, _) = empty(&client, 6);
    let found = product::w2a8_i32(&client, &x, &weights, &y, Strategy::Auto);
    assert_eq!(found, Err(KernelError::GroupedIntegers { size: 32 }));
}

#[test]
fn quantisers_and_gradients_of_operands_that_do_not_fit_are_refused() {
    let client = client();
    let weights = packed(&client, 3, 20, ScaleGranularity::Row);
    let x = activations(&client, &tokens(&mut rng(4), 2, 20));
    let wrong = zeros(&client, [2, 4]);
    let found = [2, 4];
    assert_eq!(
        weight::launch(&client, &wrong, &weights),
        shape("w", [3, 20], found)
    );
    assert_eq!(
        unpack::launch(&client, &weights, &wrong),
        shape("w", [3, 20], found)
    );
    assert_eq!(
        activation::launch(&client, &wrong, &x),
        shape("x", [2, 20], found)
    );

    let (dy, dx, dw) = (
        zeros(&client, [2, 3]),
        zeros(&client, [2, 20]),
        zeros(&client, [3, 20]),
    );
    let input = |dy, dx| backward::input(&client, dy, &weights, dx);
    assert_eq!(input(&dy, &dx), Ok(()));
    assert_eq!(input(&wrong, &dx), shape("dy", [2, 3], found));
    assert_eq!(input(&dy, &wrong), shape("dx", [2, 20], found));
    let weight = |dy, dw| backward::weight(&client, dy, &x, dw);
    assert_eq!(weight(&dy, &dw), Ok(()));
    assert_eq!(weight(&dw, &dw), shape("dy", [2, 20], [3, 20]));
    assert_eq!(weight(&dy, &wrong), shape("dw", [3, 20], found));
}

#[test]
fn forced_plans_that_no_kernel_runs_are_refused() {
    let client = client();
    let weights = packed(&client, 3, 20, ScaleGranularity::Row);
    let x = activations(&client, &tokens(&mut rng(5), 2, 20));
    let (xs, y) = (zeros(&client, [2, 20]), zeros(&client, [2, 3]));
    let plan = Plan::Gemv(GemvBlueprint {
        tile: UnitTile { rows: 2, tokens: 2 },
        lanes: 3,
        groups: 1,
        dot: IntegerDot::Dp4a,
        vector: 4,
    });
    let refused = |found| assert!(matches!(found, Err(KernelError::Plan { .. })), "{found:?}");
    let forced = Strategy::Forced(plan);
    refused(product::w2a8(&client, &x, &weights, None, &y, forced));
    refused(product::w2a16(&client, &xs, &weights, None, &y, forced));
    let lanes = ActivationBlueprint {
        lanes: 3,
        cube_units: 3,
    };
    refused(activation::launch_with(&client, &xs, &x, Some(lanes)));
    let units = SumBlueprint {
        units_per_block: 3,
        cube_units: 3,
    };
    let w = zeros(&client, [3, 20]);
    refused(weight::launch_with(&client, &w, &weights, Some(units)));
}

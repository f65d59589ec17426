//! Kernels compiled to CUDA source for GPUs that need not be here. `TRITBURN_SOURCES=folder` keeps what
//! they compile to, to be compared with that of another version, or read by NVRTC.

mod affine;
mod decoder;
mod dense;
mod device;
mod stack;
mod training;

use cubecl::client::Client;
use device::{Device, Gpu, Source};
use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
use tritburn_kernels::product::{self, Strategy, Weights};
use tritburn_kernels::{
    Buffer, FloatMatrix, FloatType, FloatVector, FragmentOrder, PackedWeights, PrepackedWeights,
    QuantizedActivations, backward, prepack,
};

const TURING: Gpu = Gpu {
    capability: 75,
    multiprocessors: 40,
    shared_bytes: 65_536,
};
const AMPERE: Gpu = Gpu {
    capability: 80,
    multiprocessors: 108,
    shared_bytes: 166_912,
};
const HOPPER: Gpu = Gpu {
    capability: 90,
    multiprocessors: 132,
    shared_bytes: 232_448,
};

fn buffer(client: &Client, len: usize) -> Buffer {
    Buffer::new(client.empty(4 * len), len)
}

fn matrix(client: &Client, shape: [usize; 2], dtype: FloatType) -> FloatMatrix {
    let handle = client.empty(shape[0] * shape[1] * dtype.size());
    FloatMatrix::new(handle, shape, [shape[1], 1], dtype).expect("a valid matrix")
}

fn codes(client: &Client, [rows, cols]: [usize; 2]) -> QuantizedActivations {
    let words = rows * QuantizedActivations::words_per_row(cols);
    let (words, scales) = (buffer(client, words), buffer(client, rows));
    QuantizedActivations::new(rows, cols, words, scales).expect("valid activations")
}

fn packed(client: &Client, layout: &PackedLayout) -> PackedWeights {
    let words = buffer(client, layout.word_count());
    let scales = buffer(client, layout.scale_count());
    PackedWeights::new(layout.clone(), words, scales).expect("valid weights")
}

fn prepacked(client: &Client, layout: &PackedLayout, order: FragmentOrder) -> PrepackedWeights {
    let fragments = PrepackedWeights::fragments(layout, order).expect("a layout that prepacks");
    let words = buffer(client, fragments.word_count());
    let scales = buffer(client, layout.out_features());
    PrepackedWeights::new(layout.clone(), order, words, scales).expect("valid weights")
}

fn layout(n: usize, k: usize, code: WeightCode) -> PackedLayout {
    PackedLayout::new(n, k, code, ScaleGranularity::Row).expect("a valid layout")
}

/// Keeps `sources` where the environment asks for it, and refuses what did not compile.
fn keep(gpu: Gpu, case: &str, sources: &[Source]) {
    for (i, Source { kernel, text }) in sources.iter().enumerate() {
        assert!(text.contains("__global__"), "{case}: {kernel}: {text}");
        if let Some(folder) = std::env::var_os("TRITBURN_SOURCES") {
            let name = format!("sm{}-{case}-{i}.cu", gpu.capability);
            std::fs::write(std::path::Path::new(&folder).join(name), text).expect("a folder");
        }
    }
}

/// int8 products of `[m, n, k]` with weights in `order`: float outputs with a bias, and the sums.
fn int8(device: &Device, [m, n, k]: [usize; 3], code: WeightCode, fragments: bool) -> Vec<Source> {
    let layout = layout(n, k, code);
    let found = device.compile(|client| {
        let canonical = packed(client, &layout);
        let other = fragments.then(|| prepacked(client, &layout, FragmentOrder::Int8));
        let weights = other
            .as_ref()
            .map_or(Weights::Canonical(&canonical), Weights::Prepacked);
        let bias = client.empty(4 * n);
        let bias = FloatVector::new(bias, n, FloatType::F32).expect("a valid vector");
        let (x, y) = (
            codes(client, [m, k]),
            matrix(client, [m, n], FloatType::BF16),
        );
        product::w2a8(client, &x, weights, Some(&bias), &y, Strategy::Auto).expect("a launch");
        let sums = buffer(client, m * n);
        product::w2a8_i32(client, &x, weights, &sums, Strategy::Auto).expect("a launch");
    });
    let order = if fragments { "fragments" } else { "canonical" };
    keep(
        device.gpu,
        &format!("int8-{m}x{n}x{k}-{code:?}-{order}"),
        &found,
    );
    found
}

/// Products of `[m, n, k]` with activations of `dtype`, as they are and quantised on the way.
fn floats(device: &Device, [m, n, k]: [usize; 3], dtype: FloatType) -> Vec<Source> {
    let layout = layout(n, k, WeightCode::Ternary);
    let found = device.compile(|client| {
        let (x, y) = (matrix(client, [m, k], dtype), matrix(client, [m, n], dtype));
        let half = prepacked(client, &layout, FragmentOrder::Half);
        product::w2a16(client, &x, &half, None, &y, Strategy::Auto).expect("a launch");
        let int8 = prepacked(client, &layout, FragmentOrder::Int8);
        product::w2a8_quantizing(client, &x, &int8, None, &y, Strategy::Auto).expect("a launch");
    });
    keep(device.gpu, &format!("{dtype}-{m}x{n}x{k}"), &found);
    found
}

fn have(sources: &[Source], instruction: &str) -> bool {
    sources
        .iter()
        .any(|source| source.text.contains(instruction))
}

#[test]
fn hopper_runs_warpgroup_products_and_quantises_inside_of_small_ones() {
    let device = Device::new(HOPPER, 0);
    for code in [WeightCode::Ternary, WeightCode::Int2] {
        for m in [1, 3, 16] {
            int8(&device, [m, 2560, 2560], code, true);
        }
        assert!(have(
            &int8(&device, [512, 4096, 4096], code, true),
            "wgmma.mma_async"
        ));
    }
    int8(&device, [5, 67, 100], WeightCode::Ternary, true);
    int8(&device, [2, 512, 16_384], WeightCode::Ternary, true);
    for dtype in [FloatType::F32, FloatType::F16, FloatType::BF16] {
        for [m, n, k] in [[1, 4096, 4096], [16, 4096, 4096], [1024, 512, 2048]] {
            floats(&device, [m, n, k], dtype);
        }
    }
    floats(&device, [8192, 4096, 4096], FloatType::BF16);
}

#[test]
fn hopper_multiplies_gradients_with_warpgroups() {
    let device = Device::new(HOPPER, 1);
    let layout = layout(512, 1024, WeightCode::Ternary);
    let found = device.compile(|client| {
        let weights = packed(client, &layout);
        let (dy, x) = (
            matrix(client, [256, 512], FloatType::BF16),
            codes(client, [256, 1024]),
        );
        let dx = matrix(client, [256, 1024], FloatType::BF16);
        let dw = matrix(client, [512, 1024], FloatType::F32);
        backward::input(client, &dy, &weights, &dx).expect("a launch");
        backward::weight(client, &dy, &x, &dw).expect("a launch");
        let int8 = prepacked(client, &layout, FragmentOrder::Int8);
        prepack::launch(client, &weights, &int8).expect("a launch");
    });
    keep(device.gpu, "gradients", &found);
    assert!(have(&found, "wgmma.mma_async"));
}

#[test]
fn ampere_multiplies_with_warps() {
    let device = Device::new(AMPERE, 2);
    for m in [1, 16, 512] {
        let found = int8(&device, [m, 2560, 2560], WeightCode::Ternary, true);
        assert!(have(&found, "mma.sync.aligned.m16n8k32"), "{m}");
        floats(&device, [m, 2560, 2560], FloatType::BF16);
    }
    for m in [1, 64] {
        int8(&device, [m, 2560, 2560], WeightCode::Int2, false);
    }
}

#[test]
fn turing_multiplies_with_wmma_and_copies_through_registers() {
    let device = Device::new(TURING, 3);
    for m in [1, 16, 512] {
        let found = int8(&device, [m, 2560, 2560], WeightCode::Ternary, true);
        assert!(have(&found, "wmma::mma_sync"), "{m}");
        assert!(!have(&found, "cp.async"), "{m}");
        assert!(!have(&found, "mma.sync.aligned"), "{m}");
    }
}

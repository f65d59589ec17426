//! Products with affine weights, on GPUs of any age.

use tritburn_formats::affine::{AffineLayout, Bits, FloatType as StoredType};
use tritburn_kernels::{AffineBuffers, AffineWeights};

use super::*;

fn weights(client: &Client, layout: &AffineLayout) -> AffineWeights {
    let groups = layout.group_count();
    let floats = || {
        let handle = client.empty(2 * groups);
        FloatVector::new(handle, groups, FloatType::F16).expect("a valid vector")
    };
    let buffers = AffineBuffers {
        words: buffer(client, layout.word_count()),
        mask: layout
            .is_sparse()
            .then(|| buffer(client, layout.mask_count())),
        scales: floats(),
        zeros: layout.has_zeros().then(floats),
        order: layout
            .is_permuted()
            .then(|| buffer(client, layout.in_features())),
    };
    AffineWeights::new(layout.clone(), buffers).expect("valid weights")
}

#[test]
fn codes_of_all_bits_compile_and_only_sparse_ones_are_counted() {
    for (gpu, index) in [(TURING, 8), (HOPPER, 9)] {
        let device = Device::new(gpu, index);
        for bits in Bits::ALL {
            let layout = AffineLayout::new([512, 1024], bits, Some(128)).expect("a valid layout");
            let layout = layout.with_floats(StoredType::F16).with_zeros();
            let mut all = vec![layout.clone(), layout.clone().with_order()];
            all.extend(layout.sparse());
            for (i, layout) in all.iter().enumerate() {
                for (m, dtype) in [(1, FloatType::F16), (33, FloatType::F32)] {
                    let found = device.compile(|client| {
                        let (x, y) = (
                            matrix(client, [m, 1024], dtype),
                            matrix(client, [m, 512], dtype),
                        );
                        let weights = weights(client, layout);
                        product::affine(client, &x, &weights, None, &y, Strategy::Auto)
                            .expect("a launch");
                    });
                    let case = format!("affine-{}-{i}-{m}", bits.count());
                    keep(device.gpu, &case, &found);
                    // The gather is a kernel of its own.
                    assert_eq!(found.len(), 1 + usize::from(layout.is_permuted()), "{case}");
                    assert_eq!(have(&found, "__popc("), layout.is_sparse(), "{case}");
                }
            }
        }
    }
}

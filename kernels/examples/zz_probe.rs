#[path = "../tests/cuda/plans.rs"]
mod plans;
use cubecl::Device;
use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
use tritburn_kernels::matmul::{self, Plan, Strategy};
use tritburn_kernels::*;
fn main() {
    let client = Device::Cuda(Default::default()).client();
    println!("{:?}", DeviceFacts::of(&client));
    let (m, n, k) = (512, 512, 1024);
    let which = std::env::args().nth(1).unwrap_or_default();
    let dir = std::env::var("CUBECL_CUDA_DUMP_PTX").unwrap();
    let mut number = 0;
    for plan in plans::mma_plans().into_iter().chain(plans::wmma_plans()) {
        for code in [WeightCode::Ternary, WeightCode::Int2] {
            for order in [FragmentOrder::Int8, FragmentOrder::Half] {
                let wmma = matches!(plan, Plan::Wmma(_));
                if wmma && order == FragmentOrder::Half { continue; }
                if which == "wmma" && !wmma || which == "mma" && wmma { continue; }
                let layout = PackedLayout::new(n, k, code, ScaleGranularity::Row).unwrap();
                let f = PrepackedWeights::fragments(&layout, order).unwrap();
                let words = Buffer::new(client.empty(4 * f.word_count()), f.word_count());
                let scales = Buffer::new(client.empty(4 * n), n);
                let w = PrepackedWeights::new(layout, order, words, scales).unwrap();
                let y = FloatMatrix::new(client.empty(2 * m * n), [m, n], [n, 1], FloatType::BF16).unwrap();
                println!("=== {plan:?} {code:?} {order:?}");
                match order {
                    FragmentOrder::Int8 => {
                        let x = QuantizedActivations::new(m, k, Buffer::new(client.empty(m * k), m * k / 4), Buffer::new(client.empty(4 * m), m)).unwrap();
                        matmul::w2a8(&client, &x, &w, None, &y, Strategy::Forced(plan)).unwrap();
                    }
                    FragmentOrder::Half => {
                        let x = FloatMatrix::new(client.empty(2 * m * k), [m, k], [k, 1], FloatType::BF16).unwrap();
                        if let Err(e) = matmul::w2a16(&client, &x, &w, None, &y, Strategy::Forced(plan)) { println!("{e}"); }
                    }
                }
                cubecl::future::block_on(client.sync()).unwrap();
                for f in std::fs::read_dir(&dir).unwrap() {
                    let path = f.unwrap().path();
                    if path.to_str().unwrap().contains("TileExtents") {
                        number += 1;
                        std::fs::rename(&path, format!("{dir}/k{number}.ptx")).unwrap();
                        std::fs::write(format!("{dir}/k{number}.txt"), format!("{plan:?} {code:?} {order:?}")).unwrap();
                    }
                }
            }
        }
    }
}

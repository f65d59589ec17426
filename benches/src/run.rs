//! Runs the chosen suites on the chosen device.

#[cfg(feature = "cuda")]
use std::cell::RefCell;

use anyhow::Result;
use burn::tensor::{DType, Device};

use crate::Args;
use crate::device::Name;
use crate::peers::{self, burn::Burn};
use crate::report::{Ceilings, Report};
use crate::row::{Case, PeerTimes, Row};
use crate::shapes::{self, Set, Shape};
use crate::suite::{Input, Suite};
use crate::timing::Plan;
use crate::{burn_matmul, layers, train};

/// Bytes in rotation by default: more than any last-level cache of a server processor, and four
/// times the largest L2 of a graphics card.
const COLD_MB: [usize; 2] = [800, 256];

/// A run in progress.
struct Run<'a> {
    args: &'a Args,
    device: Device,
    plan: Plan,
    cold_bytes: usize,
    /// Type of the dense peer's operands.
    dtype: DType,
    #[cfg(feature = "cuda")]
    cublas: Option<RefCell<peers::cublas::Process>>,
    rows: Vec<Row>,
    ceilings: Ceilings,
}

/// Runs what `args` ask for.
///
/// # Errors
/// A device that is missing, or a result that differs from its reference.
pub fn run(args: &Args) -> Result<Report> {
    let gpu = args.device.is_gpu();
    let device = args.device.open()?;
    // A missing device is an error here and a panic in Burn's first use of it.
    #[cfg(feature = "cube")]
    args.device.client()?;
    let plan = match gpu {
        true => Plan::gpu(args.quick),
        false => Plan::new(args.quick),
    };
    let cold_bytes = cold_bytes(args, gpu);
    let bf16 = gpu && device.supports_dtype(DType::BF16);
    let mut run = Run {
        args,
        plan,
        cold_bytes,
        dtype: if bf16 { DType::BF16 } else { DType::F32 },
        #[cfg(feature = "cuda")]
        cublas: cublas(args, cold_bytes),
        device,
        rows: Vec::new(),
        ceilings: Ceilings::default(),
    };
    for suite in suites(args) {
        match suite {
            Suite::Decode | Suite::Prefill => run.products(suite)?,
            Suite::Train => run.train()?,
            Suite::Layers => run.layers()?,
            // In a report of its own.
            Suite::Training => {}
        }
    }
    #[cfg(feature = "cuda")]
    let version = run
        .cublas
        .as_ref()
        .and_then(|cublas| cublas.borrow().version());
    #[cfg(not(feature = "cuda"))]
    let version = None;
    Ok(Report::new(args.device, run.ceilings, version, run.rows))
}

/// The suites to run: on CPUs the large shapes of the others take minutes, so they are for asking.
pub fn suites(args: &Args) -> Vec<Suite> {
    match (args.suite.is_empty(), args.device.is_gpu()) {
        (false, _) => args.suite.clone(),
        (true, true) => vec![
            Suite::Decode,
            Suite::Prefill,
            Suite::Train,
            Suite::Layers,
            Suite::Training,
        ],
        (true, false) => vec![Suite::Layers],
    }
}

/// Bytes of weights that rotate when cold.
pub fn cold_bytes(args: &Args, gpu: bool) -> usize {
    args.cold_mb.unwrap_or(COLD_MB[usize::from(gpu)]) << 20
}

#[cfg(feature = "cuda")]
fn cublas(args: &Args, cold_bytes: usize) -> Option<RefCell<peers::cublas::Process>> {
    let wanted = args.peers.cublas && args.device == Name::Cuda;
    let process = wanted.then(|| peers::cublas::Process::start(args.quick, cold_bytes))?;
    let process = process.inspect_err(|error| eprintln!("warning: cuBLAS left out: {error:#}"));
    process.ok().map(RefCell::new)
}

impl Run<'_> {
    fn burn(&self) -> Burn<'_> {
        Burn {
            device: &self.device,
            plan: &self.plan,
            cold_bytes: self.cold_bytes,
            dtype: self.dtype,
        }
    }

    /// The decode or prefill suite.
    fn products(&mut self, suite: Suite) -> Result<()> {
        let sets = [Set::Peers, Set::Bitnet2b4t, Set::Llama8b, Set::Llama70b];
        let sets = if self.args.shapes.is_empty() {
            &sets
        } else {
            &self.args.shapes[..]
        };
        let shapes = shapes::of(suite, sets, &self.args.tokens, &self.args.only);
        let inputs = match self.args.inputs.is_empty() {
            true => Input::ALL.to_vec(),
            false => self.args.inputs.clone(),
        };
        let mut rows = Vec::new();
        match self.args.device {
            Name::Flex => self.flex_products(suite, &shapes, &inputs, &mut rows)?,
            _ => self.cube_products(suite, &shapes, &inputs, &mut rows)?,
        }
        self.rows.append(&mut rows);
        Ok(())
    }

    fn flex_products(
        &self,
        suite: Suite,
        shapes: &[Shape],
        inputs: &[Input],
        rows: &mut Vec<Row>,
    ) -> Result<()> {
        let bench = burn_matmul::Bench {
            device: &self.device,
            plan: self.plan,
            cold_bytes: self.cold_bytes,
            check: !self.args.no_check,
        };
        let peers = |shape| self.product_peers(shape);
        burn_matmul::run(&bench, suite, shapes, inputs, peers, |row| show(rows, row))
    }

    #[cfg(feature = "cube")]
    fn cube_products(
        &mut self,
        suite: Suite,
        shapes: &[Shape],
        inputs: &[Input],
        rows: &mut Vec<Row>,
    ) -> Result<()> {
        let Some(bench) = self.kernels()? else {
            return Ok(());
        };
        if self.ceilings.read_bytes_per_s.is_none() {
            self.ceilings.read_bytes_per_s = Some(crate::kernels::read_bytes_per_s(&bench)?);
        }
        let options = crate::kernels::Options {
            suite,
            shapes,
            inputs,
        };
        let peers = |shape| self.product_peers(shape);
        crate::kernels::matmul(&bench, &options, peers, |row| show(rows, row))
    }

    #[cfg(not(feature = "cube"))]
    fn cube_products(
        &mut self,
        _: Suite,
        _: &[Shape],
        _: &[Input],
        _: &mut Vec<Row>,
    ) -> Result<()> {
        Ok(())
    }

    #[cfg(feature = "cube")]
    fn kernels(&self) -> Result<Option<crate::kernels::Bench>> {
        let client = self.args.device.client()?;
        let check = !self.args.no_check;
        let bench = |client| crate::kernels::Bench::new(client, self.plan, self.cold_bytes, check);
        Ok(client.map(bench))
    }

    /// Times of the other implementations of `x · Wᵀ`.
    fn product_peers(&self, shape: [usize; 3]) -> PeerTimes {
        let mut times = PeerTimes::new();
        let (chosen, burn) = (self.args.peers, self.burn());
        #[cfg(feature = "cuda")]
        if let Some(cublas) = &self.cublas {
            let mut cublas = cublas.borrow_mut();
            let forward = peers::cublas::Product::Forward;
            peers::add(&mut times, "cublas_bf16", || cublas.bf16(forward, shape));
            // The library has int8 kernels for whole tiles of tokens only.
            if shape[0] > 16 {
                peers::add(&mut times, "cublas_int8", || cublas.int8(shape));
            }
        }
        if chosen.burn {
            peers::add(&mut times, burn.dense_name(), || burn.dense(shape));
        }
        // Flex and CubeCL's CPU runtime would dequantise the matrix on each call.
        if chosen.q2s && self.args.device.is_gpu() {
            peers::add(&mut times, "burn_q2s", || burn.q2s(shape));
        }
        times
    }

    /// The gradients, then whole layers forward and backward.
    fn train(&mut self) -> Result<()> {
        let only = &self.args.only;
        let chosen = |n, k| only.is_empty() || only.contains(&(n, k));
        for (m, n, k) in shapes::TRAIN.into_iter().filter(|&(_, n, k)| chosen(n, k)) {
            let shape = [m, n, k];
            let mut rows = Vec::new();
            self.gradients(shape, &mut rows)?;
            rows.push(self.bit_linear(shape)?);
            for row in rows {
                show(&mut self.rows, row);
            }
        }
        Ok(())
    }

    #[cfg(feature = "cube")]
    fn gradients(&self, shape: [usize; 3], rows: &mut Vec<Row>) -> Result<()> {
        let Some(bench) = self.kernels()? else {
            return Ok(());
        };
        let peers = |gradient| self.gradient_peers(gradient, shape);
        crate::kernels::backward(&bench, shape, peers, |row| rows.push(row))
    }

    #[cfg(not(feature = "cube"))]
    fn gradients(&self, _: [usize; 3], _: &mut Vec<Row>) -> Result<()> {
        Ok(())
    }

    #[cfg(feature = "cube")]
    fn gradient_peers(&self, gradient: crate::kernels::Gradient, shape: [usize; 3]) -> PeerTimes {
        use crate::kernels::Gradient;
        let [m, n, k] = shape;
        let mut times = PeerTimes::new();
        #[cfg(feature = "cuda")]
        if let Some(cublas) = &self.cublas {
            let mut cublas = cublas.borrow_mut();
            let product = match gradient {
                Gradient::Input => peers::cublas::Product::Input,
                Gradient::Weight => peers::cublas::Product::Weight,
            };
            peers::add(&mut times, "cublas_bf16", || cublas.bf16(product, shape));
        }
        if self.args.peers.burn {
            let shape = match gradient {
                Gradient::Input => [m, k, n],
                Gradient::Weight => [n, k, m],
            };
            let burn = self.burn();
            peers::add(&mut times, burn.dense_name(), || burn.dense(shape));
        }
        times
    }

    fn bit_linear(&self, shape: [usize; 3]) -> Result<Row> {
        let bench = train::Bench {
            device: &self.device,
            plan: self.plan,
            dtype: self.dtype,
            check: !self.args.no_check,
        };
        let mut times = PeerTimes::new();
        #[cfg(feature = "cuda")]
        if let Some(cublas) = &self.cublas {
            // The three products of a dense layer, and nothing else of it.
            use peers::cublas::Product;
            let mut cublas = cublas.borrow_mut();
            peers::add(&mut times, "cublas_bf16", || {
                let mut sum = cublas.bf16(Product::Forward, shape)?;
                for product in [Product::Input, Product::Weight] {
                    let timing = cublas.bf16(product, shape)?;
                    sum.us += timing.us;
                    sum.spread_us += timing.spread_us;
                }
                Ok(sum)
            });
        }
        if self.args.peers.burn {
            let name = self.burn().dense_name();
            peers::add(&mut times, name, || bench.dense(shape));
        }
        let timing = bench.bit_linear(shape)?;
        let case = Case {
            suite: Suite::Train,
            op: "bit_linear_forward_backward",
            format: "ternary",
            activations: match self.dtype {
                DType::BF16 => "bf16".into(),
                _ => "f32".into(),
            },
            shape,
            products: 3,
            reads_weights: false,
        };
        Ok(case.row("ops::bit_linear".into(), timing, times))
    }

    fn layers(&mut self) -> Result<()> {
        let plan = Plan::new(self.args.quick);
        let check = !self.args.no_check;
        let burn = self.args.peers.burn;
        let mut rows = Vec::new();
        layers::run(&self.device, self.cold_bytes, &plan, check, burn, |row| {
            show(&mut rows, row);
        })?;
        self.rows.append(&mut rows);
        Ok(())
    }
}

/// Keeps a row and says on stderr that it is done: a run takes minutes.
fn show(rows: &mut Vec<Row>, row: Row) {
    let dense = row.dense_us();
    let speed_up = dense.map_or(String::new(), |dense| {
        format!(", {:.2} x dense", dense / row.us)
    });
    eprintln!(
        "{} {} {}x{}x{} {} {}: {:.2} us{speed_up}",
        row.suite, row.op, row.m, row.n, row.k, row.format, row.activations, row.us
    );
    rows.push(row);
}

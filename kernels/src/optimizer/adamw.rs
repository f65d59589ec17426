//! AdamW in place.

use cubecl::prelude::*;

use super::base::{AdamW, AdamWOperands, flattened, width_of};
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::decode::rounded_product;
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix};

/// One step of AdamW on `param`, `m` and `v` in place:
///
/// ```text
/// g = grad · grad_factor
/// m = m · β₁ + g · (1 − β₁)        v = v · β₂ + g² · (1 − β₂)
/// param = param · (1 − lr · weight_decay) − m / (1 − β₁ᵗ) / (√(v / (1 − β₂ᵗ)) + ε) · lr
/// ```
///
/// The operations and their order are those of Burn's `AdamW`, each rounded to f32, so that on a device
/// that contracts none of them (CubeCL's CPU runtime) the bits are Burn's. `grad_factor` is f32 `[1]`:
/// a clipping factor that is computed on the device. A half-precision gradient is converted to f32 first.
///
/// # Errors
/// [`KernelError`] if shapes or types differ, the step is 0, or the device lacks a type.
pub fn adamw(
    client: &Client,
    constants: AdamW,
    grad_factor: Option<&Buffer>,
    operands: AdamWOperands<'_>,
) -> Result<(), KernelError> {
    operands.check(client)?;
    if constants.step == 0 {
        return Err(KernelError::Unsupported {
            what: "step of AdamW",
            found: 0,
            allowed: "1 and more",
        });
    }
    if let Some(factor) = grad_factor {
        factor.check_exact("gradient factor", 1)?;
    }
    let AdamWOperands { param, grad, m, v } = operands;
    if param.rows() == 0 {
        return Ok(());
    }
    let matrices = flattened([param, grad, m, v]);
    let width = width_of(&matrices);
    let [param, grad, m, v] = &matrices;
    let stride = |matrix: &FloatMatrix| matrix.row_stride() / width;
    let lines = param.cols() / width;
    let device = DeviceFacts::of(client);
    let extents = matrices.each_ref().map(FloatMatrix::extent);
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        step_lines::launch_unchecked(
            client,
            cubes(client, param.rows() * lines, device.cube_units as usize)?,
            device.cube_dim(),
            address(client, &extents)?,
            width,
            param.lines(width),
            grad.lines(width),
            m.lines(width),
            v.lines(width),
            grad_factor.map(Buffer::arg).into(),
            StepExtentsLaunch::new(
                param.rows(),
                lines,
                stride(param),
                stride(grad),
                stride(m),
                stride(v),
            ),
            constants.on_device(),
            grad.dtype().elem(),
        );
    }
    Ok(())
}

/// [`adamw`] for each of `operands`, one launch per parameter.
///
/// # Errors
/// As [`adamw`]. The parameters before the refused one have been updated.
pub fn adamw_many(
    client: &Client,
    constants: AdamW,
    grad_factor: Option<&Buffer>,
    operands: &[AdamWOperands<'_>],
) -> Result<(), KernelError> {
    let mut operands = operands.iter();
    operands.try_for_each(|operands| adamw(client, constants, grad_factor, *operands))
}

impl AdamW {
    fn on_device(&self) -> ConstantsLaunch {
        let decay = self.lr * f64::from(self.weight_decay);
        let correction = |beta: f32| 1.0 - beta.powi(self.step as i32);
        ConstantsLaunch::new(
            self.beta1,
            1.0 - self.beta1,
            correction(self.beta1),
            self.beta2,
            1.0 - self.beta2,
            correction(self.beta2),
            self.epsilon,
            (1.0 - decay) as f32,
            self.lr as f32,
        )
    }
}

/// The constants of a step, each rounded once.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Constants {
    beta1: f32,
    fresh1: f32,
    correction1: f32,
    beta2: f32,
    fresh2: f32,
    correction2: f32,
    epsilon: f32,
    keep: f32,
    lr: f32,
}

/// Runtime sizes, in lines.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct StepExtents {
    rows: usize,
    cols: usize,
    param_stride: usize,
    grad_stride: usize,
    m_stride: usize,
    v_stride: usize,
}

/// One unit per line.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
fn step_lines<G: Float, W: Size>(
    param: &mut [Vector<f32, W>],
    grad: &[Vector<G, W>],
    m: &mut [Vector<f32, W>],
    v: &mut [Vector<f32, W>],
    grad_factor: ComptimeOption<&[f32]>,
    extents: StepExtents,
    constants: Constants,
    #[define(G)] _grad_type: ElemType,
) {
    let row = ABSOLUTE_POS / extents.cols;
    let line = ABSOLUTE_POS % extents.cols;
    if row < extents.rows {
        let grads = grad[row * extents.grad_stride + line];
        let params = param[row * extents.param_stride + line];
        let firsts = m[row * extents.m_stride + line];
        let seconds = v[row * extents.v_stride + line];
        let mut new_params = Vector::<f32, W>::empty();
        let mut new_firsts = Vector::<f32, W>::empty();
        let mut new_seconds = Vector::<f32, W>::empty();
        #[unroll]
        for j in 0..W::value() {
            let mut g = f32::cast_from(grads.extract(j));
            #[comptime]
            if let ComptimeOption::Some(factor) = grad_factor {
                g = rounded_product(g, factor[0]);
            }
            let first = rounded_product(firsts.extract(j), constants.beta1)
                + rounded_product(g, constants.fresh1);
            let second = rounded_product(seconds.extract(j), constants.beta2)
                + rounded_product(rounded_product(g, g), constants.fresh2);
            let root = (second / constants.correction2).sqrt() + constants.epsilon;
            let delta = first / constants.correction1 / root;
            let kept = rounded_product(params.extract(j), constants.keep);
            new_params.insert(j, kept - rounded_product(delta, constants.lr));
            new_firsts.insert(j, first);
            new_seconds.insert(j, second);
        }
        param[row * extents.param_stride + line] = new_params;
        m[row * extents.m_stride + line] = new_firsts;
        v[row * extents.v_stride + line] = new_seconds;
    }
}

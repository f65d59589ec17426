//! The kernels of `tritburn-kernels` on a CubeCL client, without Burn around them.

mod backward;
mod bandwidth;
mod matmul;
mod operands;
mod record;

use anyhow::Result;
use cubecl::client::Client;
use tritburn_kernels::{DeviceFacts, FloatType};

use crate::timing::Plan;

pub use backward::{Gradient, run as backward};
pub use bandwidth::read_bytes_per_s;
pub use matmul::{Options, run as matmul};

/// Where and how to measure.
pub struct Bench {
    /// The device.
    pub client: Client,
    /// What plans depend on.
    pub facts: DeviceFacts,
    /// The plan.
    pub plan: Plan,
    /// Bytes of weights that rotate.
    pub cold_bytes: usize,
    /// Type of float inputs and outputs.
    pub float: FloatType,
    /// Whether results are compared with a reference first.
    pub check: bool,
}

impl Bench {
    /// On `client`; floats are bf16 on graphics cards that have it, else f32.
    pub fn new(client: Client, plan: Plan, cold_bytes: usize, check: bool) -> Self {
        let facts = DeviceFacts::of(&client);
        let has_bf16 = client.features().supports_type(FloatType::BF16.elem());
        let float = match facts.lockstep && has_bf16 {
            true => FloatType::BF16,
            false => FloatType::F32,
        };
        Self {
            facts,
            client,
            plan,
            cold_bytes,
            float,
            check,
        }
    }

    /// Waits for everything that was launched.
    ///
    /// # Errors
    /// What the device reports.
    pub fn sync(&self) -> Result<()> {
        Ok(cubecl::future::block_on(self.client.sync())?)
    }
}

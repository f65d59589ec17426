//! The launch of a plan.

use cubecl::prelude::*;

use super::call::{Call, Weights};
use super::plan::{Plan, Strategy};
use super::{cuda, portable, tune};
use crate::device::DeviceFacts;
use crate::error::KernelError;

impl Call<'_> {
    pub(super) fn run(self, client: &Client, strategy: Strategy) -> Result<(), KernelError> {
        let device = DeviceFacts::of(client);
        if strategy == Strategy::Auto && tune::run(client, &self, &device) {
            return Ok(());
        }
        let plan = strategy.plan(&self.problem, &device);
        self.launch(client, &device, plan)
    }

    pub fn launch(
        &self,
        client: &Client,
        device: &DeviceFacts,
        plan: Plan,
    ) -> Result<(), KernelError> {
        match (plan, self.weights) {
            (Plan::Gemm(plan), Weights::Canonical(weights)) => {
                portable::gemm::launch(client, self, weights, device, plan)
            }
            (Plan::Gemv(plan), Weights::Canonical(weights)) => {
                portable::gemv::launch(client, self, weights, device, plan)
            }
            (Plan::Skinny(plan), Weights::Prepacked(weights)) => {
                cuda::skinny::launch(client, self, weights, device, plan)
            }
            (Plan::Wgmma(plan), Weights::Prepacked(weights)) => {
                cuda::wgmma::launch(client, self, weights, device, plan)
            }
            (Plan::Fused(plan), Weights::Prepacked(weights)) => {
                cuda::wgmma_fused::launch(client, self, weights, device, plan)
            }
            (Plan::Mma(plan), Weights::Prepacked(weights)) => {
                cuda::mma::launch(client, self, weights, device, plan)
            }
            (Plan::Wmma(plan), Weights::Prepacked(weights)) => {
                cuda::wmma::launch(client, self, weights, device, plan)
            }
            (plan, weights) => {
                let order = weights.order();
                let reason = format!("{plan:?} does not read weights in fragment order {order:?}");
                Err(KernelError::Plan { reason })
            }
        }
    }
}

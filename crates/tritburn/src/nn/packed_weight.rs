//! The packed state of a weight, as a reparameterization of the parameter.

use burn::module::{Module, Param, ParamId, Reparameterization, Reparameterizer};
use burn::tensor::{DType, Device, Int, Tensor};
use tritburn_formats::PackedLayout;

use super::prepack_cache::PrepackCache;
use crate::error::Error;
use crate::ops::{self, PrepackedWeight};
use crate::precision::InputPrecision;

/// 2-bit codes in place of a latent weight.
///
/// Attached to a weight parameter whose base is then the scales, F32 `[1, scale_count]`. Layers
/// look for it and multiply with the codes. Reading the parameter through [`Param::val`] gives
/// latent weights that quantise to the same codes and scales again (scales up to f32 rounding; int2
/// codes may move where a row is nearly all ±1.5): [`Pack::unpack`](crate::Pack::unpack) makes a
/// model of them that trains on.
///
/// On an NVIDIA GPU the first forward pass makes a copy of the codes in the order of its
/// tensor-core kernels, another 2 bits a weight, and keeps it until the parameter is mapped, loaded,
/// moved or forked. Clones share it, records do not hold it. It is
/// an allocation of its own: run a forward pass before a device graph is captured (the warm-up runs
/// of `burn::tensor::capture` do).
#[derive(Module, Debug)]
pub struct PackedWeight {
    /// Packed codes, U32 `[layout.word_count()]` in the canonical layout.
    pub codes: Param<Tensor<1, Int>>,
    #[module(skip)]
    layout: PackedLayout,
    prepacked: PrepackCache,
}

impl PackedWeight {
    /// Shape, code table and scale granularity.
    pub fn layout(&self) -> &PackedLayout {
        &self.layout
    }

    /// The codes with `scales` in the order of their device's kernels, if it prefers one.
    pub(super) fn prepacked(
        &self,
        scales: impl FnOnce() -> Tensor<1>,
        precision: InputPrecision,
    ) -> Result<Option<PrepackedWeight>, Error> {
        let device = self.codes.device();
        self.prepacked.get_or_make(&device, precision, || {
            if !ops::prefers_prepacked(&device, &self.layout, precision) {
                return Ok(None);
            }
            ops::prepack(self.codes.val(), scales(), &self.layout, precision).map(Some)
        })
    }

    /// Replaces `weight` by codes and scales, keeping its id.
    pub(super) fn attach(
        weight: Param<Tensor<2>>,
        codes: Tensor<1, Int>,
        scales: Tensor<1>,
        layout: PackedLayout,
    ) -> Param<Tensor<2>> {
        let mut packed = Some(PackedParts {
            codes,
            scales,
            layout,
        });
        weight.apply_reparameterization(AttachPacked {
            take: |_: &str| packed.take(),
        })
    }
}

impl Reparameterization for PackedWeight {
    const NAME: &'static str = "packed";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let scales = base.reshape([self.layout.scale_count()]);
        let latent = latent_weight(self.codes.val(), scales, &self.layout)
            .unwrap_or_else(|error| panic!("a packed weight is checked when attached: {error}"));
        Tensor::from_dispatch(latent.into_dispatch())
    }
}

/// Latent weights whose absmean scale is the stored one.
///
/// `mean|Ŵ|` is smaller than γ by the share of non-zero codes, so Ŵ itself would quantise to a
/// smaller scale: stretch it by `γ / scale(Ŵ)`.
fn latent_weight(
    codes: Tensor<1, Int>,
    scales: Tensor<1>,
    layout: &PackedLayout,
) -> Result<Tensor<2>, Error> {
    let real = ops::unpack_weight(codes.clone(), scales.clone(), layout, DType::F32)?;
    let (_, shrunk) = ops::quantize_weight(real, layout)?;
    let stretched = scales.clone() * scales / shrunk;
    ops::unpack_weight(codes, stretched, layout, DType::F32)
}

/// What a packed weight is made of.
pub(crate) struct PackedParts {
    /// Packed codes, U32 `[layout.word_count()]`.
    pub codes: Tensor<1, Int>,
    /// Scales, F32 `[layout.scale_count()]`.
    pub scales: Tensor<1>,
    /// Shape, code table and scale granularity.
    pub layout: PackedLayout,
}

impl PackedParts {
    /// Parts of the right shapes with no meaningful values, to be loaded into.
    pub fn blank(layout: PackedLayout, device: &Device) -> Self {
        Self {
            codes: Tensor::zeros([layout.word_count()], (device, DType::U32)),
            scales: Tensor::zeros([layout.scale_count()], (device, DType::F32)),
            layout,
        }
    }
}

/// Packs the parameters of a module that `take` has parts for.
pub(crate) struct AttachPacked<F> {
    /// The parts of the parameter at a path, if it is to be packed. Not by id: clones share theirs.
    pub take: F,
}

impl<F: FnMut(&str) -> Option<PackedParts>> Reparameterizer for AttachPacked<F> {
    type Reparam = PackedWeight;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<PackedWeight>) {
        let Some(PackedParts {
            codes,
            scales,
            layout,
        }) = (self.take)(path)
        else {
            return (param, None);
        };
        let mut shape = [1; D];
        shape[D - 1] = layout.scale_count();
        let base = Param::initialized(param.id, scales.detach().reshape(shape));
        let codes = Param::initialized(ParamId::new(), codes);
        (
            base.set_require_grad(false),
            Some(PackedWeight {
                codes,
                layout,
                prepacked: PrepackCache::default(),
            }),
        )
    }
}

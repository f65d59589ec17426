//! The float types of inputs and outputs.

use core::fmt;

use cubecl::ir::features::{Features, TypeUsage};
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;

use crate::error::KernelError;

/// Float element types of inputs and outputs. Arithmetic is f32 throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// 32-bit IEEE.
    F32,
    /// 16-bit IEEE.
    F16,
    /// bfloat16.
    BF16,
}

impl FloatType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// The CubeCL element type.
    pub const fn elem(self) -> ElemType {
        ElemType::Float(match self {
            Self::F32 => FloatKind::F32,
            Self::F16 => FloatKind::F16,
            Self::BF16 => FloatKind::BF16,
        })
    }

    pub(crate) fn check(self, client: &Client, operand: &'static str) -> Result<(), KernelError> {
        let device = &client.properties().identity.name;
        self.check_features(client.features(), device, operand)
    }

    /// Checks that `found` is this type.
    pub(crate) fn expect(self, operand: &'static str, found: FloatType) -> Result<(), KernelError> {
        match found == self {
            true => Ok(()),
            false => Err(KernelError::FloatType {
                operand,
                expected: self,
                found,
            }),
        }
    }

    fn check_features(
        self,
        features: &Features,
        device: &str,
        operand: &'static str,
    ) -> Result<(), KernelError> {
        // Kernels compute in f32: they load and store the type, and convert.
        let needed = TypeUsage::Buffer | TypeUsage::Conversion;
        match features.type_usage(self.elem()).is_superset(needed) {
            true => Ok(()),
            false => Err(KernelError::UnsupportedOnDevice {
                operand,
                dtype: self,
                device: device.to_string(),
            }),
        }
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        })
    }
}

impl TryFrom<ElemType> for FloatType {
    type Error = KernelError;

    fn try_from(elem: ElemType) -> Result<Self, KernelError> {
        match elem {
            ElemType::Float(FloatKind::F32) => Ok(Self::F32),
            ElemType::Float(FloatKind::F16) => Ok(Self::F16),
            ElemType::Float(FloatKind::BF16) => Ok(Self::BF16),
            found => Err(KernelError::ElementType { found }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_the_device_lacks_is_refused_by_name() {
        let mut features = Features::default();
        let f32 = FloatType::F32;
        features.types.elem.insert(f32.elem(), TypeUsage::all());
        assert_eq!(f32.check_features(&features, "plain", "y"), Ok(()));
        let bf16 = FloatType::BF16;
        // A device that can only convert the type in registers does not support it.
        let usage = TypeUsage::Conversion.into();
        features.types.elem.insert(bf16.elem(), usage);
        let error = bf16.check_features(&features, "plain", "y");
        assert_eq!(
            error.unwrap_err().to_string(),
            "y is bf16, which device `plain` does not support"
        );
        let usage = TypeUsage::Conversion | TypeUsage::Buffer;
        features.types.elem.insert(bf16.elem(), usage);
        assert_eq!(bf16.check_features(&features, "plain", "y"), Ok(()));
    }

    #[test]
    fn only_the_three_float_types_are_float_types() {
        for dtype in [FloatType::F32, FloatType::F16, FloatType::BF16] {
            assert_eq!(FloatType::try_from(dtype.elem()), Ok(dtype));
            assert_eq!(dtype.elem().size(), dtype.size());
        }
        for found in [f64::elem_type_native(), u32::elem_type_native()] {
            let error = KernelError::ElementType { found };
            assert_eq!(FloatType::try_from(found), Err(error));
        }
    }
}

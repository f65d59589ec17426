//! The table on a device.

use burn::backend::Dispatch;
use burn::tensor::{Bytes, DType, Device, Int, Tensor, TensorData};
use tritburn_formats::codec::gguf::k_quant::{KQuant, KQuantMatrix};

use super::backend::KQuantOps;
use crate::error::Error;
use crate::ops::{check_device, check_shape, check_word_dtype, check_written, is_flex};

/// Shape and type of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KQuantLayout {
    /// Type of the blocks.
    pub kind: KQuant,
    /// Rows, each whole blocks.
    pub rows: usize,
    /// Values of a row.
    pub columns: usize,
}

impl KQuantLayout {
    /// Bytes of all blocks.
    pub fn byte_count(self) -> usize {
        self.rows * self.kind.row_bytes(self.columns)
    }
}

/// Whether `device` computes with tables that are kept in blocks of ggml's K types: Flex.
pub fn keeps_k_quants(device: &Device) -> bool {
    is_flex(device)
}

/// A table of rows in blocks of ggml's K types: an embedding, a head, or both.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::tensor::{DType, Device, Tensor};
/// use tritburn::formats::codec::gguf::k_quant::{KQuant, KQuantMatrix};
/// use tritburn::transformer::KQuantTable;
///
/// let device = Device::flex();
/// let matrix = KQuantMatrix::quantize(KQuant::Q6K, [3, 256], &[0.5; 3 * 256])?;
/// let table = KQuantTable::new(matrix, &device)?;
/// let ids = Tensor::from_data([2, 0], (&device, DType::U32));
/// let x = table.embedding(ids, DType::F32)?; // [2, 256]
/// assert_eq!(table.head(x)?.dims(), [2, 3]);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct KQuantTable {
    words: Tensor<1, Int>,
    layout: KQuantLayout,
}

impl KQuantTable {
    /// Moves `matrix` to `device`.
    ///
    /// # Errors
    /// [`Error::KQuant`] for a device other than Flex.
    pub fn new(matrix: KQuantMatrix, device: &Device) -> Result<Self, Error> {
        let (kind, [rows, columns]) = (matrix.kind(), matrix.shape());
        Self::check(kind, device)?;
        let mut bytes = matrix.into_bytes();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let count = bytes.len() / 4;
        let words = TensorData::from_bytes(Bytes::from_bytes_vec(bytes), [count], DType::U32);
        Ok(Self {
            words: Tensor::from_data(words, (device, DType::U32)),
            layout: KQuantLayout {
                kind,
                rows,
                columns,
            },
        })
    }

    /// Refuses a device that has no kernels for such tables.
    ///
    /// # Errors
    /// [`Error::KQuant`] for a device other than Flex.
    pub fn check(kind: KQuant, device: &Device) -> Result<(), Error> {
        match keeps_k_quants(device) {
            true => Ok(()),
            false => Err(Error::KQuant {
                device: format!("{device:?}"),
                kind,
            }),
        }
    }

    /// Type of the blocks.
    pub fn kind(&self) -> KQuant {
        self.layout.kind
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.layout.rows, self.layout.columns]
    }

    /// Bytes of the blocks.
    pub fn byte_count(&self) -> usize {
        self.layout.byte_count()
    }

    /// Rows in `dtype`; an id outside of the table gives NaN.
    ///
    /// # Shapes
    /// `ids` U32 `[tokens]`; returns `[tokens, columns]`.
    ///
    /// # Errors
    /// [`Error::DType`] or [`Error::Device`].
    pub fn embedding(&self, ids: Tensor<1, Int>, dtype: DType) -> Result<Tensor<2>, Error> {
        check_written("embedding", dtype, &self.words.device())?;
        check_word_dtype("token ids", ids.dtype())?;
        check_device("token ids", &ids.device(), &self.words.device())?;
        let rows = <Dispatch as KQuantOps>::k_quant_embedding(
            self.words.clone().into_dispatch(),
            ids.into_dispatch(),
            self.layout,
            dtype,
        );
        Ok(Tensor::from_dispatch(rows))
    }

    /// Logits `x · tableᵀ`. Each token is rounded to 16 bits with one scale, which moves a logit by some
    /// 10⁻⁵ of the logits' size; the products of integers in a block are exact, and their sums over the blocks f32. A
    /// token's logits have the same bits beside any number of others and on every CPU.
    ///
    /// # Shapes
    /// `x` `[tokens, columns]` of any float dtype; returns F32 `[tokens, rows]`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
    pub fn head(&self, x: Tensor<2>) -> Result<Tensor<2>, Error> {
        check_written("input", x.dtype(), &x.device())?;
        check_device("head", &self.words.device(), &x.device())?;
        check_shape("input", &x.dims(), &[x.dims()[0], self.layout.columns])?;
        let logits = <Dispatch as KQuantOps>::k_quant_head(
            x.into_dispatch(),
            self.words.clone().into_dispatch(),
            self.layout,
        );
        Ok(Tensor::from_dispatch(logits))
    }
}

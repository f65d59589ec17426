//! Flex: the native kernels of `tritburn-cpu`.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::DType;
use burn_flex::FlexTensor;
use tritburn_cpu::KQuantView;

use super::backend::KQuantOps;
use super::table::KQuantLayout;
use crate::ops::flex::{checked, contiguous_f32, float_tensor, slice};

impl KQuantOps for Flex {
    fn k_quant_embedding(
        words: IntTensor<Self>,
        ids: IntTensor<Self>,
        layout: KQuantLayout,
        dtype: DType,
    ) -> FloatTensor<Self> {
        let (words, ids) = (words.to_contiguous(), ids.to_contiguous());
        let ids = slice!(ids, u32);
        let mut rows = vec![0.0; ids.len() * layout.columns];
        let table = view(&words, layout);
        checked(tritburn_cpu::k_quant_embedding(table, ids, &mut rows));
        float_tensor(rows, [ids.len(), layout.columns].into(), dtype)
    }

    fn k_quant_head(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        layout: KQuantLayout,
    ) -> FloatTensor<Self> {
        let (x, words) = (contiguous_f32(x), words.to_contiguous());
        let [tokens, _] = x.shape().dims();
        let mut logits = vec![0.0; tokens * layout.rows];
        let table = view(&words, layout);
        checked(tritburn_cpu::k_quant_head(
            slice!(x, f32),
            table,
            &mut logits,
        ));
        float_tensor(logits, [tokens, layout.rows].into(), DType::F32)
    }
}

fn view(words: &FlexTensor, layout: KQuantLayout) -> KQuantView<'_> {
    let bytes: &[u8] = bytemuck::cast_slice(slice!(words, u32));
    let KQuantLayout {
        kind,
        rows,
        columns,
    } = layout;
    checked(KQuantView::new(
        kind,
        &bytes[..layout.byte_count()],
        rows,
        columns,
    ))
}

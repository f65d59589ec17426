//! What a session refuses.

use std::sync::Arc;

use burn::tensor::Device;
use tritburn_models::checkpoint::Synthetic;
use tritburn_models::generate::Session;
use tritburn_models::model::{LoadOptions, ModelError};
use tritburn_models::{CausalLm, DecoderConfig};

/// Random weights in small shapes; heads of 40, a size that only Flex takes.
fn model() -> Arc<CausalLm> {
    let config = DecoderConfig {
        vocab_size: 64,
        hidden_size: 80,
        intermediate_size: 96,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 40,
        max_position_embeddings: 32,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
        ..DecoderConfig::b1_58_2b_4t()
    };
    let checkpoint = Synthetic::new(config, 1).unwrap();
    let device = Device::flex();
    let model = CausalLm::load(&checkpoint, &LoadOptions::default(), &device);
    Arc::new(model.unwrap())
}

#[test]
fn a_session_needs_sequences_and_positions_that_the_model_has() {
    let model = model();
    for (rows, capacity) in [(1, 0), (0, 8)] {
        let error = Session::new(model.clone(), rows, capacity).err().unwrap();
        assert!(
            matches!(
                error,
                ModelError::Operation(tritburn::Error::EmptyCache { .. })
            ),
            "{rows} x {capacity}: {error}"
        );
    }
    let error = Session::new(model, 1, 33).err().unwrap();
    let ModelError::Context {
        needed, available, ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((needed, available), (33, 32));
}

#[test]
fn prompts_that_are_not_one_a_sequence_are_refused() {
    let mut session = Session::new(model(), 2, 8).unwrap();
    for prompts in [&[][..], &[&[1][..]], &[&[1], &[2], &[3]]] {
        let error = session.prefill(prompts).unwrap_err();
        let ModelError::Rows { found, rows: 2 } = error else {
            panic!("{error}");
        };
        assert_eq!(found, prompts.len());
    }
    let error = session.prefill(&[&[1], &[]]).unwrap_err();
    assert!(
        matches!(error, ModelError::EmptyPrompt { prompt: 1 }),
        "{error}"
    );
    assert_eq!(session.lengths(), [0, 0], "nothing was appended");
}

#[test]
fn a_next_step_needs_one_before_it() {
    let mut session = Session::new(model(), 1, 8).unwrap();
    let refused = |session: &mut Session| {
        let error = session.decode_next().err().unwrap();
        assert!(matches!(error, ModelError::NoStep), "{error}");
    };
    refused(&mut session);
    session.prefill(&[&[1, 2, 3]]).unwrap();
    refused(&mut session);
    session.decode(&[4]).unwrap();
    session.decode_next().unwrap();
    assert_eq!(session.lengths(), [5], "what is refused appends nothing");
    session.truncate(0, 3);
    refused(&mut session);
}

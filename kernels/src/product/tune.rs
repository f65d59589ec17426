//! Chooses plans by measurement: CubeCL's autotuner runs the candidates that [`WgmmaBlueprint`]'s model ranks
//! first. The results are kept on disk, so that a second start measures nothing.
//!
//! Only products with int8 activations are tuned, because their bits do not depend on the plan. Whether a
//! product quantises its activations itself is always the model's choice.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use cubecl::prelude::*;
use cubecl::tune::{LocalTuner, Tunable, TunableSet, local_tuner};

use super::call::{Call, Input, Output, Weights};
use super::launch::launch;
use super::plan::Plan;
use super::problem::{ActivationType, MatmulProblem};
use crate::device::DeviceFacts;
use crate::device_code::MmaType;
use crate::operand::{Buffer, FloatMatrix, FloatVector, QuantizedActivations};
use crate::prepack::PrepackedWeights;
use crate::product::cuda::wgmma::WgmmaBlueprint;

/// How much to measure, from the environment variable `TRITBURN_AUTOTUNE`, read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autotune {
    /// Nothing (`off`, the default): the model chooses.
    Off,
    /// The four plans that the model ranks first (`fast`).
    Fast,
    /// Up to 24 plans (`full`).
    Full,
}

impl Autotune {
    /// The setting of this process.
    pub fn from_env() -> Self {
        static LEVEL: OnceLock<Autotune> = OnceLock::new();
        *LEVEL.get_or_init(|| Self::parse(std::env::var("TRITBURN_AUTOTUNE").ok().as_deref()))
    }

    fn parse(value: Option<&str>) -> Self {
        match value {
            Some("fast") => Self::Fast,
            Some("full") => Self::Full,
            _ => Self::Off,
        }
    }

    fn candidates(self) -> usize {
        match self {
            Self::Off => 0,
            Self::Fast => 4,
            Self::Full => 24,
        }
    }
}

/// An owned copy of a call, which the tuner runs several times.
#[derive(Clone)]
struct Tuned {
    client: Client,
    device: DeviceFacts,
    x: QuantizedActivations,
    weights: PrepackedWeights,
    bias: Option<FloatVector>,
    y: Result<FloatMatrix, Buffer>,
    problem: MatmulProblem,
    /// The plans to measure, the predicted fastest first.
    plans: Vec<WgmmaBlueprint>,
}

impl Tuned {
    /// Runs the plan that the model ranks `rank`-th.
    fn run(&self, rank: usize) -> Result<(), String> {
        let plan = self.plans.get(rank).ok_or("fewer plans than that")?;
        let call = Call {
            x: Input::Int8(&self.x),
            weights: Weights::Prepacked(&self.weights),
            bias: self.bias.as_ref(),
            y: match &self.y {
                Ok(y) => Output::Float(y),
                Err(y) => Output::Int32(y),
            },
            problem: self.problem,
        };
        launch(&self.client, &self.device, &call, Plan::Wgmma(*plan))
            .map_err(|error| error.to_string())
    }

    fn key(&self) -> String {
        let out = self
            .y
            .as_ref()
            .map_or("i32".into(), |y| y.dtype().to_string());
        key(&self.problem, &out, &self.plans)
    }
}

/// The key under which a result is kept. Problems with the same number of tokens, rounded up to a power of
/// two, and the same ranking share a result.
fn key(problem: &MatmulProblem, out: &str, plans: &[WgmmaBlueprint]) -> String {
    let MatmulProblem { m, n, k, code, .. } = problem;
    let version = env!("CARGO_PKG_VERSION");
    // The result is kept as a rank, which is only valid for the same ranking.
    let mut ranking = DefaultHasher::new();
    plans.hash(&mut ranking);
    format!(
        "{version} w2a8 {} x {n} x {k} {code:?} {out} {:016x}",
        m.next_power_of_two(),
        ranking.finish()
    )
}

/// Runs `call` with the fastest measured plan, after measuring if there is no result yet. Returns `false`,
/// and runs nothing, if the call is not tuned.
pub(super) fn run(client: &Client, call: &Call<'_>, device: &DeviceFacts) -> bool {
    let level = Autotune::from_env();
    let few = call.problem.m <= 8;
    // Measurements cannot run while launches are captured.
    if level == Autotune::Off || few || client.is_capturing() {
        return false;
    }
    let Some(hopper) = device.cuda.filter(|cuda| cuda.capability == 90) else {
        return false;
    };
    let (Input::Int8(x), Weights::Prepacked(weights)) = (&call.x, call.weights) else {
        return false;
    };
    debug_assert_eq!(call.problem.activations, ActivationType::Int8);
    let mut plans = WgmmaBlueprint::ranked(&call.problem, MmaType::Int8, &hopper);
    plans.truncate(level.candidates());
    let inputs = Tuned {
        client: client.clone(),
        device: *device,
        x: (*x).clone(),
        weights: weights.clone(),
        bias: call.bias.cloned(),
        y: match &call.y {
            Output::Float(y) => Ok((*y).clone()),
            Output::Int32(y) => Err((*y).clone()),
        },
        problem: call.problem,
        plans,
    };
    static TUNER: LocalTuner<String, String> = local_tuner!();
    let id = client.properties().identity.name.clone();
    let set = TUNER.init(&id, move || {
        let set: TunableSet<String, Tuned, ()> =
            TunableSet::new_cloning_inputs(|inputs: &Tuned| inputs.key());
        (0..level.candidates()).fold(set, |set, rank| {
            let name = format!("rank {rank}");
            set.with(Tunable::new(&name, move |inputs: Tuned| inputs.run(rank)))
        })
    });
    TUNER.execute(&id, client, set, inputs);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::test_gpus::HOPPER;
    use crate::product::problem::problem;

    #[test]
    fn the_level_is_what_the_variable_says() {
        assert_eq!(Autotune::parse(Some("fast")), Autotune::Fast);
        assert_eq!(Autotune::parse(Some("full")), Autotune::Full);
        for other in [None, Some("off"), Some("FAST?")] {
            assert_eq!(Autotune::parse(other), Autotune::Off);
        }
    }

    #[test]
    fn the_key_changes_with_the_ranking() {
        let cuda = HOPPER.cuda.unwrap();
        let ranked = |m| {
            let mut plans = WgmmaBlueprint::ranked(&problem(m, 2560, 2560), MmaType::Int8, &cuda);
            plans.truncate(Autotune::Fast.candidates());
            plans
        };
        let key = |m| key(&problem(m, 2560, 2560), "bf16", &ranked(m));
        // Nothing but the ranking tells these apart.
        assert_ne!(ranked(1025), ranked(2048));
        assert_ne!(key(1025), key(2048));
        assert_eq!(key(2048), key(2048));
        assert_eq!(ranked(2047), ranked(2048));
        assert_eq!(key(2047), key(2048));
    }
}

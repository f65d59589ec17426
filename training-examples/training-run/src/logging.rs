//! Where log lines go, and what is counted of them.
//!
//! Libraries speak through two crates: `tracing`, and `log`, as CubeCL does of its compiler and of its
//! tuner. Lines of both go to stderr as far as `RUST_LOG` asks for them (warnings, if it is not set).

use std::sync::atomic::{AtomicUsize, Ordering};

use log::LevelFilter;
use tracing_log::{AsLog, LogTracer};
use tracing_subscriber::EnvFilter;

static COMPILED: AtomicUsize = AtomicUsize::new(0);
static TUNED: AtomicUsize = AtomicUsize::new(0);

/// Begins logging; does nothing where the process logs already.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let level = filter
        .max_level_hint()
        .map_or(LevelFilter::Warn, |hint| hint.as_log());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .finish();
    let ours = tracing::subscriber::set_global_default(subscriber).is_ok();
    if ours && log::set_boxed_logger(Box::new(Counter::default())).is_ok() {
        log::set_max_level(level);
    }
}

/// Counts of what was compiled and tuned while it lives.
pub struct Counts {
    level: LevelFilter,
}

impl Counts {
    /// Begins to listen.
    pub fn listen() -> Self {
        let level = log::max_level();
        log::set_max_level(LevelFilter::Trace);
        Self { level }
    }

    /// Kernels compiled in this process.
    pub fn compiled(&self) -> usize {
        COMPILED.load(Ordering::Relaxed)
    }

    /// Operations tuned in this process.
    pub fn tuned(&self) -> usize {
        TUNED.load(Ordering::Relaxed)
    }

    /// Both, each after a comma, where the device speaks of it: some compile without a word.
    pub fn in_words(&self) -> String {
        let counts = [
            (self.compiled(), "kernels compiled"),
            (self.tuned(), "operations tuned"),
        ];
        let said = counts.into_iter().filter(|(count, _)| *count > 0);
        said.map(|(count, what)| format!(", {count} {what}"))
            .collect()
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        log::set_max_level(self.level);
    }
}

/// Counts what CubeCL says, and hands every line on to `tracing`.
#[derive(Default)]
struct Counter {
    tracer: LogTracer,
}

impl log::Log for Counter {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        if record.target().starts_with("cubecl") {
            let counter = match record.args().as_str() {
                Some(text) if text.starts_with("Compiling kernel") => Some(&COMPILED),
                None if record.target() == "cubecl_runtime::tune::tuner" => Some(&TUNED),
                _ => None,
            };
            if let Some(counter) = counter {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
        // The filter of the subscriber decides.
        if self.tracer.enabled(record.metadata()) {
            self.tracer.log(record);
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use log::Log;

    use super::*;

    #[test]
    fn what_the_compiler_says_is_counted_and_nothing_else() {
        let counter = Counter::default();
        let say = |target: &str, text: std::fmt::Arguments| {
            let record = log::Record::builder().target(target).args(text).build();
            counter.log(&record);
        };
        let counts = Counts::listen();
        let before = counts.compiled();
        say(
            "cubecl_cuda::compute::context",
            format_args!("Compiling kernel"),
        );
        say(
            "cubecl_cuda::compute::context",
            format_args!("Using PTX cache"),
        );
        say("somebody", format_args!("Compiling kernel"));
        assert_eq!(counts.compiled(), before + 1);
    }
}

//! `serve`: a model behind HTTP.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::runtime::Builder;
use tritburn::device;
use tritburn_models::CausalLm;
use tritburn_models::engine::{Engine, EngineOptions, EnginePool};
use tritburn_models::text::TokenizerFiles;
use tritburn_server::{
    ApiKeys, AppState, Backend, Embedder, Ended, ModelText, ServerOptions, TlsFiles,
};

use crate::cli::{BatchingArgs, HttpArgs, ModelArgs, ServeArgs};
use crate::error::cannot;
use crate::model::{Source, position_bytes};
use crate::say::say;

/// Bytes of the cache of keys and values, unless a size is given.
const CACHE_BYTES: usize = 4 << 30;
/// Texts that an embedding model runs at once.
const EMBEDDING_BATCH: usize = 8;
/// Most threads that speak HTTP. More of them mostly wake each other.
const HTTP_THREADS: usize = 8;
/// Keys of requests, one, or several with commas between.
const KEY_VARIABLE: &str = "TRITBURN_API_KEY";

pub fn run(args: &ServeArgs) -> Result<()> {
    let options = server_options(&args.http)?;
    let source = Source::open(&args.model)?;
    let text = text(args, &source)?;
    let name = args.name.clone().unwrap_or_else(|| short_name(&args.model));
    let backend = match args.embeddings {
        true => {
            let (model, _) = source.load(&source.options)?;
            let embedder = Embedder::start(model, EMBEDDING_BATCH);
            Backend::Embedding(embedder.context("cannot start a thread")?)
        }
        false => Backend::Text(Arc::new(engines(args, &source, &text)?)),
    };
    let state = AppState::new(name, text, backend, options);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = Builder::new_multi_thread()
        .worker_threads(cores.min(HTTP_THREADS))
        .enable_all()
        .build()?;
    let ended = runtime.block_on(listen(state));
    // What is told to end at once does not wait for work that nobody waits for.
    runtime.shutdown_background();
    match ended? {
        Ended::Answered => Ok(()),
        Ended::Cut => bail!("ended with requests unanswered"),
    }
}

async fn listen(state: AppState) -> Result<Ended> {
    let listener = tritburn_server::bind(&state)?;
    let stop = tritburn_server::signals().context("cannot wait for signals")?;
    let scheme = match state.options.tls {
        Some(_) => "https",
        None => "http",
    };
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() && state.options.api_keys.is_empty() {
        tracing::warn!("anyone who reaches {address} may ask: --api-key-file asks for keys");
    }
    say!(
        "{} at {scheme}://{address} (chat at /, the API's documentation at /docs)",
        state.name
    );
    Ok(tritburn_server::serve(state, listener, stop).await?)
}

/// An engine a device.
fn engines(args: &ServeArgs, source: &Source, text: &ModelText) -> Result<EnginePool> {
    let numbers = match args.devices.is_empty() {
        true => vec![None],
        false => args.devices.iter().copied().map(Some).collect(),
    };
    let mut engines = Vec::new();
    for number in numbers {
        let device = match number {
            Some(number) => device::open_at(&args.model.device, number)?,
            None => source.device.clone(),
        };
        let (model, _) = source.load_on(&source.options, &device)?;
        let options = engine_options(&args.batching, &model)?;
        let tokenizer = Some(text.tokenizer.clone());
        engines.push(Engine::start(model, tokenizer, options)?);
    }
    if let Some(time) = args.batching.fail_first_after {
        fail_after(seconds("--fail-first-after", time)?, engines[0].clone());
    }
    Ok(EnginePool::new(engines)?)
}

/// Lets `engine` fail in a while.
fn fail_after(time: Duration, engine: Engine) {
    std::thread::spawn(move || {
        std::thread::sleep(time);
        engine.inject_failure("a failure that --fail-first-after asked for");
    });
}

fn engine_options(args: &BatchingArgs, model: &Arc<CausalLm>) -> Result<EngineOptions> {
    let positions = model.config().max_position_embeddings;
    let context = args.context.unwrap_or(positions);
    ensure!(
        (1..=positions).contains(&context),
        "--context {context}: the model has {positions} positions"
    );
    let wanted = context.saturating_mul(args.max_sequences);
    let fits = (CACHE_BYTES / position_bytes(model)?).max(context);
    Ok(EngineOptions {
        max_sequences: args.max_sequences,
        max_waiting: args.max_waiting,
        context: Some(context),
        cache_tokens: Some(args.cache_tokens.unwrap_or(wanted.min(fits))),
        prefix_sharing: !args.no_prefix_sharing,
        ..EngineOptions::default()
    })
}

/// What the model brings for its text, and what the command line gives instead.
fn text(args: &ServeArgs, source: &Source) -> Result<ModelText> {
    let checkpoint = source.checkpoint.as_ref();
    let Some(template) = &args.chat_template else {
        return Ok(ModelText::of(checkpoint)?);
    };
    let mut files: TokenizerFiles = checkpoint.tokenizer()?;
    files.set_chat_template(template)?;
    Ok(ModelText::from_files(&files, checkpoint.stop_ids()?)?)
}

/// The last part of a model's path, or its shape.
fn short_name(args: &ModelArgs) -> String {
    let path = args.model.as_deref().and_then(Path::file_name);
    let shape = args.synthetic.map(|shape| shape.to_string());
    let name = path.map(|name| name.to_string_lossy().into_owned());
    name.or(shape).unwrap_or_else(|| "model".into())
}

fn server_options(args: &HttpArgs) -> Result<ServerOptions> {
    let mut api_keys = ApiKeys::new(args.api_key.iter().cloned());
    if let Ok(keys) = std::env::var(KEY_VARIABLE) {
        api_keys.extend(ApiKeys::new(keys.split(',').map(str::to_string)));
    }
    if let Some(path) = &args.api_key_file {
        let keys =
            ApiKeys::from_file(path).map_err(|error| cannot("read the keys of", path, error))?;
        api_keys.extend(keys);
    }
    let asked = !args.api_key.is_empty() || std::env::var_os(KEY_VARIABLE).is_some();
    ensure!(!(asked && api_keys.is_empty()), "the API key is empty");
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    Ok(ServerOptions {
        address: SocketAddr::from((args.host, args.port)),
        api_keys,
        cors_origins: args.cors.clone(),
        max_body: args.max_body,
        max_connections: args.max_connections,
        client_time: seconds("--client-timeout", args.client_timeout)?,
        request_time: match args.request_timeout {
            Some(time) => Some(seconds("--request-timeout", time)?),
            None => None,
        },
        grace: seconds("--grace", args.grace)?,
        tls: tls.map(|(certificate, key)| TlsFiles { certificate, key }),
        log_prompts: args.log_prompts,
    })
}

/// A time that is one.
fn seconds(name: &str, seconds: f64) -> Result<Duration> {
    let time = Duration::try_from_secs_f64(seconds);
    let time = time.with_context(|| format!("{name} {seconds} is no time"))?;
    ensure!(
        !time.is_zero() || name == "--grace",
        "{name} {seconds}: it has to be over 0"
    );
    Ok(time)
}

//! Connections, from the first to the last.

mod gate;
mod signals;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum_server::Handle;
use thiserror::Error;
use tokio::sync::mpsc::Receiver;

use crate::router::router;
use crate::state::{AppState, Backend};
use gate::Gate;

pub use signals::signals;

/// Headers of a request at most, and their bytes.
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 64 << 10;
/// What connections get to say that their streams have ended.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a server cannot serve.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is not to be had.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("the TLS certificate {certificate} with the key {key} cannot be used")]
    Tls {
        /// File of the certificate.
        certificate: String,
        /// File of the key.
        key: String,
        /// What is wrong.
        source: io::Error,
    },
    /// TLS was asked for, and this build has none.
    #[error("this build has no TLS: it was built without the feature `tls`")]
    NoTls,
    /// Connections can no longer be taken.
    #[error("cannot take connections")]
    Accept(#[source] io::Error),
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With every request that it had taken answered.
    Answered,
    /// Leaving requests unanswered: time was up, or it was told to end at once.
    Cut,
}

/// Listens on the address of `state`'s options.
///
/// # Errors
/// [`ServeError::Bind`].
pub fn bind(state: &AppState) -> Result<TcpListener, ServeError> {
    let address = state.options.address;
    TcpListener::bind(address).map_err(|source| ServeError::Bind { address, source })
}

/// Answers requests until `stop` says so: then no new ones are taken, and those that run are finished within
/// [`grace`](crate::ServerOptions::grace). What runs longer ends with an error that its client sees. A second
/// message ends everything at once.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    state: AppState,
    listener: TcpListener,
    mut stop: Receiver<()>,
) -> Result<Ended, ServeError> {
    let handle = Handle::new();
    let mut serving = tokio::spawn(accept(state.clone(), listener, handle.clone()));
    let over = |result: Result<Result<(), ServeError>, tokio::task::JoinError>| match result {
        Ok(result) => result,
        Err(error) => Err(ServeError::Accept(io::Error::other(error))),
    };
    tokio::select! {
        result = &mut serving => return over(result).map(|()| Ended::Answered),
        Some(()) = stop.recv() => {}
    }
    let grace = state.options.grace;
    tracing::info!(
        seconds = grace.as_secs_f64(),
        connections = handle.connection_count(),
        "shutting down: requests that run are finished"
    );
    state.drain();
    handle.graceful_shutdown(Some(grace + FAREWELL));
    let backend = state.backend.clone();
    let mut engines = tokio::task::spawn_blocking(move || match backend {
        Backend::Text(engines) => engines.shutdown(grace) == 0,
        Backend::Embedding(_) => true,
    });
    let finish = async {
        let answered = (&mut engines).await.unwrap_or(false);
        over((&mut serving).await)?;
        Ok(answered)
    };
    tokio::select! {
        result = finish => result.map(|answered| match answered {
            true => Ended::Answered,
            false => Ended::Cut,
        }),
        Some(()) = stop.recv() => {
            tracing::warn!("shutting down at once");
            handle.shutdown();
            Ok(Ended::Cut)
        }
    }
}

async fn accept(
    state: AppState,
    listener: TcpListener,
    handle: Handle<SocketAddr>,
) -> Result<(), ServeError> {
    let options = state.options.clone();
    let gate = Gate::new(options.max_connections, options.client_time);
    let mut server = axum_server::from_tcp(listener)
        .map_err(ServeError::Accept)?
        .handle(handle)
        .first_request_timeout(options.client_time)
        .accept_error_handler(|from: Option<&SocketAddr>, error| {
            tracing::debug!(?from, %error, "connection refused");
        });
    let builder = server.http_builder();
    builder
        .http1()
        .header_read_timeout(options.client_time)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .max_concurrent_streams(128)
        .keep_alive_interval(options.client_time)
        .keep_alive_timeout(options.client_time);
    let service = router(state).into_make_service();
    let served = match &options.tls {
        None => server.acceptor(gate).serve(service).await,
        #[cfg(feature = "tls")]
        Some(files) => {
            let acceptor = tls::acceptor(files).await?.acceptor(gate);
            server.acceptor(acceptor).serve(service).await
        }
        #[cfg(not(feature = "tls"))]
        Some(_) => return Err(ServeError::NoTls),
    };
    served.map_err(ServeError::Accept)
}

#[cfg(feature = "tls")]
mod tls {
    use axum_server::accept::DefaultAcceptor;
    use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};

    use super::ServeError;
    use crate::options::TlsFiles;

    /// TLS with the certificate of these files.
    pub async fn acceptor(files: &TlsFiles) -> Result<RustlsAcceptor<DefaultAcceptor>, ServeError> {
        // Whoever was here before chose as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = RustlsConfig::from_pem_file(&files.certificate, &files.key).await;
        let config = config.map_err(|source| ServeError::Tls {
            certificate: files.certificate.display().to_string(),
            key: files.key.display().to_string(),
            source,
        })?;
        Ok(RustlsAcceptor::new(config))
    }
}

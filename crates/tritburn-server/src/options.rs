//! How a server behaves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::ApiKeys;

/// How a server behaves. The defaults are for one's own machine.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tritburn_server::{ApiKeys, ServerOptions};
///
/// let options = ServerOptions {
///     api_keys: ApiKeys::new(["secret".to_string()]),
///     request_time: Some(Duration::from_secs(60)),
///     ..ServerOptions::default()
/// };
/// assert_eq!(options.address.port(), 8080);
/// ```
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Who may ask. Without keys everybody may.
    pub api_keys: ApiKeys,
    /// Origins whose pages may ask, `*` for all: no page of another origin may if empty.
    pub cors_origins: Vec<String>,
    /// Bytes of a request's body at most.
    pub max_body: usize,
    /// Connections at once; the next one is closed.
    pub max_connections: usize,
    /// How long a client may take for the head of a request, then for its body, and how long it may not
    /// read what it asked for. A connection that asks for nothing is closed after the same time.
    pub client_time: Duration,
    /// How long an answer may take, waiting included.
    pub request_time: Option<Duration>,
    /// How long running requests may go on after the first signal to end.
    pub grace: Duration,
    /// Certificate and key of the server, for TLS.
    pub tls: Option<TlsFiles>,
    /// Write prompts to the log, which else has none of their text.
    pub log_prompts: bool,
}

/// Files of a certificate, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, with those that vouch for it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            api_keys: ApiKeys::default(),
            cors_origins: Vec::new(),
            max_body: 8 << 20,
            max_connections: 1024,
            client_time: Duration::from_secs(30),
            request_time: None,
            grace: Duration::from_secs(30),
            tls: None,
            log_prompts: false,
        }
    }
}

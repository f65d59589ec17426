//! HTTPS.

#![cfg(feature = "tls")]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tritburn_server::{ServeError, ServerOptions, TlsFiles};

use crate::common::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_trusts_the_certificate_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let files = TlsFiles {
        certificate: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
    };
    fs::write(&files.certificate, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let options = ServerOptions {
        tls: Some(files),
        client_time: Duration::from_secs(2),
        ..local()
    };
    let server = Server::start(&BITNET, small_engine(), options).await;

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    let request = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    // One that speaks no TLS is closed, and others go on.
    assert!(server.get("/health").send().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_none_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cert.pem");
    fs::write(&file, "nothing").unwrap();
    let options = ServerOptions {
        tls: Some(TlsFiles {
            certificate: file.clone(),
            key: file,
        }),
        ..local()
    };
    let server = Server::start(&BITNET, small_engine(), options).await;
    let error = server.ended.await.unwrap().unwrap_err();
    assert!(matches!(error, ServeError::Tls { .. }), "{error:?}");
}

//! The system's wish that the server ends.

use std::io;

use tokio::sync::mpsc::{Receiver, channel};

/// A message for each SIGTERM and SIGINT (elsewhere than on Unix: Ctrl-C), for [`serve`](super::serve).
///
/// # Errors
/// If the system does not give them.
pub fn signals() -> io::Result<Receiver<()>> {
    let (sender, receiver) = channel(2);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let (mut signal, sender) = (signal(kind)?, sender.clone());
            tokio::spawn(async move {
                while signal.recv().await.is_some() && sender.send(()).await.is_ok() {}
            });
        }
    }
    #[cfg(not(unix))]
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).await.is_ok() {}
    });
    Ok(receiver)
}

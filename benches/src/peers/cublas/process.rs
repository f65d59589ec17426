//! The libraries in a process of their own, which times what it is asked to.
//!
//! A second stream on which kernels run makes every launch of a process dearer: on an H100 a call of 5.0 µs
//! took 5.3 µs once the peer's stream had copied its operands. In two processes neither side pays for the
//! other. Requests and answers are lines of JSON. A GPU in exclusive compute mode serves one process: cuBLAS
//! is left out there.

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{Cublas, Product};
use crate::timing::{Plan, Timing};

/// The argument that makes this program such a process.
const FLAG: &str = "--cublas-process";

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Request {
    /// The version of cuBLAS.
    Version,
    /// One bf16 product.
    Bf16(Product, [usize; 3]),
    /// `x · Wᵀ` in int8.
    Int8([usize; 3]),
}

/// An answer with what it answers: a line that something else wrote cannot shift later ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reply {
    request: Request,
    answer: Answer,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Answer {
    Version(Option<String>),
    Timing(Timing),
    Error(String),
}

/// Answers requests from stdin until it ends.
///
/// # Errors
/// If stdin or stdout breaks; a missing library is an answer.
pub fn serve(plan: Plan, cold_bytes: usize) -> Result<()> {
    let cublas = Cublas::new(plan, cold_bytes);
    for line in stdin().lines() {
        let request = serde_json::from_str(&line?)?;
        let answer = match &cublas {
            // CUDA reports some refusals by panicking; the next request may be met.
            Ok(cublas) => catch_unwind(AssertUnwindSafe(|| answer(cublas, request)))
                .unwrap_or_else(|_| Answer::Error("it panicked".into())),
            Err(error) => Answer::Error(format!("{error:#}")),
        };
        let mut out = stdout().lock();
        writeln!(
            out,
            "{}",
            serde_json::to_string(&Reply { request, answer })?
        )?;
        out.flush()?;
    }
    Ok(())
}

fn answer(cublas: &Cublas, request: Request) -> Answer {
    let timing = match request {
        Request::Version => return Answer::Version(cublas.version()),
        Request::Bf16(product, shape) => cublas.bf16(product, shape),
        Request::Int8(shape) => cublas.int8(shape),
    };
    timing.map_or_else(|error| Answer::Error(format!("{error:#}")), Answer::Timing)
}

/// A running process.
pub struct Process {
    child: Child,
    /// Taken to end the process.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    version: Option<String>,
}

impl Process {
    /// Starts this program once more.
    ///
    /// # Errors
    /// If it does not start, or finds no driver, no cuBLAS or no device.
    pub fn start(quick: bool, cold_bytes: usize) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let megabytes = cold_bytes >> 20;
        command.args([FLAG, "--cold-mb", &megabytes.to_string()]);
        if quick {
            command.arg("--quick");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the process for cuBLAS does not start")?;
        let missing = || anyhow!("a pipe is missing");
        let mut this = Self {
            requests: Some(child.stdin.take().ok_or_else(missing)?),
            answers: BufReader::new(child.stdout.take().ok_or_else(missing)?),
            child,
            version: None,
        };
        match this.ask(Request::Version)? {
            Answer::Version(version) => this.version = version,
            other => bail!("{other:?} is no version"),
        }
        Ok(this)
    }

    /// Version of cuBLAS.
    pub fn version(&self) -> Option<String> {
        self.version.clone()
    }

    /// Times one product at `[m, n, k]`; where it reads weights, they rotate.
    ///
    /// # Errors
    /// What the library or the driver reports; a process that ended.
    pub fn bf16(&mut self, product: Product, shape: [usize; 3]) -> Result<Timing> {
        self.timing(Request::Bf16(product, shape))
    }

    /// Times `x · Wᵀ` at `[m, n, k]`, weights in rotation.
    ///
    /// # Errors
    /// As [`bf16`](Self::bf16), and for shapes that cuBLASLt has no int8 kernel for.
    pub fn int8(&mut self, shape: [usize; 3]) -> Result<Timing> {
        self.timing(Request::Int8(shape))
    }

    fn timing(&mut self, request: Request) -> Result<Timing> {
        match self.ask(request)? {
            Answer::Timing(timing) => Ok(timing),
            other => bail!("{other:?} is no timing"),
        }
    }

    /// After a failure that is no [`Answer::Error`] the process is ended: what it writes cannot be trusted.
    fn ask(&mut self, request: Request) -> Result<Answer> {
        match self.exchange(request) {
            Ok(Answer::Error(error)) => Err(anyhow!(error)),
            Ok(answer) => Ok(answer),
            Err(error) => {
                self.end();
                Err(error.context("the process for cuBLAS failed and is ended"))
            }
        }
    }

    fn exchange(&mut self, request: Request) -> Result<Answer> {
        let requests = self.requests.as_mut().context("it has ended before")?;
        writeln!(requests, "{}", serde_json::to_string(&request)?)?;
        requests.flush()?;
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "no answer");
        let reply: Reply = serde_json::from_str(&line).with_context(|| format!("`{line}`"))?;
        ensure!(reply.request == request, "it answered {:?}", reply.request);
        Ok(reply.answer)
    }

    /// It has nothing to save: failures leave nothing to be done.
    fn end(&mut self) {
        drop(self.requests.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::Method;

    #[test]
    fn requests_and_answers_are_lines() {
        let requests = [
            Request::Version,
            Request::Bf16(Product::Weight, [1, 2, 3]),
            Request::Int8([4, 5, 6]),
        ];
        for request in requests {
            let line = serde_json::to_string(&request).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
        }
        let timing = Timing {
            us: 0.1 + 0.2,
            spread_us: 1e-3,
            method: Method::Graph,
        };
        for answer in [
            Answer::Version(Some("13.1.0".into())),
            Answer::Timing(timing),
            Answer::Error("no\nlibrary".into()),
        ] {
            let request = Request::Version;
            let reply = Reply { request, answer };
            let line = serde_json::to_string(&reply).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Reply>(&line).unwrap(), reply);
        }
    }
}

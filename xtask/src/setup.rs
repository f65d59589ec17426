//! `cargo xtask setup`: what the features `cpu` and `cuda` need to build.

use std::{
    net::{TcpStream, ToSocketAddrs},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::{
    debian::{self, OsRelease},
    llvm::{self, State},
    step::{self, say},
    tools,
};

/// How long the network may take to answer before it counts as out of reach.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub struct Args {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Where LLVM comes from, if it is not there yet
    #[arg(long, value_enum, default_value_t = Source::Auto)]
    llvm: Source,
}

/// Where a missing LLVM comes from.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    /// GitHub if it can be reached, otherwise Debian's packages
    Auto,
    /// The build downloads it from GitHub
    Github,
    /// Debian's package llvm-22-dev
    Debian,
}

/// How this machine gets its LLVM.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// It is there.
    Nothing,
    /// The next build downloads it.
    Download,
    /// A prefix around Debian's package.
    Debian,
}

/// Sets up with the defaults, for other chores.
///
/// # Errors
///
/// See [`run`].
pub fn ensure() -> Result<()> {
    run(&Args {
        dry_run: false,
        llvm: Source::Auto,
    })
}

/// Runs the chore. Running it again changes nothing; broken off, it can be run again.
///
/// # Errors
///
/// If a compiler is missing and cannot be installed, or LLVM can be had in no way; says what to do.
pub fn run(args: &Args) -> Result<()> {
    tools::require_linker()?;
    let release = OsRelease::here();
    let apt = release.is_debian_like() && tools::find("apt-get").is_some();
    let prefix = llvm::prefix()?;
    let state = llvm::state(&prefix);
    if let State::Broken { reason, .. } = &state {
        say(format!(
            "setup: {} cannot serve: {reason}",
            prefix.display()
        ));
    }
    let plan = plan(&state, args.llvm, can_download, apt)?;

    let packages = packages(&plan, tools::has_cxx(), apt)?;
    if !packages.is_empty() && args.dry_run {
        say(format!("setup: would run {}", debian::describe(&packages)));
    } else if !packages.is_empty() {
        debian::install(&packages, &release)?;
    }

    let place = prefix.display();
    match (plan, args.dry_run) {
        (Plan::Nothing, _) => say(format!("setup: LLVM is in place: {place}")),
        (Plan::Download, dry_run) => {
            if state != State::Absent && dry_run {
                say(format!("setup: would remove {place}"));
            } else if state != State::Absent {
                llvm::clear(&prefix)?;
                say(format!("setup: removed {place}"));
            }
            say("setup: the next build with `cpu` or `cuda` downloads LLVM from GitHub");
        }
        (Plan::Debian, true) => say(format!("setup: would make {place} around llvm-config-22")),
        (Plan::Debian, false) => {
            let real = debian::llvm_config()?;
            llvm::install(&prefix, &real)?;
            say(format!("setup: made {place} around {}", real.display()));
        }
    }
    Ok(())
}

fn plan(
    state: &State,
    source: Source,
    can_download: impl FnOnce() -> bool,
    apt: bool,
) -> Result<Plan> {
    match state {
        State::Installed => return Ok(Plan::Nothing),
        State::Broken {
            ours: false,
            reason,
        } => bail!(
            "setup: the installed LLVM does not work ({reason}). It was not made by this program: \
             remove {} yourself, then run again",
            llvm::prefix()?.display()
        ),
        State::Absent | State::Broken { ours: true, .. } => {}
    }
    let from_github = match source {
        Source::Auto => can_download(),
        Source::Github => true,
        Source::Debian => false,
    };
    match (from_github, apt) {
        (true, _) => Ok(Plan::Download),
        (false, true) => Ok(Plan::Debian),
        (false, false) => bail!(
            "setup: no way to get LLVM. The features `cpu` and `cuda` need it; the build downloads \
             it where github.com can be reached, and on Debian and Ubuntu apt can install it. \
             Tried {} and looked for apt-get",
            llvm::download_url()
        ),
    }
}

/// What apt has to install for `plan`; LLVM's C++ parts need a C++ compiler in any case.
fn packages(plan: &Plan, has_cxx: bool, apt: bool) -> Result<Vec<&'static str>> {
    let mut packages = match plan {
        Plan::Debian => debian::missing(&debian::LLVM_PACKAGES)?,
        Plan::Nothing | Plan::Download => Vec::new(),
    };
    if !has_cxx && !apt {
        bail!("setup: no C++ compiler: `c++` is not in PATH, and LLVM's parts need one");
    }
    if !has_cxx {
        packages.push("g++");
    }
    Ok(packages)
}

/// Whether the build script's download would get through.
fn can_download() -> bool {
    let url = llvm::download_url();
    if tools::find("curl").is_some() {
        // Asks for the very file, through the user's proxy settings.
        let mut curl = Command::new("curl");
        let patience = PATIENCE.as_secs().to_string();
        curl.args([
            "--silent",
            "--head",
            "--location",
            "--fail",
            "--connect-timeout",
            &patience,
        ]);
        return step::output("asking GitHub", curl.args(["--max-time", "10", &url])).is_ok();
    }
    let (sender, receiver) = mpsc::channel();
    // Name lookups know no timeout: leave the thread behind if it hangs.
    thread::spawn(move || {
        let address = "github.com:443"
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next());
        let open = address.is_some_and(|it| TcpStream::connect_timeout(&it, PATIENCE).is_ok());
        // The receiver may have given up; nobody needs the answer then.
        let _ = sender.send(open);
    });
    receiver.recv_timeout(2 * PATIENCE).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(ours: bool) -> State {
        State::Broken {
            reason: "it is gone".to_owned(),
            ours,
        }
    }

    #[test]
    fn a_working_llvm_is_left_alone_without_asking_the_network() {
        let ask = || panic!("asked the network");
        assert_eq!(
            plan(&State::Installed, Source::Auto, ask, true).unwrap(),
            Plan::Nothing
        );
    }

    #[test]
    fn github_comes_before_debian_and_debian_before_giving_up() {
        let auto = |reachable: bool, apt| plan(&State::Absent, Source::Auto, || reachable, apt);
        assert_eq!(auto(true, true).unwrap(), Plan::Download);
        assert_eq!(auto(true, false).unwrap(), Plan::Download);
        assert_eq!(auto(false, true).unwrap(), Plan::Debian);
        let error = auto(false, false).unwrap_err().to_string();
        assert!(error.contains("no way to get LLVM"), "{error}");
    }

    #[test]
    fn a_named_source_is_taken_without_asking_the_network() {
        let ask = |source| plan(&State::Absent, source, || panic!("asked the network"), true);
        assert_eq!(ask(Source::Github).unwrap(), Plan::Download);
        assert_eq!(ask(Source::Debian).unwrap(), Plan::Debian);
    }

    #[test]
    fn a_broken_prefix_is_replaced_only_if_it_is_ours() {
        let auto = |state| plan(&state, Source::Auto, || false, true);
        assert_eq!(auto(broken(true)).unwrap(), Plan::Debian);
        let error = auto(broken(false)).unwrap_err().to_string();
        assert!(
            error.contains("it is gone") && error.contains("remove"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_cxx_compiler_is_installed_or_reported() {
        assert_eq!(
            packages(&Plan::Nothing, true, false).unwrap(),
            Vec::<&str>::new()
        );
        assert_eq!(packages(&Plan::Download, false, true).unwrap(), ["g++"]);
        assert!(packages(&Plan::Nothing, false, false).is_err());
    }
}

//! `cargo xtask setup`: what the features `cpu` and `cuda` need to build, or data to train on. `xtask/setup.sh`
//! does it.

use std::process::Command;

use anyhow::Result;

use crate::{
    cargo::workspace_root,
    step::{self, say},
    tools,
};

#[derive(clap::Args)]
pub struct Args {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Where a missing LLVM comes from: the build's own download, Debian's package llvm-22-dev, or the
    /// first of them that can be reached
    #[arg(long, default_value = "auto", value_parser = ["auto", "github", "debian"])]
    llvm: String,
    /// Install Fashion-MNIST (Debian's package dataset-fashion-mnist), which vision-transformer trains on, and
    /// nothing else
    #[arg(long, conflicts_with = "llvm")]
    data: bool,
}

/// Sets up with the defaults, for other chores.
///
/// # Errors
///
/// See [`run`].
pub fn ensure() -> Result<()> {
    run(&Args {
        dry_run: false,
        llvm: "auto".to_owned(),
        data: false,
    })
}

/// Runs the chore. Running it again changes nothing; broken off, it can be run again.
///
/// # Errors
///
/// If a compiler is missing and cannot be installed, or LLVM or the data can be had in no way; says what to
/// do.
pub fn run(args: &Args) -> Result<()> {
    if args.data {
        return step::run("setup", &mut script(args));
    }
    tools::require_linker()?;
    if cfg!(windows) {
        say("setup: the build with `cpu` or `cuda` downloads LLVM from GitHub");
        return Ok(());
    }
    step::run("setup", &mut script(args))
}

fn script(args: &Args) -> Command {
    let mut script = Command::new("sh");
    script.arg(workspace_root().join("xtask").join("setup.sh"));
    match args.data {
        true => script.arg("--data"),
        false => script.args(["--llvm", &args.llvm]),
    };
    script.args(args.dry_run.then_some("--dry-run"));
    script
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

    use super::*;
    use crate::testing::alone;

    /// A machine of fake programs, and a data folder.
    struct Machine(tempfile::TempDir);

    impl Machine {
        /// With Debian's packages installed, or another system without apt.
        fn new(debian: bool, github: bool) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            let folder = machine.0.path().display();
            let id = if debian { "debian" } else { "fedora" };
            fs::write(machine.0.path().join("os-release"), format!("ID={id}\n")).unwrap();
            for program in ["c++", "apt-get"] {
                machine.add(program, "");
            }
            machine.add("curl", if github { "" } else { "exit 7" });
            machine.add("dpkg-query", "echo 'ii '");
            let llvm = format!("case \"$*\" in *--libdir) echo '{folder}';; *) echo \"$@\";; esac");
            machine.add("llvm-config-22", &llvm);
            machine
        }

        fn add(&self, name: &str, text: &str) {
            let file = self.0.path().join(name);
            fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }

        fn llvm_config(&self) -> PathBuf {
            let mut bundles = fs::read_dir(self.0.path().join("tracel")).unwrap();
            let prefix = bundles.next().unwrap().unwrap().path();
            assert!(bundles.next().is_none(), "something lies beside the prefix");
            prefix.join("bin").join("llvm-config")
        }

        /// What the script says; its error if it fails.
        fn setup(&self, dry_run: bool, llvm: &str) -> Result<String> {
            let llvm = llvm.to_owned();
            self.run(&Args {
                dry_run,
                llvm,
                data: false,
            })
        }

        fn run(&self, args: &Args) -> Result<String> {
            let path = format!("{}:/usr/bin:/bin", self.0.path().display());
            let mut script = script(args);
            script
                .env("PATH", path)
                .env("XDG_DATA_HOME", self.0.path())
                .env("OS_RELEASE", self.0.path().join("os-release"));
            step::output("setup", &mut script)
        }
    }

    #[test]
    fn a_prefix_around_the_systems_llvm_answers_as_the_build_asks() {
        let _alone = alone();
        let machine = Machine::new(true, false);
        let said = machine.setup(false, "auto").unwrap();
        assert!(said.contains("==> setup: made "), "{said}");
        let ask = |question: &str| {
            let mut config = Command::new(machine.llvm_config());
            step::output("asking", config.args(["--link-static", question])).unwrap()
        };
        assert_eq!(ask("--version").split('.').count(), 3);
        assert_eq!(ask("--system-libs"), "-lrt -ldl -lm -lz -lzstd");
        assert!(ask("--libs").starts_with("--link-static --libs core support "));
        assert_eq!(ask("--includedir"), "--link-static --includedir");

        // A second run needs neither network nor packages.
        machine.add("curl", "echo asked >&2; exit 1");
        let said = machine.setup(false, "auto").unwrap();
        assert!(said.contains("LLVM is in place"), "{said}");
    }

    #[test]
    fn github_comes_before_debian_and_debian_before_giving_up() {
        let _alone = alone();
        let reachable = Machine::new(true, true);
        let said = reachable.setup(false, "auto").unwrap();
        assert!(said.contains("downloads LLVM from GitHub"), "{said}");
        let said = reachable.setup(true, "debian").unwrap();
        assert!(said.contains("would make "), "{said}");
        assert!(!reachable.0.path().join("tracel").exists());

        let error = Machine::new(false, false).setup(false, "auto").unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("no way to get LLVM"), "{error}");
    }

    #[test]
    fn a_broken_prefix_is_replaced_only_if_it_is_ours() {
        let _alone = alone();
        let machine = Machine::new(true, false);
        machine.setup(false, "debian").unwrap();
        let config = machine.llvm_config();
        let ours = fs::read_to_string(&config).unwrap();
        fs::write(&config, ours.replace("echo 2", "echo 1")).unwrap();
        let said = machine.setup(false, "debian").unwrap();
        assert!(said.contains("cannot serve: it says version 1"), "{said}");
        assert_eq!(fs::read_to_string(&config).unwrap(), ours);

        fs::write(&config, "#!/bin/sh\nexit 1\n").unwrap();
        let error = format!("{:#}", machine.setup(false, "debian").unwrap_err());
        assert!(error.contains("It was not made by this program"), "{error}");
        // Nobody finished this one.
        let bin = config.parent().unwrap();
        fs::remove_file(bin.with_file_name(".tracel-llvm-installed")).unwrap();
        machine.setup(false, "debian").unwrap();
        assert_eq!(fs::read_to_string(&config).unwrap(), ours);
    }

    #[test]
    fn data_come_as_a_package_where_there_are_such() {
        let _alone = alone();
        let data = Args {
            dry_run: true,
            llvm: "auto".into(),
            data: true,
        };
        let said = Machine::new(true, false).run(&data).unwrap();
        assert!(said.contains("Fashion-MNIST is in place"), "{said}");
        let bare = Machine::new(true, false);
        bare.add("dpkg-query", "exit 1");
        let said = bare.run(&data).unwrap();
        assert!(
            said.contains("would install dataset-fashion-mnist"),
            "{said}"
        );
        let error = Machine::new(false, false).run(&data).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("four idx files"), "{error}");
        assert!(!bare.0.path().join("tracel").exists());
    }
}

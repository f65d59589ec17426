//! Installing packages on Debian, Ubuntu and their kin.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{step, tools};

/// Debian's LLVM that stands in for the bundle, and the static libraries it links.
pub const LLVM_PACKAGES: [&str; 3] = ["llvm-22-dev", "libzstd-dev", "zlib1g-dev"];

/// What `/etc/os-release` says about the distribution.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    id: String,
    id_like: String,
    pretty_name: String,
}

impl OsRelease {
    /// Reads this machine's file; empty where there is none.
    pub fn here() -> Self {
        Self::parse(&fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut release = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.trim().split_once('=')) {
            let value = value.trim_matches(['"', '\'']).to_owned();
            match key {
                "ID" => release.id = value,
                "ID_LIKE" => release.id_like = value,
                "PRETTY_NAME" => release.pretty_name = value,
                _ => {}
            }
        }
        release
    }

    /// Whether packages come from apt and are named as Debian names them.
    pub fn is_debian_like(&self) -> bool {
        let mut names = self.id_like.split_whitespace().chain([self.id.as_str()]);
        names.any(|name| name == "debian" || name == "ubuntu")
    }

    /// The distribution's name for messages.
    pub fn name(&self) -> &str {
        if self.pretty_name.is_empty() {
            "this system"
        } else {
            &self.pretty_name
        }
    }
}

/// Those of `packages` that are not installed.
pub fn missing(packages: &[&'static str]) -> Result<Vec<&'static str>> {
    let mut query = Command::new("dpkg-query");
    query
        .args(["--show", "--showformat=${Package} ${db:Status-Abbrev}\n"])
        .args(packages);
    // It exits with 1 where a package is unknown, and still lists the others.
    let output = query.output()?;
    let installed = installed(&String::from_utf8_lossy(&output.stdout));
    Ok(packages
        .iter()
        .copied()
        .filter(|name| !installed.iter().any(|own| own == name))
        .collect())
}

fn installed(listing: &str) -> Vec<String> {
    let lines = listing.lines().filter_map(|line| line.split_once(' '));
    lines
        .filter(|(_, status)| status.starts_with("ii"))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The commands that install `packages`, behind `sudo` where `prefix` says so.
fn commands(packages: &[&str], prefix: Option<&str>) -> [Vec<String>; 2] {
    let with_prefix = |words: &[&str]| {
        prefix
            .iter()
            .chain(words)
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    // `env` and not the environment: sudo drops variables.
    let quiet = "DEBIAN_FRONTEND=noninteractive";
    let install = [
        "env",
        quiet,
        "apt-get",
        "install",
        "-y",
        "--no-install-recommends",
    ];
    [
        with_prefix(&["apt-get", "update"]),
        with_prefix(&[&install, packages].concat()),
    ]
}

/// Says what [`install`] would do.
pub fn describe(packages: &[&str]) -> String {
    format!("apt-get install {}", packages.join(" "))
}

/// Installs `packages`.
///
/// # Errors
///
/// If this user may not install packages, if the distribution lacks one, or if apt fails. The
/// first two say what to do instead.
pub fn install(packages: &[&str], release: &OsRelease) -> Result<()> {
    let [update, install] = commands(packages, sudo(packages)?);
    if let Err(error) = step::run("refreshing the package lists", &mut command(&update)) {
        // One bad source of several is no reason to stop: the next command decides.
        step::say(format!("{error:#}; going on with the lists that are there"));
    }
    for package in packages {
        if !is_offered(package)? {
            bail!(no_package(package, release));
        }
    }
    step::run("installing packages", &mut command(&install))
}

/// `None` for root, `Some("sudo")` for others.
fn sudo(packages: &[&str]) -> Result<Option<&'static str>> {
    if step::output("asking who runs this", Command::new("id").arg("-u"))? == "0" {
        return Ok(None);
    }
    if tools::find("sudo").is_some() {
        return Ok(Some("sudo"));
    }
    let commands = commands(packages, None)
        .map(|words| words.join(" "))
        .join("\n  ");
    bail!("installing packages needs root, and there is no sudo. Run as root:\n  {commands}")
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

fn is_offered(package: &str) -> Result<bool> {
    let mut policy = Command::new("apt-cache");
    policy.env("LC_ALL", "C").args(["policy", package]);
    Ok(has_candidate(&step::output(
        "looking the package up",
        &mut policy,
    )?))
}

fn has_candidate(policy: &str) -> bool {
    let candidate = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate:"));
    candidate.is_some_and(|version| version.trim() != "(none)")
}

fn no_package(package: &str, release: &OsRelease) -> String {
    format!(
        "{} has no package {package}.\n\
         Either let the build download LLVM itself (it needs to reach github.com), or add a \
         package source that has {package} (Debian 12 has it in its security suite, \
         https://apt.llvm.org offers it for other releases), then run `cargo xtask setup` again.\n\
         Only the features `cpu` and `cuda` need LLVM: `cargo xtask demo` and \
         `cargo test` run without.",
        release.name()
    )
}

/// Where the installed LLVM's own `llvm-config` is.
pub fn llvm_config() -> Result<PathBuf> {
    let plain = Path::new("/usr/lib/llvm-22/bin/llvm-config");
    match tools::find("llvm-config-22") {
        Some(found) => Ok(found),
        None if plain.is_file() => Ok(plain.to_path_buf()),
        None => bail!("the package llvm-22-dev is installed, but llvm-config-22 is not in PATH"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\n\
                          VERSION_CODENAME=bookworm\nID=debian\n";

    #[test]
    fn debian_and_its_kin_are_recognised() {
        let debian = OsRelease::parse(DEBIAN);
        assert!(debian.is_debian_like());
        assert_eq!(debian.name(), "Debian GNU/Linux 12 (bookworm)");
        assert!(OsRelease::parse("ID=ubuntu\nID_LIKE=debian").is_debian_like());
        assert!(OsRelease::parse("ID=pop\nID_LIKE='ubuntu debian'").is_debian_like());
        assert!(!OsRelease::parse("ID=fedora\nVARIANT_ID=debian\n").is_debian_like());
        assert!(!OsRelease::parse("ID=\"opensuse\"\nID_LIKE=\"suse\"").is_debian_like());
    }

    #[test]
    fn a_system_without_the_file_has_a_name_for_messages() {
        let unknown = OsRelease::parse("");
        assert!(!unknown.is_debian_like());
        assert_eq!(unknown.name(), "this system");
    }

    #[test]
    fn only_fully_installed_packages_count() {
        let listing = "zlib1g-dev ii \nlibzstd-dev rc \nllvm-22-dev iU \n";
        assert_eq!(installed(listing), ["zlib1g-dev"]);
    }

    #[test]
    fn the_commands_stand_behind_sudo_where_needed() {
        let [update, install] = commands(&["a-dev", "b"], None);
        assert_eq!(update, ["apt-get", "update"]);
        assert_eq!(
            install[..3],
            ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
        );
        assert_eq!(install[install.len() - 2..], ["a-dev", "b"]);
        let with_sudo = commands(&["a-dev"], Some("sudo"));
        assert!(
            with_sudo
                .iter()
                .all(|words| words[0] == "sudo" && words.len() > 2)
        );
    }

    #[test]
    fn a_package_is_offered_if_it_has_a_candidate() {
        assert!(has_candidate(
            "tool:\n  Installed: (none)\n  Candidate: 1:22.1.8\n"
        ));
        assert!(!has_candidate(
            "tool:\n  Installed: (none)\n  Candidate: (none)\n"
        ));
        assert!(!has_candidate(""));
    }

    #[test]
    fn a_missing_package_is_named_with_the_distribution() {
        let text = no_package(
            "llvm-22-dev",
            &OsRelease::parse("PRETTY_NAME=\"Ubuntu 24.04\""),
        );
        assert!(
            text.starts_with("Ubuntu 24.04 has no package llvm-22-dev."),
            "{text}"
        );
        assert!(text.contains("github.com"), "{text}");
    }
}

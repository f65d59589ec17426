//! Running one named step of a chore as a child process.

use std::{process::Command, time::Instant};

use anyhow::{Context, Result, bail};

/// Prints what is about to happen, apart from the child processes' own output.
pub fn say(message: impl AsRef<str>) {
    println!("==> {}", message.as_ref());
}

/// Runs `command` with its output passed through.
///
/// # Errors
///
/// Names `step` and the full command line if the program cannot start or does not succeed.
pub fn run(step: &str, command: &mut Command) -> Result<()> {
    let line = command_line(command);
    say(format!("{step}: {line}"));
    let started = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("{step}: cannot start `{line}`"))?;
    if !status.success() {
        bail!(
            "{step} failed after {:.0?}: `{line}` ({status})",
            started.elapsed()
        );
    }
    Ok(())
}

/// Runs `command` silently and returns its standard output without surrounding blanks.
///
/// # Errors
///
/// Names `step`, the command line and what the program wrote to standard error.
pub fn output(step: &str, command: &mut Command) -> Result<String> {
    let line = command_line(command);
    let output = command
        .output()
        .with_context(|| format!("{step}: cannot start `{line}`"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{step} failed: `{line}` ({}): {}",
            output.status,
            stderr.trim()
        );
    }
    let stdout = String::from_utf8(output.stdout)
        .with_context(|| format!("{step}: `{line}` printed text that is not UTF-8"))?;
    Ok(stdout.trim().to_owned())
}

/// The command as a person would type it.
pub fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| quote(&word.to_string_lossy())).collect();
    words.join(" ")
}

/// Quotes a word for a POSIX shell where it needs it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alone;

    #[test]
    fn a_failure_names_the_step_and_the_command() {
        let _alone = alone();
        let error = run("linting", Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.starts_with("linting failed"), "{text}");
        assert!(text.contains("`sh -c 'exit 3'`"), "{text}");
        assert!(text.contains("exit status: 3"), "{text}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let _alone = alone();
        let error = output("probing", &mut Command::new("no-such-program-here")).unwrap_err();
        assert!(format!("{error:#}").starts_with("probing: cannot start `no-such-program-here`"));
    }

    #[test]
    fn captured_output_is_trimmed_and_failures_carry_stderr() {
        let _alone = alone();
        let text = output(
            "echo",
            Command::new("sh").args(["-c", "echo '  two words '"]),
        )
        .unwrap();
        assert_eq!(text, "two words");
        let error = output(
            "echo",
            Command::new("sh").args(["-c", "echo why >&2; exit 1"]),
        );
        assert!(format!("{:#}", error.unwrap_err()).ends_with(": why"));
    }

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quote("--features=a/b,c"), "--features=a/b,c");
        assert_eq!(quote("two words"), "'two words'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }
}

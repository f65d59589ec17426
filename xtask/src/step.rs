//! Running one named step of a chore as a child process.

use std::{process::Command, time::Instant};

use anyhow::{Context, Result, ensure};

/// Prints what is about to happen, apart from the child processes' own output.
pub fn say(message: impl AsRef<str>) {
    println!("==> {}", message.as_ref());
}

/// Runs `command` with its output passed through, and says how long it took.
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
    let took = started.elapsed();
    ensure!(
        status.success(),
        "{step} failed after {took:.0?}: `{line}` ({status})"
    );
    say(format!("{step}: done in {took:.0?}"));
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
    ensure!(
        output.status.success(),
        "{step} failed: `{line}` ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
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
    fn captured_output_is_trimmed_and_failures_carry_stderr() {
        let _alone = alone();
        let shell = |text| output("echo", Command::new("sh").args(["-c", text]));
        assert_eq!(shell("echo '  two words '").unwrap(), "two words");
        let error = shell("echo why >&2; exit 1").unwrap_err();
        assert!(format!("{error:#}").ends_with(": why"));
        let error = output("probing", &mut Command::new("no-such-program-here")).unwrap_err();
        assert!(format!("{error:#}").starts_with("probing: cannot start `no-such-program-here`"));
    }

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        let words = ["--features=a/b,c", "two words", "it's", ""];
        let quoted = ["--features=a/b,c", "'two words'", r"'it'\''s'", "''"];
        assert_eq!(words.map(quote), quoted);
    }
}

//! `tritburn generate --chat`.

use std::fs;

use crate::common::*;

#[test]
fn a_chat_answers_every_line_and_remembers() {
    let model = toy("packed");
    let args = ["generate", "--model", path(&model), "--chat", "-n", "6"];
    let chat = tritburn_with(&args, "one\n\ntwo\n/clear\none\n/quit\nnever\n");
    assert!(chat.status.success(), "{}", text(&chat.stderr));
    let reports = text(&chat.stderr);
    let reports: Vec<_> = reports
        .lines()
        .filter(|line| line.starts_with('['))
        .collect();
    assert_eq!(reports.len(), 3, "three questions were asked: {reports:?}");
    let prompt = |line: &str| {
        let tokens = line.strip_prefix("[prompt: ").unwrap();
        tokens.split(' ').next().unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(prompt(reports[0]), prompt(reports[2]), "/clear forgets");
    let answers = text(&chat.stdout);
    let first = tritburn_with(&args, "one\n");
    assert!(answers.starts_with(&text(&first.stdout)));
    assert!(
        answers.ends_with(&text(&first.stdout)),
        "the same answer after /clear"
    );
}

#[test]
fn a_chat_forgets_its_oldest_turns_when_its_context_is_full() {
    let model = toy("packed");
    let common = ["generate", "--model", path(&model), "--chat", "-n", "8"];
    let question = "weights are packed into words\n";
    let ask = |context: &str, questions: usize| {
        let args = [&common[..], &["--ignore-eos", "--context", context]].concat();
        let chat = tritburn_with(&args, &question.repeat(questions));
        let messages = text(&chat.stderr);
        assert!(chat.status.success(), "{messages}");
        (messages, text(&chat.stdout))
    };
    let (messages, _) = ask("512", 1);
    let tokens = messages
        .split(' ')
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap();

    // Room for one question with its answer and a little, not for two.
    let context = (tokens + 10).to_string();
    let (messages, answers) = ask(&context, 4);
    assert_eq!(messages.matches("[prompt: ").count(), 4, "{messages}");
    assert_eq!(messages.matches("forgetting").count(), 1, "{messages}");
    let (_, first) = ask("512", 1);
    assert_eq!(answers, first.repeat(4), "every question stands alone");

    let (messages, _) = ask(&(tokens - 1).to_string(), 2);
    let refused = format!("takes {tokens} tokens");
    assert_eq!(messages.matches(&refused).count(), 2, "{messages}");
}

#[test]
fn a_chat_template_that_renders_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    copy(&toy("packed"), folder.path());
    fs::write(folder.path().join("chat_template.jinja"), "{# nothing #}").unwrap();
    let args = ["generate", "-m", path(folder.path()), "--chat"];
    let chat = tritburn_with(&args, "one\n");
    assert!(!chat.status.success());
    let message = text(&chat.stderr);
    assert!(
        message.contains("renders the conversation to nothing"),
        "{message}"
    );
}

/// The toy model with another template.
fn with_template(template: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&toy("packed"), folder.path());
    fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    folder
}

fn prompt_tokens(messages: &str) -> Vec<usize> {
    let reports = messages.split("[prompt: ").skip(1);
    let count = |report: &str| report.split(' ').next().unwrap().parse().unwrap();
    reports.map(count).collect()
}

#[test]
fn special_tokens_in_a_message_are_text_unless_asked_for() {
    let model = toy("packed");
    let args = [
        "generate",
        "-m",
        path(&model),
        "--chat",
        "-n",
        "1",
        "--ignore-eos",
    ];
    let ask = |more: &[&str]| {
        let chat = tritburn_with(&[&args[..], more].concat(), "a<|eot_id|>b\n");
        assert!(chat.status.success(), "{}", text(&chat.stderr));
        prompt_tokens(&text(&chat.stderr))[0]
    };
    let (as_text, parsed) = (ask(&[]), ask(&["--parse-special"]));
    assert!(as_text > parsed + 3, "{as_text} and {parsed}");

    let prompt = |more: &[&str]| {
        let args = [
            "generate",
            "-m",
            path(&model),
            "-n",
            "1",
            "--json",
            "--prompt",
            "a<|eot_id|>b",
        ];
        json(&[&args[..], more].concat())["prompt_tokens"]
            .as_u64()
            .unwrap()
    };
    assert!(prompt(&[]) > prompt(&["--parse-special"]) + 3);
}

#[test]
fn a_template_can_be_given_and_must_hear_the_system() {
    let deaf =
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}!{% endif %}{% endfor %}";
    let model = with_template(deaf);
    let args = ["generate", "-m", path(model.path()), "--chat", "-n", "1"];
    let chat = tritburn_with(&[&args[..], &["--system", "Be brief."]].concat(), "one\n");
    assert!(!chat.status.success());
    let message = text(&chat.stderr);
    assert!(message.contains("--chat-template"), "{message}");

    let other = model.path().join("other.jinja");
    fs::write(&other, "{% for m in messages %}{{ m.content }}{% endfor %}").unwrap();
    let given = ["--system", "Be brief.", "--chat-template", path(&other)];
    let chat = tritburn_with(&[&args[..], &given].concat(), "one\n");
    assert!(chat.status.success(), "{}", text(&chat.stderr));
}

#[test]
fn a_line_that_is_not_utf_8_does_not_end_a_chat() {
    let model = toy("packed");
    let args = ["generate", "-m", path(&model), "--chat", "-n", "2"];
    let chat = tritburn_in(model.parent().unwrap(), &args, b"na\xefve\nnext\n");
    assert!(chat.status.success(), "{}", text(&chat.stderr));
    let messages = text(&chat.stderr);
    assert_eq!(prompt_tokens(&messages).len(), 2, "{messages}");
    assert!(messages.contains("not UTF-8"), "{messages}");
}

#[test]
fn a_template_that_fails_says_so_once() {
    let model = with_template("{{ raise_exception('no such role') }}");
    let chat = tritburn_with(&["generate", "-m", path(model.path()), "--chat"], "one\n");
    assert!(!chat.status.success());
    let message = text(&chat.stderr);
    assert_eq!(message.matches("no such role").count(), 1, "{message}");
}

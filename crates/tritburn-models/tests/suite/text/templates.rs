//! Chat templates: what real ones use, and what is stopped.

use super::*;

#[test]
fn templates_have_what_transformers_gives_them() {
    let messages = [Message::new("user", " <b> ")];
    for (source, expected) in [
        (
            "{{ messages[0] | tojson }}",
            r#"{"role": "user", "content": " <b> "}"#,
        ),
        ("{{ messages[0]['content'].strip() }}", "<b>"),
        ("{% if tools is none %}none{% endif %}", "none"),
        ("  {% if true %}\nx\n  {% endif %}\ny", "x\ny"),
        ("{{ eos_token + pad_token }}", "<|eot_id|><pad>"),
        ("{% generation %}a{% endgeneration %}b", "ab"),
        (
            "{{ '%s: %s' % (messages[0].role, 1) }}{{ '%02d' % 5 }}",
            "user: 105",
        ),
        (
            "{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}",
            "a1",
        ),
        (
            "{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
            "13",
        ),
        (
            "{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}",
            "1",
        ),
        (
            "{% set ns = namespace(n=0) %}{% for x in [1, 2] %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}",
            "3",
        ),
        ("{{ 'a</think>b'.split('</think>')[-1] }}", "b"),
        ("{{ 'ab c'.title() }}{{ 'ab'.startswith('a') }}", "Ab CTrue"),
        (
            "{{ messages[1:] | length }}{{ messages[0].tool is defined }}",
            "0False",
        ),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('y') }}", "<y>"),
        ("{{ strftime_now('%Y') | length }}", "4"),
    ] {
        assert_eq!(template(source).render(&messages, false).unwrap(), expected);
    }
    let error = template("{{ raise_exception('no system') }}").render(&messages, false);
    let error = error.unwrap_err();
    assert!(
        matches!(&error, TextError::Template(cause) if cause.to_string().contains("no system")),
        "{error:?}"
    );
}

#[test]
fn a_template_that_does_not_end_is_stopped() {
    let nested = "{% for a in range(50000) %}{% for b in range(50000) %}{% endfor %}{% endfor %}";
    let error = template(nested).render(&[], false).unwrap_err();
    assert!(
        matches!(&error, TextError::Template(cause) if cause.to_string().contains("fuel")),
        "{error:?}"
    );
    let long = vec![Message::new("user", "x"); 10_000];
    let each = template("{% for m in messages %}{{ m.role + m['content'].strip() }}{% endfor %}");
    assert_eq!(each.render(&long, false).unwrap().len(), 50_000);
}

/// Each takes few instructions.
#[test]
fn a_template_that_grows_without_end_is_stopped() {
    for (start, grown) in [
        ("[1]", "ns.x + ns.x"),
        ("'ab'", "ns.x ~ ns.x"),
        ("'a'", "ns.x * 9"),
    ] {
        let source = format!(
            "{{% set ns = namespace(x={start}) %}}{{% for i in range(60) %}}\
             {{% set ns.x = {grown} %}}{{% endfor %}}{{{{ ns.x | length }}}}"
        );
        let error = template(&source).render(&[], false).unwrap_err();
        assert!(
            matches!(&error, TextError::Template(cause) if ["at most", "too large"].iter().any(|said| cause.to_string().contains(said))),
            "{grown}: {error:?}"
        );
    }
    let printed = "{% set x = 'a' * 1000 %}{% for i in range(90000) %}{{ x }}{% endfor %}";
    let error = template(printed).render(&[], false).unwrap_err();
    let TextError::Template(cause) = error else {
        panic!("{error:?}");
    };
    assert_eq!(cause.kind(), minijinja::ErrorKind::WriteFailure);
}

/// What makes much of little in one instruction, or where nothing is set.
#[test]
fn a_template_that_grows_out_of_sight_is_stopped() {
    let calls = format!("{}'ab'{}", "m(".repeat(40), ")".repeat(40));
    let plain = "text ".repeat(2000);
    for source in [
        "{% set ns = namespace(x=[]) %}{% for i in range(2000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
        &format!(
            "{{% macro m(x) %}}{{{{ x }}}}{{{{ x }}}}{{% endmacro %}}{{{{ {calls} | length }}}}"
        ),
        &format!(
            "{{% set x %}}{{% for a in range(99999) %}}{{% for b in range(99999) %}}{plain}{{% endfor %}}\
             {{% endfor %}}{{% endset %}}{{{{ x | length }}}}"
        ),
        "{{ 'a' | indent(999999999) }}",
        "{{ 'a' | indent(width=999999999) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{% set x = 'a' * 9999999 %}{{ x | replace('a', x) | length }}",
        "{% set x = 'a' * 9999999 %}{{ x.replace('', x) | length }}",
        "{% set x = 'a' * 9999999 %}{{ x | join(x) | length }}",
        "{% set x = 'a' * 9999999 %}{{ x.join(x) | length }}",
        "{{ [1] | batch(999999999, 0) | list | length }}",
    ] {
        let error = template(source).render(&[], false).unwrap_err();
        assert!(
            matches!(error, TextError::Template(_)),
            "{source}: {error:?}"
        );
    }
    let usual = "{{ 'a b' | replace(' ', '-') | indent(2, true) }}{{ ', '.join(['x', 'y']) }}{{ ['x', 'y'] | join('+') }}";
    let rendered = template(usual).render(&[], false).unwrap();
    assert_eq!(rendered, "  a-bx, yx+y");
}

#[test]
fn the_placeholder_of_a_converter_is_no_template() {
    let placeholder = "{{ 'Human: ' + messages[0]['content'] + 'BITNETAssistant: ' }}";
    let messages = [
        Message::new("system", "Be brief."),
        Message::new("user", " Hey "),
    ];
    let begin = template("{{ bos_token }}").render(&[], false).unwrap();
    assert_eq!(
        template(placeholder).render(&messages, true).unwrap(),
        begin + "System: Be brief.<|eot_id|>User: Hey<|eot_id|>Assistant: "
    );
    // A model that ends its turns otherwise has other turns, too.
    let files = TokenizerFiles {
        tokenizer: None,
        chat_template: Some(placeholder.to_string()),
        ..files()
    };
    let template = ChatTemplate::from_files(&files).unwrap().unwrap();
    let rendered = template.render(&messages, true).unwrap();
    assert_eq!(rendered, "Human: Be brief.BITNETAssistant: ");
}

#[test]
fn an_older_folder_has_its_template_in_the_configuration() {
    let files = TokenizerFiles {
        chat_template: None,
        tokenizer_config: Some(
            r#"{"bos_token": {"content": "<s>"}, "chat_template": [
                {"name": "tool", "template": "no"},
                {"name": "default", "template": "{{ bos_token }}!"}]}"#
                .to_string(),
        ),
        ..files()
    };
    let template = ChatTemplate::from_files(&files).unwrap().unwrap();
    assert_eq!(template.render(&[], false).unwrap(), "<s>!");
}

//! The workspace's members and the features they have.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{cargo::cargo, step};

/// One crate of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub features: Vec<String>,
    /// A library and no program beside it.
    pub is_library: bool,
}

/// All members, in cargo's order.
///
/// # Errors
///
/// If `cargo metadata` fails or prints something unexpected.
pub fn members() -> Result<Vec<Member>> {
    let mut command = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let text = step::output("reading the workspace", &mut command)?;
    parse(&text).context("reading the workspace: unexpected output of `cargo metadata`")
}

fn parse(text: &str) -> Result<Vec<Member>> {
    let metadata: Value = serde_json::from_str(text)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let members = packages.iter().map(parse_member);
    members
        .map(|member| member.context("malformed package"))
        .collect()
}

fn parse_member(package: &Value) -> Option<Member> {
    let targets = package["targets"].as_array()?;
    let kinds = targets
        .iter()
        .filter_map(|target| target["kind"].as_array());
    let kinds = kinds.flatten().filter_map(Value::as_str);
    let has = |wanted| kinds.clone().any(|kind| kind == wanted);
    Some(Member {
        name: package["name"].as_str()?.to_owned(),
        features: package["features"].as_object()?.keys().cloned().collect(),
        is_library: has("lib") && !has("bin"),
    })
}

/// The value for cargo's `--features`: each wanted feature of each member that has it.
///
/// One list for all commands of a tier: cargo then builds Burn once for all of them.
pub fn feature_list<'a>(members: impl IntoIterator<Item = &'a Member>, wanted: &[&str]) -> String {
    let mut list = Vec::new();
    for member in members {
        let known = wanted
            .iter()
            .filter(|wanted| member.features.iter().any(|own| own == **wanted));
        list.extend(known.map(|feature| format!("{}/{feature}", member.name)));
    }
    list.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alone;

    #[test]
    fn features_are_named_with_the_members_that_have_them() {
        let text = r#"{"packages": [
            {"name": "layers", "features": {"cpu": [], "default": [], "flex": []},
             "targets": [{"kind": ["lib"]}, {"kind": ["test"]}]},
            {"name": "codecs", "features": {}, "targets": [{"kind": ["lib"]}]},
            {"name": "tool", "features": {"cpu": []}, "targets": [{"kind": ["bin"]}]},
            {"name": "both", "features": {}, "targets": [{"kind": ["lib"]}, {"kind": ["bin"]}]}
        ]}"#;
        let members = parse(text).unwrap();
        let list = feature_list(&members, &["flex", "cpu"]);
        assert_eq!(list, "layers/flex,layers/cpu,tool/cpu");
        assert_eq!(feature_list(&members, &["cuda"]), "");
        let libraries: Vec<bool> = members.iter().map(|member| member.is_library).collect();
        assert_eq!(libraries, [true, true, false, false]);
    }

    #[test]
    fn malformed_metadata_is_an_error() {
        assert!(parse("{}").is_err());
        assert!(parse(r#"{"packages": [{"name": 3}]}"#).is_err());
    }

    #[test]
    fn this_workspace_has_the_crates_that_the_chores_name() {
        let _alone = alone();
        let members = members().unwrap();
        let known = |name: &str| members.iter().any(|member| member.name == name);
        assert!(known("tritburn") && known("tritburn-kernels"));
        assert!(known("tritburn-bench") && known("language-model"));
    }
}

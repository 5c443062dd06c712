//! The command line of the binary, as typed.

use std::process::{Command, Output};

fn anneal(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anneal"))
        .args(arguments)
        .output()
        .expect("it runs")
}

#[test]
fn help_lists_the_verbs_and_hides_what_is_internal() {
    let help = String::from_utf8_lossy(&anneal(&["--help"]).stdout).into_owned();
    for verb in ["up", "demo", "doctor", "audit", "completions"] {
        assert!(help.contains(verb), "{verb} is missing: {help}");
    }
    assert!(!help.contains("train-job"), "{help}");
}

#[test]
fn an_unknown_verb_is_wrong_usage() {
    assert_eq!(anneal(&["fly"]).status.code(), Some(2));
    assert_eq!(anneal(&[]).status.code(), Some(2));
}

#[test]
fn completions_are_written_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let script = anneal(&["completions", shell]);
        assert!(script.status.success(), "{shell}");
        let script = String::from_utf8_lossy(&script.stdout).into_owned();
        for verb in ["up", "demo", "doctor", "audit"] {
            assert!(script.contains(verb), "{shell} does not complete {verb}");
        }
    }
}

#[test]
fn verifying_a_folder_without_data_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nothing");
    let output = anneal(&["audit", "verify", "--data", &path.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--data"));
}

//! Secrets of real files and real programs.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::value::RawValue;
use tempfile::TempDir;

use super::*;

fn source(config: &str) -> Source {
    let config = Some(RawValue::from_string(config.to_owned()).unwrap());
    Source { url: "http://h/x".to_owned(), config }
}

async fn value(secrets: &Secrets, name: &str) -> Result<String, String> {
    let source = source(&format!(r#"["${{secret:{name}}}"]"#));
    let filled = secrets.fill(&source).await.map_err(|error| {
        assert!(!error.is_permanent(), "{error}");
        error.to_string()
    })?;
    let [value]: [String; 1] =
        serde_json::from_str(filled.source().config.as_ref().unwrap().get()).unwrap();
    Ok(value)
}

/// A program that runs `script` with the name as `$1`, in the folder `$0` is in.
fn program(dir: &TempDir, script: &str) -> Vec<String> {
    let path = dir.path().join("secret.sh");
    let here = dir.path().display();
    fs::write(&path, format!("#!/bin/sh\ncd '{here}'\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    // By the shell: a file that was just written may still be held open by a sibling's fork.
    vec!["/bin/sh".to_owned(), path.display().to_string()]
}

fn runs(dir: &TempDir) -> usize {
    fs::read_to_string(dir.path().join("runs")).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn a_variable_is_before_a_file_and_a_file_before_the_command() {
    let dir = TempDir::new().unwrap();
    let command = program(&dir, "echo \"command $1\"");
    fs::write(dir.path().join("A"), "file").unwrap();
    fs::write(dir.path().join("B"), "file").unwrap();
    let secrets = Secrets::new(Some(dir.path().to_owned()), &command, Rules::default())
        .with_variables(&[
            ("GIRASOL_SECRET_A", "variable"),
            ("GIRASOL_SECRET_D_E_F", "shell"),
            ("GIRASOL_SECRET_B", ""),
            ("C", "no"),
            ("GIRASOL_TOKEN", "no"),
        ]);
    assert_eq!(value(&secrets, "A").await.unwrap(), "variable");
    assert_eq!(value(&secrets, "B").await.unwrap(), "file");
    assert_eq!(value(&secrets, "C").await.unwrap(), "command C");
    assert_eq!(value(&secrets, "d-e.F").await.unwrap(), "shell");
}

#[tokio::test]
async fn a_secret_that_is_nowhere_is_named_with_the_places() {
    let error = value(&Secrets::default().with_variables(&[]), "DB").await.unwrap_err();
    for words in ["`DB`", "GIRASOL_SECRET_DB", "secrets_dir", "secrets_command"] {
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_file_is_read_at_each_use_also_behind_links_as_kubernetes_makes_them() {
    let dir = TempDir::new().unwrap();
    for (at, text) in [("one", "first\n"), ("two", "second\r\n")] {
        fs::create_dir(dir.path().join(at)).unwrap();
        fs::write(dir.path().join(at).join("DB"), text).unwrap();
    }
    symlink("one", dir.path().join("..data")).unwrap();
    symlink("..data/DB", dir.path().join("DB")).unwrap();
    let secrets =
        Secrets::new(Some(dir.path().to_owned()), &[], Rules::default()).with_variables(&[]);
    assert_eq!(value(&secrets, "DB").await.unwrap(), "first");
    symlink("two", dir.path().join("..new")).unwrap();
    fs::rename(dir.path().join("..new"), dir.path().join("..data")).unwrap();
    assert_eq!(value(&secrets, "DB").await.unwrap(), "second");
    fs::remove_file(dir.path().join("DB")).unwrap();
    assert!(value(&secrets, "DB").await.unwrap_err().contains("there is no secret"));
}

#[tokio::test]
async fn what_is_no_file_of_text_is_an_error_that_shows_nothing_of_it() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("FOLDER")).unwrap();
    fs::write(dir.path().join("BINARY"), b"\xffs3cret").unwrap();
    fs::write(dir.path().join("LARGE"), "s3cret".repeat(20_000)).unwrap();
    fs::write(dir.path().join("EMPTY"), "\n").unwrap();
    fs::write(dir.path().join("LINES"), " a\nb\n\n").unwrap();
    let secrets =
        Secrets::new(Some(dir.path().to_owned()), &[], Rules::default()).with_variables(&[]);
    for (name, words) in [
        ("FOLDER", "not a file"),
        ("BINARY", "not text"),
        ("LARGE", "not text of at most 64 KiB"),
        ("EMPTY", "there is no secret"),
    ] {
        let error = value(&secrets, name).await.unwrap_err();
        assert!(error.contains(words) && !error.contains("s3cret"), "{error}");
    }
    assert_eq!(value(&secrets, "LINES").await.unwrap(), " a\nb\n");
}

#[tokio::test]
async fn the_command_is_asked_once_and_again_when_a_fetch_has_failed() {
    let dir = TempDir::new().unwrap();
    let command = program(&dir, "echo run >> runs\necho \"$1 $(wc -l < runs | tr -d ' ')\"");
    let secrets = Secrets::new(None, &command, Rules::default()).with_variables(&[]);
    let source = source(r#"{"a":"${secret:X}"}"#);
    let all = futures::future::join_all((0..8).map(|_| secrets.fill(&source))).await;
    let old = all.into_iter().map(Result::unwrap).next_back().unwrap();
    assert_eq!(runs(&dir), 1);
    secrets.doubt(&old);
    assert_eq!(value(&secrets, "X").await.unwrap(), "X 2");
    // It was about the one before.
    secrets.doubt(&old);
    assert_eq!(value(&secrets, "X").await.unwrap(), "X 2");
}

#[tokio::test]
async fn a_command_that_fails_is_asked_again_and_its_words_are_not_repeated() {
    let dir = TempDir::new().unwrap();
    let script = "echo run >> runs\necho s3cret\necho s3cret >&2\nexit 3";
    let command = program(&dir, script);
    let secrets = Secrets::new(None, &command, Rules::default()).with_variables(&[]);
    for again in 1..=2 {
        let error = value(&secrets, "X").await.unwrap_err();
        assert!(error.contains("exit status: 3") && !error.contains("s3cret"), "{error}");
        assert_eq!(runs(&dir), again);
    }
    for (script, words) in
        [("true", "prints nothing"), ("exec head -c 70000 /dev/zero", "more than 64 KiB")]
    {
        let command = program(&dir, script);
        let secrets = Secrets::new(None, &command, Rules::default()).with_variables(&[]);
        let error = value(&secrets, "X").await.unwrap_err();
        assert!(error.contains(words), "{script}: {error}");
    }
    let command = ["/nowhere/at/all".to_owned()];
    let secrets = Secrets::new(None, &command, Rules::default()).with_variables(&[]);
    assert!(value(&secrets, "X").await.unwrap_err().contains("cannot be run"));
}

#[tokio::test]
async fn a_secret_is_not_looked_up_for_a_host_that_it_may_not_go_to() {
    let dir = TempDir::new().unwrap();
    let command = program(&dir, "echo run >> runs\necho x");
    let rules = Rules::read(r#"{"X":{"hosts":["db.internal"]}}"#).unwrap();
    let secrets = Secrets::new(None, &command, rules).with_variables(&[]);
    let error = secrets.fill(&source(r#"{"a":"${secret:X}"}"#)).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("`X` may not go"), "{error}");
    assert_eq!(runs(&dir), 0);
}

#[tokio::test]
async fn no_error_has_a_secret_of_the_source_in_it() {
    let secrets = Secrets::default().with_variables(&[
        ("GIRASOL_SECRET_PW", "s3cret/pw"),
        ("GIRASOL_SECRET_KEY", "s3cret-key"),
    ]);
    let config = r#"{"headers":{"x":"k ${secret:KEY}","authorization":"Bearer s3cret-literal"}}"#;
    let url = "http://me:${secret:PW}@h/x?token=s3cret%2Dquery".to_owned();
    let filled = secrets.fill(&Source { url, ..source(config) }).await.unwrap();
    assert_eq!(filled.source().url, "http://me:s3cret%2Fpw@h/x?token=s3cret%2Dquery");
    let said = "GET http://me:s3cret%2Fpw@h/x?token=s3cret-query k s3cret-key s3cret-literal \
                Basic bWU6czNjcmV0L3B3 s3cret/pw";
    let hidden = filled.hide(FetchError::permanent(said));
    assert!(hidden.is_permanent());
    assert_eq!(hidden.to_string(), "GET http://me:****@h/x?token=**** k **** **** Basic **** ****");
    assert!(!format!("{filled:?} {secrets:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_source_without_names_stays_as_it_is() {
    let config = r#"{ "a" : "x" , "n":1.0 }"#;
    let filled = Secrets::default().fill(&source(config)).await.unwrap();
    assert_eq!(filled.source().config.as_ref().unwrap().get(), config);
}

#[tokio::test]
async fn a_fetch_with_a_secret_stays_where_its_rule_lets_it_whatever_was_read_out_of_the_address() {
    let rules = Rules::read(r#"{"DB":{"hosts":["h","*.h","10.0.0.7"]}}"#).unwrap();
    let secrets = Secrets::new(None, &[], rules).with_variables(&[
        ("GIRASOL_SECRET_DB", "swordfish"),
        ("GIRASOL_SECRET_OTHER", "swordfish"),
    ]);
    let asked = |url: &'static str| async move {
        let url = url::Url::parse(url).unwrap();
        crate::net::Reach::default().check(&url).map_err(|refused| refused.why())
    };
    let filled = secrets.fill(&source(r#"{"x":"${secret:DB}"}"#)).await.unwrap();
    for (url, is_admitted) in [
        ("http://h/", true),
        ("postgresql://A.h:5432/d", true),
        ("redis://0x0a000007", true),
        ("http://elsewhere/", false),
        ("mongodb://10.0.0.8/", false),
        ("mysql://h.elsewhere/", false),
    ] {
        let expected = if is_admitted { Ok(()) } else { Err(crate::net::Why::Secret) };
        assert_eq!(filled.confine(asked(url)).await, expected, "{url}");
    }
    // What carries no secret, or one without a rule, goes anywhere.
    let free = secrets.fill(&source(r#"{"x":"${secret:OTHER}"}"#)).await.unwrap();
    assert_eq!(free.confine(asked("http://elsewhere/")).await, Ok(()));
    assert_eq!(asked("http://elsewhere/").await, Ok(()));
}

//! x
#![allow(clippy::all, clippy::pedantic, clippy::restriction, missing_docs)]
use std::time::Instant;
fn main() {
    let n: usize = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(1000);
    let mut files = protocol::opal::policy::Files::new();
    for i in 0..n {
        let prev = i.saturating_sub(1);
        let import = if i > 0 && i % 10 != 0 {
            format!("import data.app.m{prev} as prev\n")
        } else {
            String::new()
        };
        let body = if i > 0 && i % 10 != 0 { "\tprev.allow\n" } else { "" };
        files.insert(format!("app/m{i}/policy.rego"), format!("package app.m{i}\n\nimport rego.v1\n{import}\ndefault allow := false\n\nallow if {{\n\tsome role in data.roles[input.user]\n\tsome grant in data.grants[role]\n\tgrant.action == input.action\n\tgrant.type == input.type\n{body}}}\n\nlimit := object.get(input, [\"limit\"], 10)\n\nreasons contains sprintf(\"%s\", [input.user]) if not allow\n\nis_admin(u) if startswith(u, \"admin\")\n"));
    }
    files.insert("data.json".into(), r#"{"roles": {"a": ["b"]}, "grants": {}}"#.into());
    for _ in 0..3 {
        let t = Instant::now();
        let r = rego::gate::check(&files, &rego::gate::Options::default());
        println!("{n} modules: {:?} {:?}", t.elapsed(), r);
    }
}

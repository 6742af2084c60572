//! x
#![allow(clippy::all, clippy::pedantic, clippy::restriction, missing_docs)]
use std::process::Command;
fn body(kind: usize, n: usize) -> String {
    match kind {
        0 => format!("x := 1{}", " + 1".repeat(n)),
        1 => format!("a := {{}}\nx := a{}", ".b".repeat(n)),
        2 => format!("x := {}1", "-".repeat(n)),
        3 => format!("x := {}1{}", "abs(".repeat(n), ")".repeat(n)),
        4 => format!("x := {}1{}", "[1, ".repeat(n), "]".repeat(n)),
        5 => format!("x := {}0{}", "input[".repeat(n), "]".repeat(n)),
        6 => format!("x := {}1{}", "{\"b\": 1, \"a\": ".repeat(n), "}".repeat(n)),
        7 => format!("x := {}1{}", "[2, [1 | y := input.y; z := y] + ".repeat(n), "]".repeat(n)),
        8 => format!("x if {{ {} }}", "every y in [1] { ".repeat(n) + "y" + &"}".repeat(n)),
        9 => {
            (0..n).map(|at| format!("f{at}(x) := f{}(x)\n", at + 1)).collect::<String>()
                + &format!("f{n}(x) := x\nx if {{ f0(1) == 1 }}")
        }
        10 => {
            (0..n).map(|at| format!("r{at} := r{}\n", at + 1)).collect::<String>()
                + &format!("r{n} := 1\nx if {{ r0 == 1 }}")
        }
        11 => {
            (0..n)
                .map(|at| {
                    format!(
                        "r{at} if {{ input.y; some z in [1,2]; every q in [1] {{ r{} }} }}\n",
                        at + 1
                    )
                })
                .collect::<String>()
                + &format!("r{n} := 1\nx if {{ r0 == 1 }}")
        }
        12 => format!("x := {}1{}", "(".repeat(n), ")".repeat(n)),
        13 => format!("x := {}1{}", "{1 | input.y; y = ".repeat(n), "}".repeat(n)),
        _ => format!("x := 1{}", " | {1}".repeat(n)),
    }
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.len() > 2 {
        let (kind, n): (usize, usize) = (args[1].parse().unwrap(), args[2].parse().unwrap());
        let text = format!(
            "package a\nimport rego.v1\n{}\ntest_y if {{ x with input as {{\"y\": 1}} }}\n",
            body(kind, n)
        );
        let t = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
            let mut e = regorus::Engine::new();
            e.set_policy_length_config(regorus::PolicyLengthConfig {
                max_col: std::num::NonZeroU32::MAX,
                max_file_bytes: std::num::NonZeroUsize::MAX,
                max_lines: std::num::NonZeroUsize::MAX,
            });
            let r = e
                .add_policy("a.rego".into(), text)
                .and_then(|_| e.eval_rule("data.a.test_y".into()));
            match r {
                Ok(v) => println!("{v}"),
                Err(e) => println!(
                    "{}",
                    e.to_string().lines().rev().find(|l| l.contains("error")).unwrap_or("?")
                ),
            }
        });
        t.unwrap().join().unwrap();
        return;
    }
    for kind in [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14] {
        let ok = |n: usize| {
            let o =
                Command::new(&args[0]).args([kind.to_string(), n.to_string()]).output().unwrap();
            (o.status.success(), String::from_utf8_lossy(&o.stdout).trim().to_owned())
        };
        let (mut lo, mut hi) = (1, 1200);
        while hi - lo > 5 {
            let m = (lo + hi) / 2;
            if ok(m).0 { lo = m } else { hi = m }
        }
        println!("{kind}: {lo} {} | 10: {}", ok(lo).1, ok(10).1);
    }
}

//! Which commands may be run: those that only read.
//!
//! Whoever publishes an update chooses the command, and should be able to change nothing with
//! it, nor run a script. The usual commands are known here, so that a user who may do nothing
//! but read (`+@read`) is enough; for others the server is asked what they do.

use redis::Value;

/// Commands that read, as every version of Redis has them.
const READING: [&str; 41] = [
    "BITCOUNT",
    "BITPOS",
    "EXISTS",
    "GEOPOS",
    "GEOSEARCH",
    "GET",
    "GETBIT",
    "GETRANGE",
    "HEXISTS",
    "HGET",
    "HGETALL",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HSCAN",
    "HVALS",
    "JSON.GET",
    "JSON.MGET",
    "KEYS",
    "LINDEX",
    "LLEN",
    "LRANGE",
    "MGET",
    "SCAN",
    "SCARD",
    "SDIFF",
    "SINTER",
    "SISMEMBER",
    "SMEMBERS",
    "SMISMEMBER",
    "SSCAN",
    "STRLEN",
    "SUNION",
    "XRANGE",
    "XREVRANGE",
    "ZMSCORE",
    "ZRANGE",
    "ZRANGEBYSCORE",
    "ZREVRANGE",
    "ZSCAN",
    "ZSCORE",
];

/// Flags of a command that is not run although it reads: one that runs scripts, one that waits,
/// one after which the connection is another one's.
const REFUSED: [&str; 4] = ["noscript", "blocking", "pubsub", "admin"];

/// Whether a command is known to read without asking.
pub(super) fn is_known(name: &str) -> bool {
    READING.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// What `COMMAND INFO` says of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Reads,
    DoesNot,
    Unknown,
}

/// Reads an answer to `COMMAND INFO name name|subcommand`.
pub(super) fn judge(answer: &Value) -> Verdict {
    let Value::Array(commands) = answer else { return Verdict::Unknown };
    // The subcommand, where there is one, is what is run.
    match commands.iter().rev().find_map(flags) {
        None => Verdict::Unknown,
        Some(flags) if flags.contains(&"readonly") => {
            let refused = flags.iter().any(|flag| REFUSED.contains(flag));
            if refused { Verdict::DoesNot } else { Verdict::Reads }
        }
        Some(_) => Verdict::DoesNot,
    }
}

/// The third member of what is said of one command; `None` for one that is not known.
fn flags(command: &Value) -> Option<Vec<&str>> {
    let Value::Array(members) = command else { return None };
    let flags = match members.get(2)? {
        Value::Array(flags) | Value::Set(flags) => flags,
        _ => return None,
    };
    Some(flags.iter().filter_map(text).collect())
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::SimpleString(text) => Some(text),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(flags: &[&str]) -> Value {
        let flags = flags.iter().map(|&flag| Value::SimpleString(flag.to_owned())).collect();
        Value::Array(vec![Value::BulkString(b"x".to_vec()), Value::Int(2), Value::Set(flags)])
    }

    #[test]
    fn only_what_reads_and_neither_runs_scripts_nor_waits_is_run() {
        for (answer, verdict) in [
            (vec![command(&["readonly", "fast"])], Verdict::Reads),
            (vec![command(&["write"])], Verdict::DoesNot),
            (vec![command(&[])], Verdict::DoesNot),
            (vec![command(&["readonly", "noscript"])], Verdict::DoesNot),
            (vec![command(&["readonly", "blocking"])], Verdict::DoesNot),
            (vec![command(&[]), command(&["readonly"])], Verdict::Reads),
            (vec![command(&["readonly"]), command(&["write"])], Verdict::DoesNot),
            (vec![command(&["readonly"]), Value::Nil], Verdict::Reads),
            (vec![Value::Nil, Value::Nil], Verdict::Unknown),
            (vec![], Verdict::Unknown),
        ] {
            assert_eq!(judge(&Value::Array(answer.clone())), verdict, "{answer:?}");
        }
        assert_eq!(judge(&Value::Nil), Verdict::Unknown);
    }
}

//! The functions that OPA brings with it.

use regorus::unstable::BUILTINS;

use crate::functions;

/// Every built-in function of OPA 1.22 by the number of its arguments, sorted by name: what
/// `opa capabilities --current` lists without what a person cannot call. `print` takes any
/// number.
#[rustfmt::skip]
const OPA: [&[&str]; 5] = [
    &[
        "opa.runtime", "rego.metadata.chain", "rego.metadata.rule", "time.now_ns",
    ],
    &[
        "abs", "all", "any", "array.flatten", "array.reverse", "base64.decode", "base64.encode",
        "base64.is_valid", "base64url.decode", "base64url.encode", "base64url.encode_no_pad",
        "bits.negate", "cast_array", "cast_boolean", "cast_null", "cast_object", "cast_set",
        "cast_string", "ceil", "count", "crypto.md5", "crypto.parse_private_keys", "crypto.sha1",
        "crypto.sha256", "crypto.x509.parse_and_verify_certificates",
        "crypto.x509.parse_certificate_request", "crypto.x509.parse_certificates",
        "crypto.x509.parse_rsa_private_key", "floor", "glob.quote_meta", "graphql.parse_query",
        "graphql.parse_schema", "graphql.schema_is_valid", "hex.decode", "hex.encode", "http.send",
        "intersection", "io.jwt.decode", "is_array", "is_boolean", "is_null", "is_number",
        "is_object", "is_set", "is_string", "json.is_valid", "json.marshal", "json.unmarshal",
        "json.verify_schema", "lower", "max", "min", "net.cidr_expand", "net.cidr_is_valid",
        "net.cidr_merge", "net.lookup_ip_addr", "object.keys", "object.union_n", "product",
        "regex.is_valid", "round", "semver.is_valid", "sort", "strings.reverse", "sum",
        "time.clock", "time.date", "time.format", "time.parse_duration_ns", "time.parse_rfc3339_ns",
        "time.weekday", "to_number", "trace", "trim_space", "type_name", "union", "units.parse",
        "units.parse_bytes", "upper", "uri.is_valid", "uri.parse", "urlquery.decode",
        "urlquery.decode_object", "urlquery.encode", "urlquery.encode_object", "uuid.parse",
        "uuid.rfc4122", "walk", "yaml.is_valid", "yaml.marshal", "yaml.unmarshal",
    ],
    &[
        "and", "array.concat", "assign", "bits.and", "bits.lsh", "bits.or", "bits.rsh", "bits.xor",
        "concat", "contains", "crypto.hmac.equal", "crypto.hmac.md5", "crypto.hmac.sha1",
        "crypto.hmac.sha256", "crypto.hmac.sha512",
        "crypto.x509.parse_and_verify_certificates_with_options", "crypto.x509.parse_keypair",
        "div", "endswith", "eq", "equal", "format_int", "graph.reachable", "graph.reachable_paths",
        "graphql.is_valid", "graphql.parse", "graphql.parse_and_verify", "gt", "gte", "indexof",
        "indexof_n", "io.jwt.decode_verify", "io.jwt.verify_eddsa", "io.jwt.verify_es256",
        "io.jwt.verify_es384", "io.jwt.verify_es512", "io.jwt.verify_hs256", "io.jwt.verify_hs384",
        "io.jwt.verify_hs512", "io.jwt.verify_ps256", "io.jwt.verify_ps384", "io.jwt.verify_ps512",
        "io.jwt.verify_rs256", "io.jwt.verify_rs384", "io.jwt.verify_rs512", "json.filter",
        "json.marshal_with_options", "json.match_schema", "json.patch", "json.remove", "lt", "lte",
        "minus", "mul", "neq", "net.cidr_contains", "net.cidr_contains_matches",
        "net.cidr_intersects", "net.cidr_overlap", "numbers.range", "object.filter",
        "object.remove", "object.subset", "object.union", "or", "plus", "rand.intn", "re_match",
        "regex.globs_match", "regex.match", "regex.split", "rego.parse_module", "rem",
        "semver.compare", "set_diff", "split", "sprintf", "startswith", "strings.any_prefix_match",
        "strings.any_suffix_match", "strings.count", "strings.render_template", "strings.replace_n",
        "time.diff", "time.parse_ns", "trim", "trim_left", "trim_prefix", "trim_right",
        "trim_suffix",
    ],
    &[
        "array.slice", "glob.match", "io.jwt.encode_sign", "io.jwt.encode_sign_raw",
        "numbers.range_step", "object.get", "providers.aws.sign_req",
        "regex.find_all_string_submatch_n", "regex.find_n", "regex.replace", "replace",
        "strings.split_n", "substring",
    ],
    &[
        "regex.template_match", "time.add_date",
    ],
];

/// Whose functions a policy may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtins {
    /// Those of the embedded engine, which is to decide by the policy.
    Embedded,
    /// Those of OPA as well: which engine will decide is not known.
    Opa,
}

impl Builtins {
    /// True if there is such a function.
    pub(crate) fn have(self, name: &str) -> bool {
        name == "print" || is_embedded(name) || (self == Self::Opa && arguments(name).is_some())
    }
}

/// True if the embedded engine has the function.
pub(crate) fn is_embedded(name: &str) -> bool {
    BUILTINS.contains_key(name) || functions::have(name)
}

/// How many arguments one of OPA's functions takes; none for what is none.
pub(crate) fn arguments(name: &str) -> Option<usize> {
    OPA.iter().position(|names| names.binary_search(&name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_knows_opas_functions() {
        for names in OPA {
            assert!(names.is_sorted(), "{names:?}");
        }
        for (name, count) in [
            ("time.now_ns", Some(0)),
            ("io.jwt.decode", Some(1)),
            ("crypto.hmac.sha256", Some(2)),
            ("regex.replace", Some(3)),
            ("time.add_date", Some(4)),
            ("print", None),
            ("nofun", None),
        ] {
            assert_eq!(arguments(name), count, "{name}");
        }
    }

    #[test]
    fn the_gate_knows_every_function_that_either_engine_has() {
        for name in ["count", "print", "startswith"] {
            assert!(Builtins::Embedded.have(name) && Builtins::Opa.have(name), "{name}");
        }
        assert!(
            !Builtins::Embedded.have("graphql.is_valid") && Builtins::Opa.have("graphql.is_valid")
        );
        assert!(!Builtins::Embedded.have("nofun") && !Builtins::Opa.have("nofun"));
        for (name, (_, count)) in BUILTINS.iter() {
            let known = arguments(name).is_none_or(|arguments| arguments == usize::from(*count));
            assert!(known, "{name} takes {count} arguments here");
        }
    }
}

//! OPA's error documents.

use rego::{DecisionError, Location, Mistake, QueryError};
use serde::Serialize;

use crate::reply::{Reply, Style};

/// OPA's error document.
#[derive(Serialize)]
struct Failure<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Detail>,
}

#[derive(Serialize)]
struct Detail {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Place>,
}

#[derive(Serialize)]
struct Place {
    file: String,
    row: u32,
    col: u32,
}

/// What the words of a mistake make of its code; the first that fits.
const CODES: &[(&str, &str)] = &[
    ("unsafe built-in", "rego_type_error"),
    ("unsafe", "rego_unsafe_var_error"),
    ("recursi", "rego_recursion_error"),
    ("has arity", "rego_type_error"),
    ("undefined function", "rego_type_error"),
    ("used before definition", "rego_compile_error"),
    ("could not find function", "rego_type_error"),
    ("expects", "rego_type_error"),
    ("conflicting rule", "rego_compile_error"),
];

// === impl Reply ===

impl Reply {
    /// A refusal in OPA's form.
    #[must_use]
    pub fn refusal(status: u16, code: &'static str, message: &str) -> Self {
        Self::json(status, &Failure { code, message, errors: Vec::new() }, Style::Pretty)
    }

    /// 400, for what cannot be read.
    #[must_use]
    pub fn invalid_parameter(message: &str) -> Self {
        Self::refusal(400, "invalid_parameter", message)
    }

    /// 404: there is nothing at that place, or of that name.
    #[must_use]
    pub fn not_there(what: &str) -> Self {
        Self::refusal(404, "resource_not_found", &format!("storage_not_found_error: {what}"))
    }

    /// 500: there is no decision.
    #[must_use]
    pub fn failed(error: &DecisionError) -> Self {
        let (message, errors) = match error {
            DecisionError::Path(reason) => {
                (format!("invalid_parameter: invalid path: {reason}"), Vec::new())
            }
            // OPA has no such limits; of what is given up for another reason it says this.
            DecisionError::TooLong | DecisionError::TooMuch => {
                let message = error.to_string();
                (
                    "error(s) occurred while evaluating query".to_owned(),
                    vec![Detail { code: "eval_cancel_error", message, location: None }],
                )
            }
            DecisionError::Evaluation { message, location } => {
                let conflict = message.contains("conflict") || message.contains("multiple outputs");
                let code = if conflict { "eval_conflict_error" } else { "eval_internal_error" };
                let location = location.as_ref().map(Place::of);
                (
                    "error(s) occurred while evaluating query".to_owned(),
                    vec![Detail { code, message: message.clone(), location }],
                )
            }
        };
        Self::json(
            500,
            &Failure { code: "internal_error", message: &message, errors },
            Style::Pretty,
        )
    }

    /// 400, or 500: a query has no answer.
    #[must_use]
    pub fn unanswered(error: &QueryError) -> Self {
        let (message, code, mistake) = match error {
            QueryError::Empty => return Self::refusal(500, "internal_error", &error.to_string()),
            QueryError::Evaluation(error) => return Self::failed(error),
            QueryError::Parse(mistake) => ("parsing query", "rego_parse_error", mistake),
            QueryError::Compile(mistake) => ("compiling query", code_of(mistake), mistake),
        };
        let message = format!("error(s) occurred while {message}");
        let errors = vec![Detail::of(code, mistake)];
        Self::json(
            400,
            &Failure { code: "invalid_parameter", message: &message, errors },
            Style::Pretty,
        )
    }

    /// 400: modules do not compile. `code` is `invalid_parameter` for what was to be added,
    /// `invalid_operation` for what was to be taken away.
    #[must_use]
    pub fn uncompiled(code: &'static str, mistakes: &[Mistake], are_unreadable: bool) -> Self {
        let of = |mistake: &Mistake| match are_unreadable {
            true => Detail::of("rego_parse_error", mistake),
            false => Detail::of(code_of(mistake), mistake),
        };
        let errors = mistakes.iter().map(of).collect();
        let message = "error(s) occurred while compiling module(s)";
        Self::json(400, &Failure { code, message, errors }, Style::Pretty)
    }

    /// 501: there is another way to do it.
    #[must_use]
    pub fn written_through_girasol() -> Self {
        let message = "data and policies are written through Girasol: publish an update, for \
                       example with `edge-agent publish-data-update`";
        Self::refusal(501, "invalid_operation", message)
    }

    /// 501: OPA has it, and this engine does not.
    #[must_use]
    pub fn not_served(what: &str) -> Self {
        let message = format!(
            "the embedded engine does not serve {what}; leave it out, or run the agent with \
             --engine opa"
        );
        Self::refusal(501, "invalid_operation", &message)
    }
}

fn code_of(mistake: &Mistake) -> &'static str {
    let fitting = CODES.iter().find(|(words, _)| mistake.reason.contains(words));
    fitting.map_or("rego_compile_error", |(_, code)| code)
}

impl Detail {
    fn of(code: &'static str, mistake: &Mistake) -> Self {
        let Mistake { file, row, column, reason } = mistake;
        let location = Place { file: file.clone(), row: *row, col: *column };
        Self { code, message: reason.clone(), location: Some(location) }
    }
}

impl Place {
    fn of(location: &Location) -> Self {
        Self { file: location.file.clone(), row: location.row, col: location.col }
    }
}

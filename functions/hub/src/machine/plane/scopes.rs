//! Scopes, which group facts of a domain under an id of the application's, and own types of facts.

use protocol::limits;
use protocol::plane::{Question, Refusal};
use serde::{Deserialize, Serialize};
use vault::types::{self, BUILT_IN, Pattern, built_in};

use super::super::policy::{get, put};
use super::super::unanswered;
use super::facts::scope_key;
use super::totals::{Thing, Total};
use super::{Done, Step};

/// The scopes of a domain.
const SCOPES: &str = "plane/scopes/";
/// The types of a domain.
const TYPES: &str = "plane/types/";

/// A scope, as it is kept and shown.
#[derive(Serialize, Deserialize)]
pub(super) struct Scope {
    id: String,
    custom_id: String,
}

/// An own type, as it is kept.
#[derive(Serialize, Deserialize)]
struct Own {
    id: String,
    slug: String,
    validation: Option<String>,
}

/// A type, as it is shown.
#[derive(Serialize)]
struct Shown<'t> {
    id: String,
    slug: &'t str,
    built_in: bool,
    validation: Option<&'t str>,
}

impl Step<'_> {
    pub(super) fn create_scope(
        &mut self,
        id: String,
        custom_id: &str,
        question: &Question,
    ) -> Result<Done, Refusal> {
        if custom_id.is_empty() {
            return Err(Refusal::validation("custom_id: it may not be empty"));
        }
        Done::shown(&self.scope(&question.domain, custom_id, id)?)
    }

    /// The scope of this custom id; a new one if there is none.
    pub(super) fn scope(
        &mut self,
        domain: &str,
        custom_id: &str,
        id: String,
    ) -> Result<Scope, Refusal> {
        let name = scope_name(domain, custom_id);
        if let Some(scope) = get(self.log, &name)? {
            return Ok(scope);
        }
        let of_domain = format!("scopes/{domain}");
        let total = Total::read(self.log, &of_domain, |log, name| {
            Ok(log.document(name).map_err(unanswered)?.is_some())
        })?;
        let limit = self.settings.plane.domain_scopes;
        if total.count >= limit {
            return Err(Refusal::new(
                409,
                "too many scopes",
                format!("{domain} has {limit} scopes, which is the limit; use one of those"),
            ));
        }
        total.making(self.log, &of_domain, Thing { id: name.clone(), size: 0 })?;
        let scope = Scope { id, custom_id: custom_id.to_owned() };
        put(self.log, &name, &scope)?;
        Ok(scope)
    }

    pub(super) fn show_scope(&self, custom_id: &str, question: &Question) -> Result<Done, Refusal> {
        let scope: Option<Scope> = get(self.log, &scope_name(&question.domain, custom_id))?;
        Done::shown(&scope.ok_or_else(Refusal::not_found)?)
    }

    pub(super) fn create_fact_type(
        &mut self,
        own: (String, String, Option<String>),
        question: &Question,
    ) -> Result<Done, Refusal> {
        let (id, slug, validation) = own;
        let limit = limits::MAX_SLUG_BYTES;
        let is_plain =
            |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"_-".contains(&it);
        if !(1..=limit).contains(&slug.len()) || !slug.bytes().all(is_plain) {
            return Err(Refusal::validation(format!(
                "slug: give 1 to {limit} small letters, digits, `_` or `-`"
            )));
        }
        if built_in(&slug).is_some() {
            return Err(Refusal::validation(format!(
                "slug: `{slug}` is built in; choose another name"
            )));
        }
        if let Some(pattern) = &validation {
            Pattern::new(pattern).map_err(Refusal::validation)?;
        }
        let name = type_name(&question.domain, &slug);
        if get::<Own>(self.log, &name)?.is_some() {
            return Err(Refusal::validation(format!(
                "slug: there is a type `{slug}`, and facts may be of it; choose another name"
            )));
        }
        let count = self.log.count(&type_name(&question.domain, "")).map_err(unanswered)?;
        if count >= limits::MAX_FACT_TYPES {
            return Err(Refusal::new(
                409,
                "too many types",
                format!(
                    "{} has {count} own types of facts, which is the limit; use those",
                    question.domain
                ),
            ));
        }
        let own = Own { id, slug, validation };
        put(self.log, &name, &own)?;
        Done::shown(&own.shown())
    }

    pub(super) fn list_fact_types(
        &self,
        slug: Option<&str>,
        is_built_in: Option<bool>,
        question: &Question,
    ) -> Result<Done, Refusal> {
        let mut own = vec![];
        let prefix = type_name(&question.domain, "");
        for name in self.log.names(&prefix).map_err(unanswered)? {
            own.extend(get::<Own>(self.log, &name)?);
        }
        let all = BUILT_IN.iter().map(|it| Shown {
            id: format!("type_{}", it.slug),
            slug: it.slug,
            built_in: true,
            validation: Some(it.validation),
        });
        let all = all.chain(own.iter().map(Own::shown));
        let wanted = all.filter(|it| {
            slug.is_none_or(|slug| slug == it.slug)
                && is_built_in.is_none_or(|wanted| wanted == it.built_in)
        });
        Done::shown(&wanted.collect::<Vec<_>>())
    }

    /// Checks that a value is of a type of this name.
    pub(super) fn check_value(&self, domain: &str, slug: &str, value: &str) -> Result<(), Refusal> {
        let checked = match (built_in(slug), get::<Own>(self.log, &type_name(domain, slug))?) {
            (Some(built_in), _) => built_in.check(value),
            (None, Some(Own { validation: Some(pattern), .. })) => {
                Pattern::new(&pattern).and_then(|pattern| pattern.check(value))
            }
            (None, Some(Own { validation: None, .. })) => types::check_size(value),
            (None, None) => Err("fact_type_slug: there is no such type; GET /api/v1/fact_types \
                                 lists those that are built in and your own"
                .to_owned()),
        };
        checked.map_err(Refusal::validation)
    }
}

impl Own {
    fn shown(&self) -> Shown<'_> {
        let Self { id, slug, validation } = self;
        Shown { id: id.clone(), slug, built_in: false, validation: validation.as_deref() }
    }
}

fn scope_name(domain: &str, custom_id: &str) -> String {
    format!("{SCOPES}{domain}/{}", scope_key(custom_id))
}

fn type_name(domain: &str, slug: &str) -> String {
    format!("{TYPES}{domain}/{slug}")
}

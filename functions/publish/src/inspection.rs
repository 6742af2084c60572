//! The log as people see it: with no credential, as [`protocol::credentials::show`] tells what
//! one is. An agent needs an entry's `config` with all of them; who reads the log does not.
//! Inline data is shown: who may read a topic may read its data.

use protocol::credentials::show;
use protocol::internal::LogPage;

/// Hides every credential of a page.
pub fn hide_credentials(page: &mut LogPage) {
    for update in &mut page.updates {
        update.callback = update.callback.as_deref().map(show::callback);
        update.entries.iter_mut().for_each(show::hide);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_credential_of_a_page_is_shown_and_its_data_is() {
        let mut page = serde_json::from_value::<LogPage>(json!({
            "epoch": "e", "head": 1, "floor": 0,
            "updates": [{"seq": 1, "prev": 0, "id": "u", "at": 1, "places": [0],
                "entries": [{
                    "url": "https://user:s3cret@h/p",
                    "config": {"headers": {"X-Key": "s3cret"}},
                    "topics": ["t"], "dst_path": "/a", "save_method": "PUT",
                    "data": {"plan": "shown"},
                }],
                "callback": {"callbacks": [["http://h/done", {"headers": {"k": "s3cret"}}]]}}],
        }))
        .unwrap();
        hide_credentials(&mut page);
        let text = serde_json::to_string(&page).unwrap();
        assert!(!text.contains("s3cret") && text.contains("http://h/done"), "{text}");
        assert!(text.contains(r#""data":{"plan":"shown"}"#), "{text}");
    }
}

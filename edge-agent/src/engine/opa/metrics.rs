//! What OPA says it has done: the page `GET /metrics`, in Prometheus' text format.

/// The requests that OPA has answered.
const REQUESTS: &str = "http_request_duration_seconds_count{";

/// True for the status of a write that was done.
pub(super) fn is_done(status: &str) -> bool {
    matches!(status, "200" | "204")
}

/// How many writes of policies and data OPA has done since it started.
pub(super) fn writes(page: &str) -> u64 {
    page.lines().filter_map(|line| line.strip_prefix(REQUESTS)).filter_map(done).sum()
}

/// The count of one line, if it is about writes that were done.
fn done(line: &str) -> Option<u64> {
    let (labels, count) = line.split_once('}')?;
    let label = |name: &str| {
        let mut labels = labels.split(',').filter_map(|label| label.split_once('='));
        labels.find(|(label, _)| *label == name).map(|(_, value)| value.trim_matches('"'))
    };
    let is_write = is_done(label("code")?)
        && matches!(label("handler")?, "v1/data" | "v1/policies")
        && matches!(label("method")?, "put" | "patch" | "delete");
    count.trim().parse().ok().filter(|_| is_write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_writes_that_were_done_count() {
        let page = r#"# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{code="204",handler="v1/data",method="put",le="1"} 9
http_request_duration_seconds_count{code="204",handler="v1/data",method="put"} 3
http_request_duration_seconds_count{code="204",handler="v1/data",method="patch"} 20
http_request_duration_seconds_count{code="404",handler="v1/data",method="patch"} 100
http_request_duration_seconds_count{code="304",handler="v1/data",method="put"} 100
http_request_duration_seconds_count{code="200",handler="v1/data",method="get"} 100
http_request_duration_seconds_count{code="200",handler="v1/policies",method="delete"} 400
"#;
        assert_eq!(writes(page), 423);
        assert_eq!(writes(""), 0);
    }
}

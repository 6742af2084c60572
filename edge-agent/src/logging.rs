//! Log lines, on standard error: for people, or one JSON object a line.

use std::any::Any;
use std::io::{self, IsTerminal as _};
use std::panic;

use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::settings::LogFormat;

/// Sends log lines from `level` up to standard error, for the rest of the process.
/// Libraries speak from `warn` up: what they say below that is about themselves.
pub fn init(level: Level, format: LogFormat) {
    let level = LevelFilter::from_level(level);
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(env!("CARGO_CRATE_NAME"), level);
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = layer(format, colours, io::stderr);
    // Fails only if there is a subscriber already, as in a test.
    let _ = Registry::default().with(lines.with_filter(targets)).try_init();
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(%place, words = words(panic.payload()), "a panic");
    }));
}

/// What a panic says, if it is in the code in so many words. Words that were put together may
/// have anything in them that was at hand.
fn words(payload: &dyn Any) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("not shown: it may hold data")
}

fn layer<W>(format: LogFormat, colours: bool, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer).with_target(false).with_ansi(colours);
    match format {
        LogFormat::Text => lines.compact().boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = Registry::default().with(layer(format, false, move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(seq = 7, url = "http://h/x", "fetch failed");
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_is_one_flat_object() {
        let line = written(LogFormat::Json);
        let object: serde_json::Value = serde_json::from_str(line.trim_end()).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        let members: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["level", "message", "seq", "timestamp", "url"]);
        assert_eq!((&object["level"], &object["seq"]), (&"WARN".into(), &7.into()));
    }

    #[test]
    fn of_a_panic_only_the_codes_own_words_are_shown() {
        let held = "s3cret".to_owned();
        for (panic, shown) in [
            (panic::catch_unwind(|| panic!("in the code")), "in the code"),
            (panic::catch_unwind(|| panic!("at {held}")), "not shown: it may hold data"),
        ] {
            assert_eq!(words(&*panic.unwrap_err()), shown);
        }
    }

    #[test]
    fn a_text_line_has_the_level_the_message_and_the_fields() {
        let line = written(LogFormat::Text);
        assert!(line.contains(" WARN fetch failed seq=7 url=\"http://h/x\""), "{line}");
    }
}

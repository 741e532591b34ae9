//! Pages for people: the browsable API, and the built-in mailbox.
//!
//! What always holds: a page loads nothing from elsewhere and runs no script that is not ours; a
//! message is shown in a sandbox.

pub mod docs;
pub mod mailbox;

/// Text for HTML, also within quoted attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_breaks_out_of_an_attribute() {
        assert_eq!(super::escape("<a b='c\"&"), "&lt;a b=&#39;c&quot;&amp;");
    }
}

//! A writer of markup that cannot be ill-formed: elements close themselves, and all text is escaped.

/// Attributes of an element.
pub(crate) type Attributes<'a> = &'a [(&'static str, &'a str)];

/// Markup as it grows.
#[derive(Default)]
pub(crate) struct Markup {
    out: String,
}

impl Markup {
    /// An element with whatever `body` writes inside.
    pub(crate) fn element(
        &mut self,
        tag: &'static str,
        attributes: Attributes,
        body: impl FnOnce(&mut Self),
    ) {
        self.start(tag, attributes);
        self.out.push('>');
        body(self);
        self.out.push_str("</");
        self.out.push_str(tag);
        self.out.push('>');
    }

    /// An element that holds text.
    pub(crate) fn leaf(&mut self, tag: &'static str, attributes: Attributes, text: &str) {
        self.element(tag, attributes, |inside| inside.text(text));
    }

    /// An element that holds text, unless the text is empty.
    pub(crate) fn leaf_if_any(&mut self, tag: &'static str, attributes: Attributes, text: &str) {
        if !text.is_empty() {
            self.leaf(tag, attributes, text);
        }
    }

    /// An element without contents: a void element of HTML or a shape of SVG.
    pub(crate) fn empty(&mut self, tag: &'static str, attributes: Attributes) {
        self.start(tag, attributes);
        self.out.push_str("/>");
    }

    /// Text, escaped.
    pub(crate) fn text(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\'' => self.out.push_str("&#39;"),
                '\n' | '\t' => self.out.push(character),
                // Neither HTML nor XML admits the other control characters.
                control if control.is_control() => self.out.push(char::REPLACEMENT_CHARACTER),
                other => self.out.push(other),
            }
        }
    }

    /// Markup known at compile time, such as the style sheet; never text from a document.
    pub(crate) fn verbatim(&mut self, markup: &'static str) {
        self.out.push_str(markup);
    }

    /// All that was written.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    fn start(&mut self, tag: &'static str, attributes: Attributes) {
        self.out.push('<');
        self.out.push_str(tag);
        for (name, value) in attributes {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            self.text(value);
            self.out.push('"');
        }
    }
}

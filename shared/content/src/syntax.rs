//! The closed list of what a template may say.
//!
//! The template engine can do more than a mail needs, and what it can do has a price: strings that
//! double, sequences of a hundred million items, calls into objects. So the source is split here
//! and every expression is checked token by token: values, paths, comparisons, a list of filters
//! and tests; `if` and `for`. A `for` runs only over given data, so that the only things that a
//! name can stand for are given values: no expression can feed a longer text back into itself.

use crate::{
    engine::{FILTERS, TESTS},
    problem::Problems,
    template::{ROOTS, UNSUBSCRIBE_URL},
};

const CODE_MAX_BYTES: usize = 1024;
const JOINS_MAX: usize = 16;
const LOOP_DEPTH_MAX: usize = 3;
const BLOCK_DEPTH_MAX: usize = 24;
const TOKENS_MAX: usize = 200;
const PIECES_MAX: usize = 5_000;

/// One stretch of a template.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece<'a> {
    /// Text outside of any braces.
    Text { text: &'a str, offset: usize },
    /// `{{ ... }}`
    Expression(Code<'a>),
    /// `{% ... %}`
    Tag(Code<'a>),
    /// `{# ... #}`
    Comment,
}

/// Code in braces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code<'a> {
    /// With its braces.
    pub(crate) raw: &'a str,
    /// Between them, trimmed.
    pub(crate) inner: &'a str,
    pub(crate) offset: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Text,
    Number,
    Sign(&'a str),
}

/// The source without its comments.
pub(crate) fn without_comments(pieces: &[Piece<'_>]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text { text, .. } => text,
            Piece::Expression(code) | Piece::Tag(code) => code.raw,
            Piece::Comment => "",
        })
        .collect()
}

/// Splits a source and checks all code in it.
pub(crate) fn split<'a>(source: &'a str, problems: &mut Problems<'_>) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut depth = Depth::default();
    let mut at = 0;
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(open) = find_open(rest) else {
            pieces.push(Piece::Text { text: rest, offset: at });
            break;
        };
        if let Some(text) = rest.get(..open).filter(|text| !text.is_empty()) {
            pieces.push(Piece::Text { text, offset: at });
        }
        at += open;
        let Some((piece, len)) = read_code(source, at) else {
            problems.at(at, "syntax", "a brace is opened and never closed", "close it");
            break;
        };
        match piece {
            Piece::Expression(code) => check_expression(code, problems),
            Piece::Tag(code) => check_tag(code, &mut depth, problems),
            Piece::Text { .. } | Piece::Comment => {}
        }
        pieces.push(piece);
        at += len;
        if pieces.len() > PIECES_MAX {
            problems.whole(
                "too_complex",
                format!("more than {PIECES_MAX} expressions and texts"),
                "make the template simpler",
            );
            break;
        }
    }
    pieces
}

fn find_open(text: &str) -> Option<usize> {
    text.as_bytes().windows(2).position(|pair| matches!(pair, b"{{" | b"{%" | b"{#"))
}

/// The code that opens at `at`, and its length with braces.
fn read_code(source: &str, at: usize) -> Option<(Piece<'_>, usize)> {
    let rest = source.get(at..)?;
    let inside = rest.get(2..)?;
    if rest.starts_with("{#") {
        return Some((Piece::Comment, inside.find("#}")? + 4));
    }
    let close = if rest.starts_with("{{") { "}}" } else { "%}" };
    let end = find_close(inside, close)?;
    let raw = rest.get(..end + 4)?;
    let inner = inside.get(..end)?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let inner = inner.strip_suffix(['-', '+']).unwrap_or(inner).trim();
    let code = Code { raw, inner, offset: at };
    let piece = if close == "}}" { Piece::Expression(code) } else { Piece::Tag(code) };
    Some((piece, end + 4))
}

/// Where `close` stands first outside of quoted text.
fn find_close(inside: &str, close: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if inside.get(at..).is_some_and(|rest| rest.starts_with(close)) => {
                return Some(at);
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            None => {}
        }
    }
    None
}

fn tokens(code: Code<'_>) -> Vec<Token<'_>> {
    let mut list = Vec::new();
    let mut rest = code.inner;
    while let Some(c) = rest.chars().next() {
        let len = if c.is_whitespace() {
            rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len())
        } else if c == '"' || c == '\'' {
            list.push(Token::Text);
            quoted_len(rest, c)
        } else if c.is_alphabetic() || c == '_' {
            let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            list.push(Token::Word(rest.get(..len).unwrap_or("")));
            len
        } else if c.is_ascii_digit() {
            list.push(Token::Number);
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else {
            let two = ["==", "!=", "<=", ">=", "//", "**"];
            let sign = rest.get(..2).filter(|pair| two.contains(pair));
            let sign = sign.or_else(|| rest.get(..c.len_utf8())).unwrap_or("");
            list.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest.get(len.max(1)..).unwrap_or("");
    }
    list
}

fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

fn check_expression(code: Code<'_>, problems: &mut Problems<'_>) {
    check_tokens(code, &tokens(code), problems);
}

/// How many blocks are open: the engine's parser calls itself for each.
#[derive(Default)]
struct Depth {
    loops: usize,
    blocks: usize,
}

fn check_tag(code: Code<'_>, depth: &mut Depth, problems: &mut Problems<'_>) {
    let list = tokens(code);
    match list.as_slice() {
        [Token::Word("if"), rest @ ..] => {
            depth.blocks += 1;
            check_depth(code, depth, problems);
            check_tokens(code, rest, problems);
        }
        [Token::Word("elif"), rest @ ..] => check_tokens(code, rest, problems),
        [Token::Word("else")] => {}
        [Token::Word("endif")] => depth.blocks = depth.blocks.saturating_sub(1),
        [Token::Word("endfor")] => {
            depth.loops = depth.loops.saturating_sub(1);
            depth.blocks = depth.blocks.saturating_sub(1);
        }
        [Token::Word("for"), rest @ ..] => {
            depth.loops += 1;
            depth.blocks += 1;
            check_depth(code, depth, problems);
            check_loop(code, rest, problems);
        }
        [Token::Word(word), ..] => problems.at(
            code.offset,
            "unknown_tag",
            format!("\"{word}\" is not available in templates"),
            "use if, elif, else, endif, for and endfor",
        ),
        [] | [Token::Text | Token::Number | Token::Sign(_), ..] => {
            problems.at(code.offset, "syntax", "a tag begins with a word", "write if or for");
        }
    }
}

fn check_depth(code: Code<'_>, depth: &Depth, problems: &mut Problems<'_>) {
    let message = if depth.loops > LOOP_DEPTH_MAX {
        format!("more than {LOOP_DEPTH_MAX} loops inside one another")
    } else if depth.blocks == BLOCK_DEPTH_MAX + 1 {
        format!("more than {BLOCK_DEPTH_MAX} conditions and loops inside one another")
    } else {
        return;
    };
    let help = "prepare the data before it comes to the template";
    problems.at(code.offset, "too_complex", message, help);
}

/// `for NAME[, NAME] in PATH[slice] [| filter ...] [if CONDITION]`
fn check_loop(code: Code<'_>, list: &[Token<'_>], problems: &mut Problems<'_>) {
    let names = list.split(|token| *token == Token::Word("in")).next().unwrap_or(&[]);
    for token in names {
        if let Token::Word(name) = token
            && (ROOTS.contains(name) || [UNSUBSCRIBE_URL, "loop"].contains(name))
        {
            problems.at(
                code.offset,
                "shadowed_name",
                format!("the loop gives \"{name}\" another meaning"),
                "choose another name for the loop's item",
            );
        }
    }
    let after = list.get(names.len() + 1..).unwrap_or(&[]);
    let source = after.split(|token| *token == Token::Word("if")).next().unwrap_or(&[]);
    let plain = source.iter().all(|token| match token {
        Token::Word(word) => !["recursive", "else", "not", "and", "or"].contains(word),
        Token::Number => true,
        Token::Sign(sign) => [".", "[", "]", ":", "|", "-"].contains(sign),
        Token::Text => false,
    });
    let recursive = list.contains(&Token::Word("recursive"));
    if !plain || recursive || !matches!(source.first(), Some(Token::Word(_))) {
        problems.at(
            code.offset,
            "loop_source",
            "a loop runs over a list that the data holds",
            "write {% for item in run.items %}; a slice such as run.items[:3] is possible",
        );
    }
    check_tokens(code, after, problems);
}

fn check_tokens(code: Code<'_>, list: &[Token<'_>], problems: &mut Problems<'_>) {
    if code.inner.len() > CODE_MAX_BYTES || list.len() > TOKENS_MAX {
        problems.at(
            code.offset,
            "too_complex",
            format!("an expression of more than {CODE_MAX_BYTES} bytes or {TOKENS_MAX} words"),
            "split it into several",
        );
        return;
    }
    if list.is_empty() {
        problems.at(code.offset, "syntax", "there is nothing between the braces", "name a field");
    }
    let joins = list.iter().filter(|token| matches!(token, Token::Sign("~" | "+"))).count();
    if joins > JOINS_MAX {
        problems.at(
            code.offset,
            "too_complex",
            format!("more than {JOINS_MAX} joined values in one expression"),
            "write the values one after the other in the text",
        );
    }
    for (at, token) in list.iter().enumerate() {
        let before = |back: usize| at.checked_sub(back).and_then(|at| list.get(at)).copied();
        if let Some((code_word, message, help)) =
            fault(*token, before(1), before(2), list.get(at + 1))
        {
            problems.at(code.offset, code_word, message, &help);
        }
    }
    check_subscripts(code, list, problems);
}

type Fault = (&'static str, String, String);

fn fault(
    token: Token<'_>,
    before: Option<Token<'_>>,
    before2: Option<Token<'_>>,
    after: Option<&Token<'_>>,
) -> Option<Fault> {
    let fault = |code, message: String, help: String| Some((code, message, help));
    match token {
        Token::Word(word) if before == Some(Token::Sign("|")) && !FILTERS.contains(&word) => fault(
            "unknown_filter",
            format!("there is no filter \"{word}\""),
            format!("available are {}", FILTERS.join(", ")),
        ),
        Token::Word(word)
            if (before == Some(Token::Word("is"))
                || (before == Some(Token::Word("not")) && before2 == Some(Token::Word("is"))))
                && word != "not"
                && !TESTS.contains(&word) =>
        {
            fault(
                "unknown_test",
                format!("there is no test \"{word}\""),
                format!("available are {}", TESTS.join(", ")),
            )
        }
        Token::Word(word) if word.starts_with('_') => fault(
            "unknown_variable",
            format!("\"{word}\" begins with an underscore"),
            "such names are reserved; name a field".into(),
        ),
        Token::Word(word)
            if ["self", "super", "caller", "varargs"].contains(&word)
                && before != Some(Token::Sign(".")) =>
        {
            fault("unknown_variable", format!("nothing provides \"{word}\""), "name a field".into())
        }
        Token::Word(word) if after == Some(&Token::Sign("(")) => {
            let operator = ["and", "or", "not", "in", "if", "else", "is"].contains(&word)
                && before != Some(Token::Sign("."));
            let called = matches!(before, Some(Token::Sign("|") | Token::Word("is" | "not")));
            let cycle = word == "cycle"
                && before == Some(Token::Sign("."))
                && before2 == Some(Token::Word("loop"));
            if operator || called || cycle {
                return None;
            }
            fault(
                "unknown_function",
                format!("\"{word}(...)\" is a call, and templates call nothing"),
                "use a field or a filter".into(),
            )
        }
        Token::Sign("*" | "**") => fault(
            "unknown_operator",
            "multiplication is written as a filter".into(),
            "write {{ item.price|times(item.quantity) }}".into(),
        ),
        Token::Sign("{" | "}") => fault(
            "unknown_operator",
            "maps cannot be written in a template".into(),
            "use the fields of the data".into(),
        ),
        Token::Word(_) | Token::Text | Token::Number | Token::Sign(_) => None,
    }
}

/// Square brackets pick an item or a slice of a value by number; they build nothing.
fn check_subscripts(code: Code<'_>, list: &[Token<'_>], problems: &mut Problems<'_>) {
    for (at, token) in list.iter().enumerate() {
        if *token != Token::Sign("[") {
            continue;
        }
        let before = at.checked_sub(1).and_then(|at| list.get(at));
        let keywords = ["in", "is", "and", "or", "not", "if", "else"];
        let subject = match before {
            Some(Token::Word(word)) => !keywords.contains(word),
            Some(Token::Sign(sign)) => ["]", ")"].contains(sign),
            Some(Token::Text | Token::Number) | None => false,
        };
        let numbers = list
            .get(at + 1..)
            .unwrap_or(&[])
            .iter()
            .take_while(|token| **token != Token::Sign("]"))
            .all(|token| matches!(token, Token::Number | Token::Sign(":" | "-")));
        if !subject || !numbers {
            problems.at(
                code.offset,
                "unknown_operator",
                "square brackets pick an item by its number",
                "write run.items[0] or run.items[:3]; fields are written with a dot",
            );
        }
    }
}

//! The template engine, set up so that a template can reach nothing and can cost nothing.
//!
//! Undefined values are errors, there are no functions and no loader, filters and tests are the
//! ones listed here, and each render has an allowance of instructions.

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, escape_formatter, filters,
    tests, value::ValueKind,
};

use crate::problem::{Part, Problems};

/// Brackets around link numbers in rendered text until the links are filled in. Unicode reserves
/// both for internal use; they are removed from merged values and refused in sources.
pub(crate) const MARKS: [char; 2] = ['\u{FDD0}', '\u{FDD1}'];

/// Instructions that one part of one message may take.
const FUEL: u64 = 50_000;
/// The longest text that a filter makes, in bytes.
const FILTER_MAX_BYTES: usize = 64 * 1024;

/// The filters that templates may use.
pub(crate) const FILTERS: [&str; 20] = [
    "abs",
    "capitalize",
    "count",
    "d",
    "default",
    "first",
    "float",
    "int",
    "join",
    "last",
    "length",
    "lower",
    "money",
    "replace",
    "round",
    "times",
    "title",
    "trim",
    "upper",
    "urlencode",
];
/// The tests that templates may use.
pub(crate) const TESTS: [&str; 9] =
    ["defined", "divisibleby", "even", "false", "iterable", "number", "odd", "string", "true"];

/// An engine without templates.
pub(crate) fn environment() -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(32);
    env.set_auto_escape_callback(|name| {
        if name == Part::Html.as_str() { AutoEscape::Html } else { AutoEscape::None }
    });
    env.set_formatter(|out, state, value| match value.kind() {
        ValueKind::None => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::Map | ValueKind::Seq | ValueKind::Iterable | ValueKind::Plain => {
            Err(Error::new(ErrorKind::InvalidOperation, "only single values are printed"))
        }
        _ => escape_formatter(out, state, value),
    });
    add_filters(&mut env);
    env.add_test("defined", tests::is_defined);
    env.add_test("divisibleby", tests::is_divisibleby);
    env.add_test("even", tests::is_even);
    env.add_test("false", tests::is_false);
    env.add_test("iterable", tests::is_iterable);
    env.add_test("number", tests::is_number);
    env.add_test("odd", tests::is_odd);
    env.add_test("string", tests::is_string);
    env.add_test("true", tests::is_true);
    env
}

fn add_filters(env: &mut Environment<'static>) {
    env.add_filter("abs", filters::abs);
    env.add_filter("capitalize", filters::capitalize);
    env.add_filter("count", filters::length);
    env.add_filter("d", filters::default);
    env.add_filter("default", filters::default);
    env.add_filter("first", filters::first);
    env.add_filter("float", filters::float);
    env.add_filter("int", filters::int);
    env.add_filter("join", join);
    env.add_filter("last", filters::last);
    env.add_filter("length", filters::length);
    env.add_filter("lower", filters::lower);
    env.add_filter("money", money);
    env.add_filter("replace", replace);
    env.add_filter("round", filters::round);
    env.add_filter("times", times);
    env.add_filter("title", filters::title);
    env.add_filter("trim", filters::trim);
    env.add_filter("upper", filters::upper);
    env.add_filter("urlencode", filters::urlencode);
}

/// The variables of a source, as dotted paths, in order; syntax errors become problems.
pub(crate) fn variables(source: &str, problems: &mut Problems<'_>) -> Vec<String> {
    let env = environment();
    match env.template_from_str(source) {
        Ok(template) => {
            let mut paths: Vec<String> = template.undeclared_variables(true).into_iter().collect();
            paths.sort();
            paths
        }
        Err(error) => {
            let line = error.line().and_then(|line| u32::try_from(line).ok());
            let detail = error.detail().unwrap_or("the expression cannot be read").to_owned();
            problems.push(
                (line, None),
                "syntax",
                detail,
                "check braces, quotes and endif or endfor",
            );
            Vec::new()
        }
    }
}

fn bounded(text: String) -> Result<String, Error> {
    if text.len() > FILTER_MAX_BYTES {
        Err(Error::new(ErrorKind::OutOfFuel, "a filter made a text that is too long"))
    } else {
        Ok(text)
    }
}

/// The items of a list, one after the other, with a text between them.
fn join(list: &Value, between: Option<&str>) -> Result<String, Error> {
    let between = between.unwrap_or("");
    let mut out = String::new();
    for (at, item) in list.try_iter()?.enumerate() {
        if at > 0 {
            out.push_str(between);
        }
        out.push_str(&item.to_string());
        out = bounded(out)?;
    }
    Ok(out)
}

/// The text with each `from` exchanged for `to`.
fn replace(text: &str, from: &str, to: &str) -> Result<String, Error> {
    if from.is_empty() {
        return Ok(text.to_owned());
    }
    let growth = text.matches(from).count().saturating_mul(to.len());
    if growth > FILTER_MAX_BYTES {
        return bounded(" ".repeat(FILTER_MAX_BYTES + 1));
    }
    bounded(text.replace(from, to))
}

/// The product of two numbers.
fn times(left: &Value, right: &Value) -> Result<Value, Error> {
    let not_a_number = || Error::new(ErrorKind::InvalidOperation, "times multiplies numbers");
    if let (Some(left), Some(right)) = (left.as_i64(), right.as_i64()) {
        return left.checked_mul(right).map(Value::from).ok_or_else(not_a_number);
    }
    let number = |value: &Value| f64::try_from(value.clone()).map_err(|_| not_a_number());
    Ok(Value::from(number(left)? * number(right)?))
}

/// A number with two decimals; the decimal sign is a point unless given.
fn money(amount: &Value, decimal_sign: Option<&str>) -> Result<String, Error> {
    let amount = f64::try_from(amount.clone())
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, "money formats numbers"))?;
    Ok(format!("{amount:.2}").replace('.', decimal_sign.unwrap_or(".")))
}

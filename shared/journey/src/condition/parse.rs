//! CEL source to [`Condition`], at publish only.
//!
//! The source is size-capped and parsed on a deep stack, since the parser's recursion follows its
//! input. What the closed tree does not cover is refused with the construct's name.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, ListExpr, LiteralValue, SelectExpr, operators},
};
use parcours_domain::Value;

use super::{CompareOp, Condition, ConditionError, Operand, Path, Root, TextOp};
use crate::deep::with_deep_stack;

/// The most bytes a condition's source may have.
pub const CONDITION_BYTES_MAX: usize = 4 * 1024;

/// The deepest nesting of a translated condition.
pub const CONDITION_DEPTH_MAX: usize = 64;

const fn unsupported(what: Box<str>, help: &'static str) -> ConditionError {
    ConditionError::NotSupported { what, help }
}

/// Parses a condition that may look at `roots`.
///
/// # Errors
/// When it is not a condition of the covered subset.
pub fn parse(source: &str, roots: &[Root]) -> Result<Condition, ConditionError> {
    on_parsed(source, |expr| {
        let condition = condition(expr)?;
        if depth(&condition) > CONDITION_DEPTH_MAX {
            return Err(ConditionError::TooDeep);
        }
        match condition.paths().into_iter().find(|path| !roots.contains(&path.root)) {
            Some(path) => Err(ConditionError::RootUnavailable(path.root)),
            None => Ok(condition),
        }
    })
}

/// Parses a path such as `event.cart_id` that begins with one of `roots`.
///
/// # Errors
/// When it is anything but a path.
pub fn parse_path(source: &str, roots: &[Root]) -> Result<Path, ConditionError> {
    on_parsed(source, |expr| {
        let path = path(expr)?;
        if roots.contains(&path.root) {
            Ok(path)
        } else {
            Err(ConditionError::RootUnavailable(path.root))
        }
    })
}

/// Parses, translates and drops the syntax tree, all on the deep stack.
fn on_parsed<T: Send>(
    source: &str,
    translate: impl FnOnce(&IdedExpr) -> Result<T, ConditionError> + Send + std::panic::UnwindSafe,
) -> Result<T, ConditionError> {
    if source.trim().is_empty() {
        return Err(ConditionError::Empty);
    }
    if source.len() > CONDITION_BYTES_MAX {
        return Err(ConditionError::TooLong(source.len()));
    }
    let parsed = with_deep_stack(|| match cel::parser::Parser::default().parse(source) {
        Ok(expr) => translate(&expr),
        Err(errors) => {
            let first = errors.errors.first().map_or("", |error| error.msg.as_str());
            Err(ConditionError::Syntax(first.chars().take(200).collect()))
        }
    });
    parsed.unwrap_or_else(|gave_up| Err(ConditionError::Syntax(gave_up.to_string().into())))
}

fn depth(condition: &Condition) -> usize {
    1 + match condition {
        Condition::Not(inner) => depth(inner),
        Condition::All(parts) | Condition::Any(parts) => parts.iter().map(depth).max().unwrap_or(0),
        Condition::Always(_)
        | Condition::Compare { .. }
        | Condition::In { .. }
        | Condition::Has(_)
        | Condition::Text { .. }
        | Condition::Truth(_) => 0,
    }
}

fn condition(expr: &IdedExpr) -> Result<Condition, ConditionError> {
    match &expr.expr {
        Expr::Literal(LiteralValue::Boolean(truth)) => Ok(Condition::Always(*truth.inner())),
        Expr::Literal(_) | Expr::List(_) => Err(unsupported(
            "a value in the place of a condition".into(),
            "compare it with something, such as contact.plan == \"gold\"",
        )),
        Expr::Select(select) if select.test => Ok(Condition::Has(path_of_select(select)?)),
        Expr::Select(_) | Expr::Ident(_) => path(expr).map(Condition::Truth),
        Expr::Call(call) => call_condition(call, expr),
        Expr::Comprehension(_) => Err(unsupported(
            "a macro over lists (all, exists, exists_one, map, filter)".into(),
            "use `in` to look for one value in a list of values",
        )),
        Expr::Map(_) | Expr::Struct(_) => {
            Err(unsupported("a map or message literal".into(), "compare single members"))
        }
        Expr::Unspecified => Err(ConditionError::Syntax("nothing to evaluate".into())),
    }
}

fn call_condition(call: &CallExpr, expr: &IdedExpr) -> Result<Condition, ConditionError> {
    let args = call.args.as_slice();
    match (call.func_name.as_str(), &call.target, args) {
        (operators::LOGICAL_AND, None, args) => {
            let parts = args.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
            Ok(Condition::All(flatten(parts, Junction::All)))
        }
        (operators::LOGICAL_OR, None, args) => {
            let parts = args.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
            Ok(Condition::Any(flatten(parts, Junction::Any)))
        }
        (operators::LOGICAL_NOT, None, [inner]) => Ok(Condition::Not(Box::new(condition(inner)?))),
        (operators::CONDITIONAL, None, [test, yes, no]) => {
            let test = condition(test)?;
            Ok(Condition::Any(vec![
                Condition::All(vec![test.clone(), condition(yes)?]),
                Condition::All(vec![Condition::Not(Box::new(test)), condition(no)?]),
            ]))
        }
        (operators::IN, None, [item, list]) => {
            Ok(Condition::In { item: operand(item)?, list: list_operand(list)? })
        }
        (operators::INDEX, None, [_, _]) => path(expr).map(Condition::Truth),
        (name, None, [left, right]) if let Some(op) = compare_op(name) => {
            Ok(Condition::Compare { op, left: operand(left)?, right: operand(right)? })
        }
        (name, Some(text), [part]) if let Some(op) = text_op(name) => {
            Ok(Condition::Text { op, text: operand(text)?, part: operand(part)? })
        }
        (name, _, _) => Err(refuse_call(name)),
    }
}

fn compare_op(name: &str) -> Option<CompareOp> {
    match name {
        operators::EQUALS => Some(CompareOp::Eq),
        operators::NOT_EQUALS => Some(CompareOp::Ne),
        operators::LESS => Some(CompareOp::Lt),
        operators::LESS_EQUALS => Some(CompareOp::Le),
        operators::GREATER => Some(CompareOp::Gt),
        operators::GREATER_EQUALS => Some(CompareOp::Ge),
        _ => None,
    }
}

fn text_op(name: &str) -> Option<TextOp> {
    match name {
        "contains" => Some(TextOp::Contains),
        "startsWith" => Some(TextOp::StartsWith),
        "endsWith" => Some(TextOp::EndsWith),
        _ => None,
    }
}

/// Which of the two junctions is being flattened.
#[derive(Clone, Copy)]
enum Junction {
    All,
    Any,
}

/// `a && (b && c)` is one list of three, so that long chains stay flat.
fn flatten(parts: Vec<Condition>, junction: Junction) -> Vec<Condition> {
    let mut flat = Vec::with_capacity(parts.len());
    for part in parts {
        match (junction, part) {
            (Junction::All, Condition::All(inner)) | (Junction::Any, Condition::Any(inner)) => {
                flat.extend(inner);
            }
            (Junction::All | Junction::Any, other) => flat.push(other),
        }
    }
    flat
}

/// One side of a comparison.
fn operand(expr: &IdedExpr) -> Result<Operand, ConditionError> {
    match &expr.expr {
        Expr::Literal(literal) => scalar(literal).map(Operand::Literal),
        Expr::Select(select) if select.test => {
            Err(unsupported("comparing has()".into(), "write has(x) or !has(x) by itself"))
        }
        Expr::Ident(_) | Expr::Select(_) => path(expr).map(Operand::Path),
        Expr::Call(call) => match (call.func_name.as_str(), &call.target, call.args.as_slice()) {
            ("size", None, [of]) => path(of).map(Operand::Size),
            ("size", Some(of), []) => path(of).map(Operand::Size),
            (operators::NEGATE, None, [of]) => negated(of).map(Operand::Literal),
            (operators::INDEX, None, [_, _]) => path(expr).map(Operand::Path),
            (name, _, _) => Err(refuse_call(name)),
        },
        Expr::List(_) => Err(unsupported(
            "comparing a list".into(),
            "use `in`, such as contact.country in [\"FR\", \"BE\"]",
        )),
        Expr::Map(_) | Expr::Struct(_) => {
            Err(unsupported("a map or message literal".into(), "compare single members"))
        }
        Expr::Comprehension(_) => Err(unsupported(
            "a macro over lists (all, exists, exists_one, map, filter)".into(),
            "use `in` to look for one value in a list of values",
        )),
        Expr::Unspecified => Err(ConditionError::Syntax("nothing to compare".into())),
    }
}

/// The right side of `in`: a written list of scalars, or a path.
fn list_operand(expr: &IdedExpr) -> Result<Operand, ConditionError> {
    let Expr::List(ListExpr { elements, .. }) = &expr.expr else {
        return path(expr).map(Operand::Path);
    };
    let items = elements.iter().map(|element| match operand(element)? {
        Operand::Literal(value) => Ok(value),
        Operand::Path(_) | Operand::Size(_) => Err(unsupported(
            "a list that holds something other than written values".into(),
            "compare each with ==, joined by ||",
        )),
    });
    Ok(Operand::Literal(Value::List(items.collect::<Result<_, _>>()?)))
}

fn scalar(literal: &LiteralValue) -> Result<Value, ConditionError> {
    match literal {
        LiteralValue::Boolean(truth) => Ok(Value::Bool(*truth.inner())),
        LiteralValue::Int(whole) => Ok(Value::Int(*whole.inner())),
        LiteralValue::UInt(whole) => i64::try_from(*whole.inner()).map(Value::Int).map_err(|_| {
            unsupported("a whole number beyond 63 bits".into(), "write a smaller number")
        }),
        LiteralValue::Double(number) if number.inner().is_finite() => {
            Ok(Value::Float(*number.inner()))
        }
        LiteralValue::Double(_) => {
            Err(unsupported("a number that is not finite".into(), "write a smaller number"))
        }
        LiteralValue::String(text) if text.inner().contains('\0') => {
            Err(unsupported("U+0000 in a text".into(), "leave it out"))
        }
        LiteralValue::String(text) => Ok(Value::Text(text.inner().to_owned())),
        LiteralValue::Bytes(_) => Err(unsupported("a bytes literal".into(), "write a text")),
        LiteralValue::Null => Err(unsupported(
            "comparing with null".into(),
            "null counts as missing: use has(x) or !has(x)",
        )),
    }
}

fn negated(expr: &IdedExpr) -> Result<Value, ConditionError> {
    match &expr.expr {
        Expr::Literal(LiteralValue::Int(whole)) => Ok(Value::Int(whole.inner().wrapping_neg())),
        Expr::Literal(LiteralValue::Double(number)) => Ok(Value::Float(-number.inner())),
        Expr::Literal(_)
        | Expr::Unspecified
        | Expr::Call(_)
        | Expr::Comprehension(_)
        | Expr::Ident(_)
        | Expr::List(_)
        | Expr::Map(_)
        | Expr::Select(_)
        | Expr::Struct(_) => Err(refuse_call(operators::NEGATE)),
    }
}

/// A path: a root, then members by `.name` or `["name"]`.
fn path(expr: &IdedExpr) -> Result<Path, ConditionError> {
    let mut parts = Vec::new();
    let mut here = expr;
    loop {
        match &here.expr {
            Expr::Ident(name) => {
                let Some(root) = Root::parse(name) else {
                    return Err(ConditionError::UnknownRoot(name.as_str().into()));
                };
                if parts.is_empty() {
                    return Err(unsupported(
                        format!("`{name}` by itself").into(),
                        "name a member, such as contact.city",
                    ));
                }
                parts.reverse();
                return Ok(Path { root, parts });
            }
            Expr::Select(select) if !select.test => {
                parts.push(select.field.clone());
                here = &select.operand;
            }
            Expr::Call(CallExpr { func_name, target: None, args })
                if func_name == operators::INDEX =>
            {
                let [of, index] = args.as_slice() else { return Err(refuse_call(func_name)) };
                let Expr::Literal(LiteralValue::String(name)) = &index.expr else {
                    return Err(unsupported(
                        "looking up by anything but a written name".into(),
                        "write event.name or event[\"name\"]",
                    ));
                };
                parts.push(name.inner().to_owned());
                here = of;
            }
            Expr::Call(CallExpr { func_name, .. }) => return Err(refuse_call(func_name)),
            Expr::Select(_)
            | Expr::Literal(_)
            | Expr::List(_)
            | Expr::Map(_)
            | Expr::Struct(_)
            | Expr::Comprehension(_)
            | Expr::Unspecified => {
                return Err(unsupported(
                    "anything but a path in this place".into(),
                    "write a path such as contact.city or event.total",
                ));
            }
        }
    }
}

fn path_of_select(select: &SelectExpr) -> Result<Path, ConditionError> {
    let mut parent = match &select.operand.expr {
        Expr::Ident(name) => match Root::parse(name) {
            Some(root) => Path { root, parts: Vec::new() },
            None => return Err(ConditionError::UnknownRoot(name.as_str().into())),
        },
        Expr::Select(_)
        | Expr::Call(_)
        | Expr::Literal(_)
        | Expr::List(_)
        | Expr::Map(_)
        | Expr::Struct(_)
        | Expr::Comprehension(_)
        | Expr::Unspecified => path(&select.operand)?,
    };
    parent.parts.push(select.field.clone());
    Ok(parent)
}

/// The precise refusal of a function or operator outside the subset.
fn refuse_call(name: &str) -> ConditionError {
    match name {
        operators::ADD
        | operators::SUBSTRACT
        | operators::MULTIPLY
        | operators::DIVIDE
        | operators::MODULO
        | operators::NEGATE => unsupported(
            "arithmetic".into(),
            "compare with a written number; compute it before you send the event",
        ),
        "matches" => unsupported(
            "matching a regular expression".into(),
            "use contains, startsWith or endsWith",
        ),
        "timestamp" | "duration" => unsupported(
            format!("`{name}`").into(),
            "RFC 3339 texts in UTC compare as texts; to wait for a date use a wait step",
        ),
        operators::CONDITIONAL
        | operators::LOGICAL_AND
        | operators::LOGICAL_OR
        | operators::LOGICAL_NOT => unsupported(
            "a condition in the place of a value".into(),
            "join conditions with && and ||",
        ),
        _ if compare_op(name).is_some() || name == operators::IN => unsupported(
            "comparing the result of a comparison".into(),
            "join conditions with && and ||",
        ),
        _ => unsupported(
            format!("`{}`", name.chars().take(60).collect::<String>()).into(),
            "the subset has == != < <= > >= in && || ! ?: has size contains startsWith endsWith",
        ),
    }
}

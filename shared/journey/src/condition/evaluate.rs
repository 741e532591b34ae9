//! Evaluating a condition: total, without allocation unless something is missing.
//!
//! Depth is bounded at publish ([`super::CONDITION_DEPTH_MAX`]), so the recursion is too.

use std::cmp::Ordering;

use parcours_domain::Value;

use super::{CompareOp, Condition, Operand, Scope, TextOp};

/// A side's value for the time of one comparison.
enum Side<'a> {
    Borrowed(&'a Value),
    Counted(i64),
}

impl Condition {
    /// Whether it holds. Leaves that were false because a side was missing or of another type
    /// leave the paths they read in `missing`, each once.
    #[must_use]
    pub fn holds(&self, scope: &Scope<'_>, missing: &mut Vec<String>) -> bool {
        match self {
            Self::Always(truth) => *truth,
            Self::Not(inner) => !inner.holds(scope, missing),
            Self::All(parts) => parts.iter().all(|part| part.holds(scope, missing)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(scope, missing)),
            Self::Has(path) => scope.at(path).is_some(),
            Self::Truth(path) => match scope.at(path) {
                Some(Value::Bool(truth)) => *truth,
                Some(_) | None => note(missing, &[&Operand::Path(path.clone())]),
            },
            Self::Compare { op, left, right } => {
                compare(*op, resolve(left, scope), resolve(right, scope))
                    .unwrap_or_else(|| note(missing, &[left, right]))
            }
            Self::In { item, list } => contains(resolve(item, scope), resolve(list, scope))
                .unwrap_or_else(|| note(missing, &[item, list])),
            Self::Text { op, text, part } => {
                relate(*op, resolve(text, scope), resolve(part, scope))
                    .unwrap_or_else(|| note(missing, &[text, part]))
            }
        }
    }
}

/// Notes the paths of a leaf that could not be answered; the leaf is false.
fn note(missing: &mut Vec<String>, sides: &[&Operand]) -> bool {
    for side in sides {
        match side {
            Operand::Path(path) | Operand::Size(path) => {
                let path = path.to_string();
                if !missing.contains(&path) {
                    missing.push(path);
                }
            }
            Operand::Literal(_) => {}
        }
    }
    false
}

fn resolve<'a>(operand: &'a Operand, scope: &Scope<'a>) -> Option<Side<'a>> {
    match operand {
        Operand::Path(path) => scope.at(path).map(Side::Borrowed),
        Operand::Literal(value) => Some(Side::Borrowed(value)),
        Operand::Size(path) => {
            let count = match scope.at(path)? {
                Value::Text(text) => text.chars().count(),
                Value::List(items) => items.len(),
                Value::Map(map) => map.len(),
                Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => return None,
            };
            i64::try_from(count).ok().map(Side::Counted)
        }
    }
}

fn compare(op: CompareOp, left: Option<Side<'_>>, right: Option<Side<'_>>) -> Option<bool> {
    let (left, right) = (left?, right?);
    let counted_left;
    let counted_right;
    let left = match left {
        Side::Borrowed(value) => value,
        Side::Counted(count) => {
            counted_left = Value::Int(count);
            &counted_left
        }
    };
    let right = match right {
        Side::Borrowed(value) => value,
        Side::Counted(count) => {
            counted_right = Value::Int(count);
            &counted_right
        }
    };
    if let (Value::Bool(left), Value::Bool(right)) = (left, right) {
        return match op {
            CompareOp::Eq => Some(left == right),
            CompareOp::Ne => Some(left != right),
            CompareOp::Lt | CompareOp::Le | CompareOp::Gt | CompareOp::Ge => None,
        };
    }
    let order = order(left, right)?;
    Some(match op {
        CompareOp::Eq => order.is_eq(),
        CompareOp::Ne => order.is_ne(),
        CompareOp::Lt => order.is_lt(),
        CompareOp::Le => order.is_le(),
        CompareOp::Gt => order.is_gt(),
        CompareOp::Ge => order.is_ge(),
    })
}

/// The order of two numbers or two texts; none for any other pair.
fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
        (Value::Int(left), Value::Float(right)) => order_mixed(*left, *right),
        (Value::Float(left), Value::Int(right)) => {
            order_mixed(*right, *left).map(Ordering::reverse)
        }
        (Value::Text(left), Value::Text(right)) => Some(left.as_str().cmp(right.as_str())),
        (
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Map(_),
            _,
        ) => None,
    }
}

/// Exact order of a whole number and a fraction, also beyond 2^53.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked just before")]
fn order_mixed(whole: i64, fraction: f64) -> Option<Ordering> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if fraction.is_nan() {
        None
    } else if fraction >= LIMIT {
        Some(Ordering::Less)
    } else if fraction < -LIMIT {
        Some(Ordering::Greater)
    } else {
        let floor = fraction.floor();
        let by_floor = whole.cmp(&(floor as i64));
        Some(if by_floor.is_eq() && fraction > floor { Ordering::Less } else { by_floor })
    }
}

/// Whether the list holds the item. Items of other types are simply not equal.
fn contains(item: Option<Side<'_>>, list: Option<Side<'_>>) -> Option<bool> {
    let counted;
    let item = match item? {
        Side::Borrowed(value) => value,
        Side::Counted(count) => {
            counted = Value::Int(count);
            &counted
        }
    };
    match list? {
        Side::Borrowed(Value::List(items)) => Some(items.iter().any(|other| same(item, other))),
        Side::Borrowed(_) | Side::Counted(_) => None,
    }
}

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (one, other) => order(one, other).is_some_and(Ordering::is_eq),
    }
}

fn relate(op: TextOp, text: Option<Side<'_>>, part: Option<Side<'_>>) -> Option<bool> {
    match (text?, part?) {
        (Side::Borrowed(Value::Text(text)), Side::Borrowed(Value::Text(part))) => Some(match op {
            TextOp::Contains => text.contains(part.as_str()),
            TextOp::StartsWith => text.starts_with(part.as_str()),
            TextOp::EndsWith => text.ends_with(part.as_str()),
        }),
        (Side::Borrowed(_) | Side::Counted(_), Side::Borrowed(_) | Side::Counted(_)) => None,
    }
}

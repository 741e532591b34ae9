//! "Did you mean": the known word that a misspelt one is nearest to.

/// The known word that is at most two edits (or a third of its length) away.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|other| (distance(word, other), other))
        .filter(|(edits, other)| *edits <= 2.max(other.len() / 3) && *edits < other.len())
        .min()
        .map(|(_, other)| other)
}

/// Levenshtein distance, of the first 64 characters.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().take(64).enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let change = row.get(j).copied().unwrap_or(0) + usize::from(a != *b);
            let drop = row.get(j + 1).copied().unwrap_or(0) + 1;
            let add = next.last().copied().unwrap_or(0) + 1;
            next.push(change.min(drop).min(add));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_a_stranger_finds_none() {
        let known = ["mj-text", "mj-table", "mj-title"];
        assert_eq!(nearest("mj-txt", known), Some("mj-text"));
        assert_eq!(nearest("mj-tabel", known), Some("mj-table"));
        assert_eq!(nearest("zebra", known), None);
    }
}

//! What links and records promise: who says stop is heard, who only looks changes nothing, and who
//! guesses learns nothing.

#![expect(clippy::unwrap_used, reason = "a scenario stops at the first surprise")]

mod stage;

mod a_bent_token_is_not_found;
mod a_click_counts_once;
mod an_opt_in_names_one_topic;
mod guesses_are_slowed_and_links_are_not;
mod looking_changes_nothing;
mod one_click_works_in_both_encodings;

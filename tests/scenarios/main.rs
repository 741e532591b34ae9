//! Scenarios over the whole product: one file each, named as the behaviour that it shows.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "scenarios are named by their files and functions; a failure is a failed test"
)]

mod api;
mod commands_reach_the_store_or_the_server;
mod expected;
mod mail_verifies_elsewhere;
mod postgres_serves_as_well;
mod rows;
mod scanners_change_nothing;
mod segment_clients_work_unchanged;
mod status_says_what_needs_a_person;
mod the_demo_counts_what_the_data_says;
mod the_demo_goes_on_after_a_kill;
mod the_house_keeps_its_arrows;

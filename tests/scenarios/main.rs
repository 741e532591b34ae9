//! Scenarios over the whole product: one file each, named as the behaviour that it shows.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "scenarios are named by their files and functions; a failure is a failed test"
)]

mod a_template_is_tried_out_without_consequences;
mod api;
mod commands_reach_the_store_or_the_server;
mod expected;
mod mail_verifies_elsewhere;
mod mjml_looks_as_the_reference_says;
mod postgres_serves_as_well;
mod rows;
mod scanners_change_nothing;
mod segment_clients_work_unchanged;
mod the_demo_counts_what_the_data_says;
mod the_demo_goes_on_after_a_kill;
mod the_house_keeps_its_arrows;

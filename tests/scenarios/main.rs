//! Scenarios over the whole product: one file each, named as the behaviour that it shows.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "scenarios are named by their files and functions; a failure is a failed test"
)]

mod a_full_disk_loses_nothing;
mod a_moved_clock_fires_nothing_early;
mod a_stop_waits_for_every_reply;
mod a_template_is_tried_out_without_consequences;
mod a_withdrawal_beats_the_queue;
mod acknowledged_means_on_disk;
mod api;
mod campaign;
mod commands_reach_the_store_or_the_server;
mod crashes_lose_and_double_nothing;
mod expected;
mod mail_verifies_elsewhere;
mod mjml_looks_as_the_reference_says;
mod postgres_serves_as_well;
mod rows;
mod scanners_change_nothing;
mod segment_clients_work_unchanged;
mod sending_costs_little;
mod the_demo_counts_what_the_data_says;
mod the_demo_goes_on_after_a_kill;
mod the_house_keeps_its_arrows;
mod without_its_database_sending_stops;
mod witness;

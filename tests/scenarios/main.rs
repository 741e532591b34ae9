//! Scenarios over the whole product: one file each, named as the behaviour that it shows.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "scenarios are named by their files and functions; a failure is a failed test"
)]

mod a_backend_ends_during_commit;
mod a_frozen_owner_blocks_nobody;
mod a_visitor_becomes_a_customer_through_kills;
mod a_worker_declared_dead_ends_at_once;
mod api;
mod backend;
mod commands_reach_the_store_or_the_server;
mod expected;
mod ground;
mod mail_verifies_elsewhere;
mod one_message_id_has_one_effect;
mod one_new_person_is_one_contact;
mod postgres_serves_as_well;
mod rows;
mod scanners_change_nothing;
mod sdk;
mod segment_clients_work_unchanged;
mod the_demo_counts_what_the_data_says;
mod the_demo_goes_on_after_a_kill;
mod the_house_keeps_its_arrows;

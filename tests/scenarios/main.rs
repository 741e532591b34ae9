//! Scenarios over the whole product: one file each, named as the behaviour that it shows.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "scenarios are named by their files and functions; a failure is a failed test"
)]

mod a_backend_ends_during_commit;
mod a_big_campaign_delays_nobody;
mod a_brand_beyond_its_quota_slows_nobody;
mod a_brand_moves_without_a_double;
mod a_cluster_by_one_command;
mod a_cluster_withstands;
mod a_copied_journey_runs_in_its_new_brand;
mod a_frozen_owner_blocks_nobody;
mod a_full_disk_loses_nothing;
mod a_lost_redis_loosens_no_limit;
mod a_moved_clock_fires_nothing_early;
mod a_new_version_rolls_in_under_load;
mod a_restored_backup_sends_nothing_twice;
mod a_roundtrip_shows_that_an_install_works;
mod a_stop_waits_for_every_reply;
mod a_template_is_tried_out_without_consequences;
mod a_visitor_becomes_a_customer_through_kills;
mod a_withdrawal_beats_the_queue;
mod a_worker_declared_dead_ends_at_once;
mod acknowledged_means_on_disk;
mod alerts_fire_when_they_should;
mod an_agency_sees_all_its_brands;
mod api;
mod backend;
mod campaign;
mod cluster;
mod commands_reach_the_store_or_the_server;
mod complaints_stop_a_brand;
mod crashes_lose_and_double_nothing;
mod deploy_names_what_exists;
mod every_number_is_explained;
mod expected;
mod gateways_bring_events_to_their_owner;
mod ground;
mod keep_stage;
mod mail_verifies_elsewhere;
mod mjml_looks_as_the_reference_says;
mod no_brand_reaches_another;
mod one_message_id_has_one_effect;
mod one_message_is_one_trace;
mod one_new_person_is_one_contact;
mod postgres_serves_as_well;
mod rows;
mod scanners_change_nothing;
mod sdk;
mod segment_clients_work_unchanged;
mod senders_share_one_rate;
mod sending_costs_little;
mod status_says_what_needs_a_person;
mod the_chart_keeps_its_word;
mod the_demo_counts_what_the_data_says;
mod the_demo_goes_on_after_a_kill;
mod the_house_keeps_its_arrows;
mod the_image_is_whole;
mod without_its_database_sending_stops;
mod witness;
mod workers_share_one_database;

//! What delivery promises, one scenario a file: who gets a message, who does not, and what is known
//! afterwards.

#![expect(clippy::unwrap_used, reason = "a scenario stops at the first surprise")]

mod stage;

mod a_bad_brand_is_stopped;
mod a_consented_message_arrives_with_its_receipt;
mod a_days_quota_is_kept;
mod a_dead_process_leaves_nothing_behind;
mod a_halt_stops_what_has_not_left;
mod a_limited_provider_holds_up_nobody_else;
mod a_lost_reply_follows_the_policy;
mod a_message_that_cannot_be_written_ends_alone;
mod a_new_sender_is_warmed_up;
mod a_rate_is_kept;
mod a_refused_recipient_is_suppressed;
mod a_server_that_defers_is_asked_again;
mod a_stop_gives_back_what_has_not_left;
mod a_withdrawal_before_the_final_commit_wins;
mod each_smtp_fault_has_its_row;
mod no_fact_means_no_message;
mod only_the_gate_clears;
mod shares_follow_weights;
mod templates_keep_to_their_share;
mod too_long_after_the_final_commit_nothing_is_handed_over;

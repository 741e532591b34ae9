//! Scenarios over the whole product: one file each, named as the behaviour that it shows.
#![allow(missing_docs, reason = "scenarios are named by their files and functions")]

mod the_house_keeps_its_arrows;

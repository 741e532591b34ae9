//! What the scenarios share. The scenarios themselves are in `scenarios/`, one file each, named
//! as the behaviour that they show.

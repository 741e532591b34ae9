//! The steps of a roundtrip, each with what a person does when it fails.

/// What is asked for, and what a person does when it does not come.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) mend: &'static str,
}

pub(super) const KEY: Step = Step {
    name: "brand",
    mend: "is a gateway at --url, and is the key an admin key of the install or of an organisation? \
           `parcours key create` makes one",
};

pub(super) const DOCUMENTS: Step = Step {
    name: "documents",
    mend: "what the server says of them comes before; with a server of another version, use its own \
           `parcours roundtrip`",
};

pub(super) const EVENT: Step = Step {
    name: "event",
    mend: "is a process with the worker role running, and can the gateway reach it? `parcours status`, \
           and the metric parcours_shards_held: 256 over all workers",
};

pub(super) const JOURNEY: Step = Step {
    name: "journey",
    mend: "do workers fire timers? See timers_due in `parcours status`, and the logs of the workers",
};

pub(super) const MAIL: Step = Step {
    name: "mail",
    mend: "is a process with the delivery role running, and does it reach the database? See queue_ready \
           in `parcours status`; after a restore sending is held until `parcours sending release`",
};

pub(super) const UNSUBSCRIBE: Step = Step {
    name: "unsubscribe",
    mend: "is a process with the consent role running, and does --links lead to it?",
};

pub(super) const REFUSAL: Step = Step {
    name: "refusal",
    mend: "keep the logs and report it: a person who has unsubscribed must not be written to. If the \
           message is only still queued, look at the processes with the delivery role",
};

pub(super) const EVIDENCE: Step = Step { name: "evidence", mend: "keep the logs and report it" };

//! One input under way: the state as it changes, the runs that moved, what is asked of outside.
//!
//! Every run that moves passes through [`Walk::move_run`] or [`Walk::start`]; both end in exactly
//! one of "waits with one timer" and "has ended".

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parcours_domain::{Millis, Name, RunId, StepId, Timestamp, Value, value::Properties};

use super::{
    MOVES_MAX, StepContext, branch, exit,
    row::{End, live_row},
    send, set, split, wait, wait_for,
};
use crate::{
    condition::{Condition, Scope},
    effect::{Effect, RunRow, SendRequest, Step, TraceEntry},
    plan::{Next, Plan, PlanStatus, PlanStep},
    state::{ContactState, RunState, RunStatus, Waiting},
};

/// How long a run whose plan is not at hand waits before it is tried again.
const RETRY: Millis = Millis::minutes(1);

/// What a step kind decides.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Move {
    /// Go on at once.
    Go(Next),
    /// Wait until then.
    Wait(Waiting, Timestamp),
    /// End as exited, for this reason.
    Exit(String),
    /// The run stands on a step that its state does not fit. Published plans never change, so
    /// this does not happen; the run fails visibly if it does.
    Misfit,
}

/// What happened to a run's timer in this input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum TimerChange {
    #[default]
    Kept,
    Set,
    Held,
}

/// A run that this input moved.
#[derive(Debug, Default)]
struct Touch {
    /// It came into being (or to this contact) in this input.
    new: bool,
    timer: TimerChange,
    ended: Option<RunRow>,
}

/// One input under way.
pub(super) struct Walk<'a> {
    pub ctx: StepContext<'a>,
    pub state: ContactState,
    /// `event.*`: the event that is being applied.
    pub event: Option<&'a Properties>,
    /// Attributes that changed and whose waits have not followed yet.
    pub changed: BTreeSet<String>,
    /// Runs whose waits must be looked at again whatever changed.
    pub unsettled: BTreeSet<RunId>,
    trace: Vec<TraceEntry>,
    sends: Vec<SendRequest>,
    touched: BTreeMap<RunId, Touch>,
    moves_left: u32,
}

impl<'a> Walk<'a> {
    pub fn new(state: ContactState, ctx: StepContext<'a>) -> Self {
        Self {
            ctx,
            state,
            event: None,
            changed: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            trace: Vec::new(),
            sends: Vec::new(),
            touched: BTreeMap::new(),
            moves_left: MOVES_MAX,
        }
    }

    /// The result: rows and timers run by run, then the messages in the order they were asked for.
    pub fn finish(mut self) -> Step {
        let mut effects = Vec::new();
        for (id, touch) in std::mem::take(&mut self.touched) {
            if let Some(row) = touch.ended {
                effects.push(Effect::Run(row));
                if !touch.new {
                    effects.push(Effect::CancelTimer { run: id });
                }
            } else if let Some(run) = self.state.run(id) {
                effects.push(Effect::Run(live_row(run)));
                match touch.timer {
                    TimerChange::Kept => {}
                    TimerChange::Set => effects.push(Effect::SetTimer {
                        run: id,
                        seq: run.timer_seq,
                        due_at: run.wakes_at,
                    }),
                    TimerChange::Held => effects.push(Effect::HoldTimer { run: id }),
                }
            }
        }
        effects.extend(self.sends.into_iter().map(Effect::Send));
        Step { state: self.state, effects, trace: self.trace }
    }

    /// Notes what happened to a run, where it stands.
    pub fn trace(&mut self, run: &RunState, what: &str, detail: &str) {
        self.trace_at(run, Some(&run.step), what, detail);
    }

    /// Notes what happened to a run, about a step.
    pub fn trace_at(&mut self, run: &RunState, step: Option<&StepId>, what: &str, detail: &str) {
        self.trace.push(TraceEntry {
            run: Some(run.id),
            journey: run.journey.clone(),
            version: run.version,
            step: step.cloned(),
            what: what.to_owned(),
            detail: detail.to_owned(),
        });
    }

    /// Notes what happened to a journey without a run.
    pub fn trace_plan(&mut self, plan: &Plan, what: &str, detail: &str) {
        self.trace.push(TraceEntry {
            run: None,
            journey: plan.journey.clone(),
            version: plan.version,
            step: None,
            what: what.to_owned(),
            detail: detail.to_owned(),
        });
    }

    /// What conditions about this run see.
    pub fn scope<'b>(&'b self, run: &'b RunState) -> Scope<'b> {
        Scope { contact: Some(&self.state.attributes), event: self.event, run: Some(&run.data) }
    }

    /// Whether a condition holds for a run; what it missed is noted.
    pub fn holds(&mut self, condition: &Condition, run: &RunState) -> bool {
        let mut missing = Vec::new();
        let holds = condition.holds(&self.scope(run), &mut missing);
        for path in missing {
            self.trace(run, "missing", &path);
        }
        holds
    }

    /// Sets an attribute of the contact; null removes it.
    pub fn set_attribute(&mut self, name: &str, value: Value) {
        let before = match value {
            Value::Null => self.state.attributes.remove(name),
            value if self.state.attributes.get(name) == Some(&value) => return,
            value => {
                self.state.attributes.insert(name.to_owned(), value);
                Some(Value::Null)
            }
        };
        if before.is_some() {
            self.changed.insert(name.to_owned());
        }
    }

    /// A live run.
    pub fn run_mut(&mut self, id: RunId) -> Option<&mut RunState> {
        self.state.runs.iter_mut().find(|run| run.id == id)
    }

    /// The ids of all live runs.
    pub fn run_ids(&self) -> Vec<RunId> {
        self.state.runs.iter().map(|run| run.id).collect()
    }

    /// The run's plan; its absence is noted.
    pub fn plan_of(&mut self, run: &RunState) -> Option<&'a Arc<Plan>> {
        let plans = self.ctx.plans;
        let plan = plans.plan(&run.journey, run.version);
        if plan.is_none() {
            self.trace(run, "missing_plan", "");
        }
        plan
    }

    /// Whether the run's journey is paused.
    pub fn is_paused(&self, run: &RunState) -> bool {
        self.ctx.plans.status(&run.journey) == PlanStatus::Paused
    }

    /// When the run is frozen (paused, or held and not yet resumed), sees to it that what it got
    /// is acted on at resume: its timer comes due now and is held like any other. Answers whether
    /// it is frozen.
    pub fn freeze(&mut self, run: &RunState) -> bool {
        match run.status {
            RunStatus::Held(_) => true,
            RunStatus::Waiting(_) if !self.is_paused(run) => false,
            RunStatus::Waiting(_) => {
                let now = self.ctx.now;
                self.set_timer(run.id, now);
                true
            }
        }
    }

    /// Gives a waiting run a new timer and nothing else.
    pub fn set_timer(&mut self, id: RunId, due_at: Timestamp) {
        if let Some(run) = self.run_mut(id) {
            run.status = RunStatus::Waiting(run.waiting());
            run.timer_seq = run.timer_seq.wrapping_add(1);
            run.wakes_at = due_at;
            self.touched.entry(id).or_default().timer = TimerChange::Set;
        }
    }

    /// Says again what is already so: the timer came too early.
    pub fn keep_timer(&mut self, run: &RunState) {
        self.touched.entry(run.id).or_default().timer = TimerChange::Set;
    }

    /// Tries a run again later whose plan is not at hand.
    pub fn postpone(&mut self, id: RunId) {
        let later = self.ctx.now + RETRY;
        self.set_timer(id, later);
    }

    /// The run's timer came due while its journey was paused.
    pub fn hold(&mut self, id: RunId) {
        let Some(run) = self.run_mut(id) else { return };
        run.status = RunStatus::Held(run.waiting());
        let run = run.clone();
        self.touched.entry(id).or_default().timer = TimerChange::Held;
        self.trace(&run, "held", "");
    }

    /// Takes in a run that was not this contact's before; the caller sees to its timer.
    pub fn adopt(&mut self, run: RunState) {
        self.touched.entry(run.id).or_default().new = true;
        self.put(run);
    }

    fn put(&mut self, run: RunState) {
        let at = self.state.runs.partition_point(|other| other.id < run.id);
        self.state.runs.insert(at, run);
    }

    fn take(&mut self, id: RunId) -> Option<RunState> {
        let at = self.state.runs.iter().position(|run| run.id == id)?;
        Some(self.state.runs.remove(at))
    }

    /// Starts a new run at its plan's first step.
    pub fn start(&mut self, run: RunState, plan: &Plan) {
        self.touched.entry(run.id).or_default().new = true;
        self.trace(&run, "entered", "");
        let first = Next::Step(plan.start.clone());
        self.go(run, plan, Move::Go(first));
    }

    /// Moves a live run by what `decide` says about the step it stands on.
    pub fn move_run(
        &mut self,
        id: RunId,
        plan: &Plan,
        decide: impl FnOnce(&mut Self, &mut RunState, &PlanStep) -> Move,
    ) {
        let Some(mut run) = self.take(id) else { return };
        let decision = match plan.steps.get(&run.step) {
            Some(step) => decide(self, &mut run, step),
            None => Move::Misfit,
        };
        self.go(run, plan, decision);
    }

    /// Follows a run until it waits or ends.
    fn go(&mut self, mut run: RunState, plan: &Plan, first: Move) {
        let mut decision = first;
        loop {
            decision = match decision {
                Move::Go(Next::Step(id)) => {
                    run.step = id;
                    let Some(left) = self.moves_left.checked_sub(1) else {
                        return self.close(&run, End::failed("too_many_moves"));
                    };
                    self.moves_left = left;
                    match plan.steps.get(&run.step) {
                        Some(step) => arrive(self, &mut run, step),
                        None => Move::Misfit,
                    }
                }
                Move::Go(Next::End) => {
                    let end = End { status: "finished", by: run.step.to_string() };
                    return self.close(&run, end);
                }
                Move::Exit(by) => return self.close(&run, End { status: "exited", by }),
                Move::Misfit => return self.close(&run, End::failed("no_such_step")),
                Move::Wait(waiting, until) => return self.rest(run, waiting, until),
            };
        }
    }

    fn rest(&mut self, mut run: RunState, waiting: Waiting, until: Timestamp) {
        run.status = RunStatus::Waiting(waiting);
        self.trace(
            &run,
            "waits",
            match waiting {
                Waiting::Time => "time",
                Waiting::Date => "date",
                Waiting::Events => "events",
                Waiting::Outcome => "outcome",
            },
        );
        let id = run.id;
        self.put(run);
        self.set_timer(id, until);
    }

    /// Ends a live run from outside its steps.
    pub fn end(&mut self, id: RunId, end: End) {
        if let Some(run) = self.take(id) {
            self.close(&run, end);
        }
    }

    /// The run is no longer in the state; its row says how it ended.
    pub fn close(&mut self, run: &RunState, end: End) {
        self.trace(run, end.status, &end.by);
        self.unsettled.remove(&run.id);
        let touch = self.touched.entry(run.id).or_default();
        touch.ended = Some(RunRow {
            status: end.status,
            wakes_at: None,
            ended_at: Some(self.ctx.now),
            ended_by: Some(end.by),
            ..live_row(run)
        });
    }

    /// Marks a run as new to this contact, though it ends at once.
    pub fn mark_new(&mut self, id: RunId) {
        self.touched.entry(id).or_default().new = true;
    }

    /// Asks for a message.
    pub fn request(&mut self, request: SendRequest) {
        self.sends.push(request);
    }

    /// The live run of a journey under a key.
    pub fn live(&self, journey: &Name, key: &str) -> Option<&RunState> {
        self.state.runs.iter().find(|run| run.journey == *journey && run.key == key)
    }
}

/// What the step does when a run comes to it.
fn arrive(walk: &mut Walk<'_>, run: &mut RunState, step: &PlanStep) -> Move {
    match step {
        PlanStep::Wait(step) => wait::arrive(walk, run, step),
        PlanStep::WaitFor(step) => wait_for::arrive(walk, run, step),
        PlanStep::Branch(step) => branch::arrive(walk, run, step),
        PlanStep::Split(step) => split::arrive(walk, run, step),
        PlanStep::Send(step) => send::arrive(walk, run, step),
        PlanStep::Set(step) => set::arrive(walk, run, step),
        PlanStep::Exit(step) => exit::arrive(run, step),
    }
}

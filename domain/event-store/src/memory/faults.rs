//! What goes wrong, and when: drawn from one seed.
//!
//! The rule: each call draws the same number of dice whatever they show, so that plans can be compared.

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Generator(u64);

impl Generator {
    /// Begins at `seed`; equal seeds give equal sequences.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of a product: no bias that matters below 2^32.
        let product = u128::from(self.bits()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or_default()
    }

    /// True in `per_mille` of 1,000 cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1_000) < u64::from(per_mille)
    }

    /// One of `list`; `None` when it is empty.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let index = usize::try_from(self.below(list.len() as u64)).unwrap_or_default();
        list.get(index)
    }
}

/// A promise of the port that is broken on purpose, to see that a simulation finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Some appends are acknowledged and not recorded.
    LosesAcknowledged,
    /// Some appends are recorded wherever their streams stand.
    IgnoresExpectations,
    /// Ids are not looked up: a repeated request is a new one.
    ForgetsIds,
    /// Some appends land on the first of their streams only.
    SplitsAppends,
}

/// How often what goes wrong, in cases of 1,000.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// Appends that are lost on their way; the caller hears "unavailable".
    pub refused: u32,
    /// Appends that are recorded and whose answer is lost.
    pub lost_answers: u32,
    /// Appends that are recorded only after their caller has heard "unavailable".
    pub late: u32,
    /// Appends that arrive a second time, later.
    pub duplicated: u32,
    /// Appends that are refused because too much is waiting.
    pub overloaded: u32,
    /// Reads that fail.
    pub failed_reads: u32,
    /// Calls that take long, before they take effect or before they are answered: concurrent ones overtake each
    /// other.
    pub delayed: u32,
    /// How many other steps a delay lasts at most.
    pub longest_delay: u32,
    /// Pages that a subscription delivers again.
    pub repeated_pages: u32,
    /// Pages whose events a subscription delivers in another order.
    pub reordered_pages: u32,
    /// Waits of a subscription that end with an error.
    pub broken_subscriptions: u32,
    /// A promise that is broken on purpose, in one of ten appends (ids: always).
    pub defect: Option<Defect>,
}

impl FaultPlan {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        refused: 0,
        lost_answers: 0,
        late: 0,
        duplicated: 0,
        overloaded: 0,
        failed_reads: 0,
        delayed: 0,
        longest_delay: 0,
        repeated_pages: 0,
        reordered_pages: 0,
        broken_subscriptions: 0,
        defect: None,
    };

    /// A plan of its own for each seed: every kind of fault is off, rare or frequent, because faults that always
    /// come together hide each other.
    #[must_use]
    pub fn drawn(generator: &mut Generator) -> Self {
        let mut rate = |frequent: u32| match generator.below(3) {
            0 => 0,
            1 => frequent / 8,
            _ => frequent,
        };
        Self {
            refused: rate(120),
            lost_answers: rate(150),
            late: rate(80),
            duplicated: rate(150),
            overloaded: rate(60),
            failed_reads: rate(60),
            delayed: rate(500),
            longest_delay: 1 + rate(64),
            repeated_pages: rate(300),
            reordered_pages: rate(300),
            broken_subscriptions: rate(150),
            defect: None,
        }
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallOutcome {
    Granted,
    Refused,
    Overloaded,
    Late,
    LostAnswer,
    Duplicated,
}

/// A fate, and for how many steps others come first.
#[derive(Clone, Copy, Debug)]
pub(super) struct DrawnOutcome {
    pub(super) outcome: CallOutcome,
    pub(super) before: u32,
    pub(super) after: u32,
}

/// What a subscription does with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Once,
    Again,
    Reordered,
    Broken,
}

/// The plan with its dice.
#[derive(Debug)]
pub(super) struct Faults {
    plan: FaultPlan,
    dice: Generator,
    notes: Vec<&'static str>,
}

impl Faults {
    pub(super) fn new(plan: FaultPlan, seed: u64) -> Self {
        Self {
            plan,
            dice: Generator::new(seed),
            notes: Vec::new(),
        }
    }

    pub(super) fn stop(&mut self) {
        self.plan = FaultPlan {
            defect: self.plan.defect,
            ..FaultPlan::NONE
        };
    }

    pub(super) fn note(&mut self, what: &'static str) {
        // Only a plan is looked into; a store without one remembers nothing.
        if self.plan != FaultPlan::NONE {
            self.notes.push(what);
        }
    }

    pub(super) fn take_notes(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.notes)
    }

    /// The first of `faults` whose die falls, by name.
    fn fall<T: Copy>(&mut self, faults: &[(u32, T, &'static str)]) -> Option<T> {
        let mut fallen = None;
        for (rate, fault, name) in faults {
            if self.dice.chance(*rate) {
                fallen.get_or_insert((*fault, *name));
            }
        }
        fallen.map(|(fault, name)| {
            self.note(name);
            fault
        })
    }

    fn delay(&mut self) -> u32 {
        let (delayed, steps) = (
            self.dice.chance(self.plan.delayed),
            self.dice.below(u64::from(self.plan.longest_delay) + 1),
        );
        if delayed {
            u32::try_from(steps).unwrap_or_default()
        } else {
            0
        }
    }

    pub(super) fn of_append(&mut self) -> DrawnOutcome {
        let faults = [
            (
                self.plan.overloaded,
                CallOutcome::Overloaded,
                "an append met a full queue",
            ),
            (
                self.plan.refused,
                CallOutcome::Refused,
                "an append was lost on its way",
            ),
            (
                self.plan.late,
                CallOutcome::Late,
                "an append takes longer than its caller waits",
            ),
            (
                self.plan.lost_answers,
                CallOutcome::LostAnswer,
                "an answer is lost",
            ),
            (
                self.plan.duplicated,
                CallOutcome::Duplicated,
                "an append arrives twice",
            ),
        ];
        DrawnOutcome {
            outcome: self.fall(&faults).unwrap_or(CallOutcome::Granted),
            before: self.delay(),
            after: self.delay(),
        }
    }

    pub(super) fn of_read(&mut self) -> DrawnOutcome {
        let failed = [(self.plan.failed_reads, CallOutcome::Refused, "a read fails")];
        DrawnOutcome {
            outcome: self.fall(&failed).unwrap_or(CallOutcome::Granted),
            before: self.delay(),
            after: self.delay(),
        }
    }

    pub(super) fn of_delivery(&mut self) -> (Delivery, u32) {
        let faults = [
            (
                self.plan.broken_subscriptions,
                Delivery::Broken,
                "a subscription breaks",
            ),
            (
                self.plan.repeated_pages,
                Delivery::Again,
                "a page is delivered again",
            ),
            (
                self.plan.reordered_pages,
                Delivery::Reordered,
                "a page is delivered in disorder",
            ),
        ];
        (self.fall(&faults).unwrap_or(Delivery::Once), self.delay())
    }

    /// For how many calls a late request is on its way.
    pub(super) fn lateness(&mut self) -> u64 {
        self.dice.below(40)
    }

    /// The planted defect, when it shows in this append.
    pub(super) fn defect(&mut self) -> Option<Defect> {
        let shows = self.dice.chance(100);
        let defect = self.plan.defect?;
        (shows || defect == Defect::ForgetsIds).then_some(defect)
    }
}

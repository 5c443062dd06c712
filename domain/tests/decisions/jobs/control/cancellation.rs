//! Orders, whole and as clones of others: everything that is wrong is named at once (JB-1, JB-3, JB-6).

use super::*;

fn queued_by(given: crate::support::given_when_then::Given, command: &CloneJob) -> domain::jobs::job::Order {
    let mut log = given.log;
    let outcome = log.run(command, &ada(), NOW);
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    log.state::<Job>(command.job).order.expect("queued")
}

/// JB-3: a clone has the same specification and versions, and nothing of the past.
#[test]
fn a_clone_is_the_same_order_but_for_what_is_given() {
    let first = over([leased(1), saved(1, 50), failed(1, "X", "x")]);
    let order = queued_by(first, &copy());
    let expected = domain::jobs::job::Order {
        job: copy().job,
        model: copy().model,
        cloned_from: Some(JOB),
        ..crate::jobs::scenario::order()
    };
    assert_eq!(order, expected);
    let mut spec = scratch();
    spec.parameters = HyperParameters {
        steps: 70,
        ..spec.parameters
    };
    let other = CloneJob {
        name: Some("Another".into()),
        spec: Some(spec),
        requirements: Some(JobRequirements {
            priority: -2,
            ..JobRequirements::default()
        }),
        ..copy()
    };
    let order = queued_by(a_job([]), &other);
    assert_eq!(
        (
            order.name.as_str(),
            order.training().expect("a training").spec.parameters.steps
        ),
        ("Another", 70)
    );
    assert_eq!((order.requirements.priority, order.cloned_from), (-2, Some(JOB)));
}

/// JB-1, JB-3: a clone is checked like any other order.
#[test]
fn a_bad_clone_is_refused_with_all_its_problems() {
    let mut spec = scratch();
    spec.parameters.steps = 0;
    let bad = CloneJob {
        name: Some(String::new()),
        spec: Some(spec),
        ..copy()
    };
    let outcome = a_job([]).log.run(&bad, &ada(), NOW);
    let Outcome::Refused(refusal, events) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(events.is_empty());
    let each = refusal.each();
    assert!(
        matches!(&each[..], [StartJobRefusal::Name(_), StartJobRefusal::Spec(problems)] if problems.0.len() == 2),
        "{each:?}"
    );
}

/// JB-1: everything that is wrong with an order is named at once, and its requirements are part of it.
#[test]
fn all_problems_of_an_order_are_named_together() {
    let mut wrong = start();
    wrong.name = String::new();
    wrong.dataset = (DATASET, Some(9));
    wrong.base = Some((BASE, None));
    wrong.spec.parameters.steps = 0;
    wrong.requirements.labels = ["NO".to_owned()].into();
    wrong.requirements.max_run_seconds = Some(61);
    wrong.longest_run_seconds = Some(60);
    let outcome = given().a_project_with_data().log.run(&wrong, &ada(), NOW);
    let Outcome::Refused(refusal, _) = outcome else {
        panic!("{outcome:?}")
    };
    let each = refusal.each();
    assert!(
        matches!(
            &each[..],
            [
                StartJobRefusal::Name(_),
                StartJobRefusal::NoDatasetVersion,
                StartJobRefusal::BaseUnwanted,
                StartJobRefusal::Spec(problems)
            ] if problems.0.len() == 4
        ),
        "{each:?}"
    );
}

/// JB-6: a job that does not say how long it may run may run as long as any.
#[test]
fn the_longest_run_is_the_default() {
    let mut log = given().a_project_with_data().log;
    let command = domain::jobs::start::StartJob {
        longest_run_seconds: Some(3_600),
        ..start()
    };
    log.run(&command, &ada(), NOW);
    let order = log.state::<Job>(JOB).order.expect("queued");
    assert_eq!(order.requirements.max_run_seconds, Some(3_600));
}

/// JB-6: to be queued before others takes the permission too.
#[test]
fn a_high_priority_takes_a_permission_from_the_start() {
    let command = || domain::jobs::start::StartJob {
        requirements: JobRequirements {
            priority: 1,
            ..JobRequirements::default()
        },
        ..start()
    };
    given()
        .a_project_with_data()
        .when(command())
        .by(ada())
        .then_denied("role", Concealment::Forbidden);
    let outcome = given()
        .a_project_with_data()
        .log
        .run(&command(), &user(ADA, &["engineer_ii"]), NOW);
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
}

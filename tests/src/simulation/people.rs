//! People: users who register, log in and train; beside it their jobs, and the administrator.
//!
//! The rule: what a person knows and wants survives a crash of the process that serves it; the person asks again,
//! with the same ids, as a client does that got no answer.

mod administrator;
mod jobs;

use std::{cell::RefCell, rc::Rc, time::Duration};

use domain::{
    authz::{Principal, Visibility},
    datasets::{
        dataset::{AddDatasetVersion, CreateDataset},
        format::{Format, Summary},
        upload::ReserveUpload,
    },
    id::{DatasetId, ExperimentId, Ids as _, JobId, ModelId, ProjectId, SessionId, UploadId, UserId},
    identity::{
        registration::{NewAccount, Register},
        reservation::ReservationKey,
        session::{EndSession, OpenSession, RefreshSession},
        user::VerifyEmail,
    },
    projects::{experiment::CreateExperiment, project::CreateProject},
};
use time::OffsetDateTime;
use uuid::Uuid;

pub(super) use self::administrator::{AdministratorProgress, administer};
use self::jobs::{control, start};
use super::{
    environment::SimulatedEnvironment,
    process::{Answer, Process},
};

const TIMEOUT: Duration = Duration::from_millis(300);
/// Longest time between two requests.
const PAUSE: Duration = Duration::from_millis(1_500);
/// How long room stays reserved.
const RESERVED: time::Duration = time::Duration::seconds(5);
/// On which most people act: news make them act together.
const TICK: Duration = Duration::from_millis(250);
/// How often a person asks again before it wants something else.
const TRIES: u32 = 8;
const PASSWORD: &str = "$argon2id$made-up";

/// A user's next action.
#[derive(Clone, Debug)]
enum UserAction {
    Register,
    Verify,
    Login(SessionId),
    Refresh(SessionId, u32),
    Logout(SessionId),
    CreateProject(ProjectId),
    CreateExperiment(ExperimentId),
    NewDataset(DatasetId),
    Upload,
    /// Reserves room for an upload that never comes.
    Reserve(UploadId),
    Start(JobId, ModelId),
    Cancel(usize),
    Pause(usize),
    Resume(usize),
    Restart(usize),
    Move(usize, i8),
}

/// A user, and how far it has come. Survives crashes.
pub(super) struct User {
    name: String,
    /// The account it believes to have.
    pub(super) account: UserId,
    username: String,
    email: String,
    project: Option<ProjectId>,
    experiment: Option<ExperimentId>,
    dataset: Option<DatasetId>,
    pub(super) jobs: Vec<JobId>,
    actions: Vec<UserAction>,
    next: usize,
}

impl User {
    /// A user with a mind of its own. The first two want the same name, the last two have the same address.
    pub(super) fn new(environment: &SimulatedEnvironment, number: usize) -> Self {
        let (session, other) = (
            SessionId(environment.ids.next()),
            SessionId(environment.ids.next()),
        );
        let mut actions = vec![
            UserAction::Register,
            UserAction::Verify,
            UserAction::Login(session),
        ];
        actions.push(UserAction::CreateProject(ProjectId(environment.ids.next())));
        actions.push(UserAction::CreateExperiment(ExperimentId(environment.ids.next())));
        actions.push(UserAction::NewDataset(DatasetId(environment.ids.next())));
        actions.push(UserAction::Reserve(UploadId(environment.ids.next())));
        actions.push(UserAction::Upload);
        for turn in 0..12 {
            actions.push(match environment.below(16) {
                0 => UserAction::Cancel(turn),
                1 => UserAction::Refresh(session, u32::try_from(environment.below(2)).unwrap_or(0)),
                2 => UserAction::Logout(session),
                3 => UserAction::Login(other),
                4 => UserAction::Refresh(session, 0),
                5 => UserAction::CreateProject(ProjectId(environment.ids.next())),
                6 | 7 => UserAction::Pause(turn),
                8 => UserAction::Resume(turn),
                9 => UserAction::Restart(turn),
                10 => UserAction::Move(turn, i8::try_from(environment.below(5)).unwrap_or_default() - 4),
                _ => UserAction::Start(JobId(environment.ids.next()), ModelId(environment.ids.next())),
            });
        }
        actions.extend((0..4).map(UserAction::Resume));
        Self {
            name: format!("user-{number}"),
            account: UserId(environment.ids.next()),
            username: if number < 2 {
                "shared".to_owned()
            } else {
                format!("user{number}")
            },
            email: if number > 0 {
                "shared@example.org".to_owned()
            } else {
                format!("user{number}@example.org")
            },
            project: None,
            experiment: None,
            dataset: None,
            jobs: Vec::new(),
            actions,
            next: 0,
        }
    }
}

fn account(user: UserId, username: &str, email: &str) -> NewAccount {
    NewAccount {
        user,
        username: username.to_owned(),
        username_reservation: ReservationKey(format!("username-{username}")),
        email: email.to_owned(),
        email_reservation: ReservationKey(format!("email-{email}")),
        password: PASSWORD.to_owned(),
        first_name: None,
        last_name: None,
        company: Some("Acme".to_owned()),
        division: None,
        department: None,
    }
}

async fn pause(environment: &SimulatedEnvironment) {
    match environment.chance(600) {
        true => environment.tick(TICK).await,
        false => environment.linger(PAUSE).await,
    }
}

/// Lives through the user's wishes, from where it had come to.
pub(super) async fn live(environment: Rc<SimulatedEnvironment>, user: Rc<RefCell<User>>, stale_rights: bool) {
    let name = user.borrow().name.clone();
    let process = Process::start(&environment, &name).with_stale_rights(stale_rights);
    loop {
        let action = {
            let user = user.borrow();
            user.actions.get(user.next).cloned()
        };
        let Some(action) = action else { return };
        pause(&environment).await;
        for _ in 0..TRIES {
            let answer = perform(&process, &user, &action).await;
            process.say(&format!("{action:?}: {answer:?}"));
            if settle(&environment, &user, &action, &answer) {
                break;
            }
            environment.linger(TIMEOUT).await;
        }
        user.borrow_mut().next += 1;
    }
}

/// Whether the wish needs not be asked for again.
fn settle(
    environment: &SimulatedEnvironment,
    user: &RefCell<User>,
    action: &UserAction,
    answer: &Answer,
) -> bool {
    let mut user = user.borrow_mut();
    match (action, answer) {
        // Somebody was faster, or an earlier answer was lost: another account under a name of one's own.
        (UserAction::Register, Answer::Refused(why)) if why.contains("taken") || why.contains("exists") => {
            user.account = UserId(environment.ids.next());
            user.username = format!("own-{}", user.account);
            user.email = format!("{}@example.org", user.account);
            false
        }
        // There is no administrator yet, or the account is not verified or permitted yet.
        (UserAction::Register, Answer::Refused(_))
        | (UserAction::CreateProject(_) | UserAction::NewDataset(_), Answer::Denied(_)) => false,
        _ => *answer != Answer::Unknown,
    }
}

async fn perform(process: &Process, user: &RefCell<User>, action: &UserAction) -> Answer {
    let (id, username, email) = {
        let user = user.borrow();
        (user.account, user.username.clone(), user.email.clone())
    };
    let label = ("A name".to_owned(), String::new());
    match action {
        UserAction::Register => {
            let command = Register {
                account: account(id, &username, &email),
                verification_token: id.0,
                verification_hash: format!("token-{id}"),
                open: true,
            };
            process.run(&Principal::Anonymous, &command).await
        }
        UserAction::Verify => {
            let command = VerifyEmail {
                user: id,
                token_hash: format!("token-{id}"),
            };
            process.run(&Principal::Anonymous, &command).await
        }
        UserAction::Login(_) | UserAction::Refresh(..) | UserAction::Logout(_) => {
            session(process, id, action).await
        }
        UserAction::CreateProject(project) => {
            user.borrow_mut().project.get_or_insert(*project);
            let command = CreateProject {
                project: *project,
                owner: id,
                name: label.0,
                description: label.1,
            };
            process.request(id, &command).await
        }
        UserAction::CreateExperiment(experiment) => {
            let project = {
                let mut user = user.borrow_mut();
                user.experiment = Some(*experiment);
                user.project
            };
            let command = CreateExperiment {
                experiment: *experiment,
                project: project.unwrap_or(ProjectId(Uuid::nil())),
                created_by: id,
                name: label.0,
                description: label.1,
            };
            process.request(id, &command).await
        }
        UserAction::NewDataset(dataset) => {
            user.borrow_mut().dataset = Some(*dataset);
            let command = CreateDataset {
                dataset: *dataset,
                owner: id,
                name: label.0,
                description: label.1,
                visibility: Visibility::Private,
            };
            process.request(id, &command).await
        }
        UserAction::Upload => {
            let dataset = user.borrow().dataset;
            let command = AddDatasetVersion {
                upload: None,
                dataset: dataset.unwrap_or(DatasetId(Uuid::nil())),
                sha256: "bytes".to_owned(),
                bytes: 1_000,
                format: Format::PlainText,
                summary: Summary::default(),
                file_name: "poems.txt".to_owned(),
            };
            process.request(id, &command).await
        }
        UserAction::Reserve(upload) => {
            let dataset = user.borrow().dataset;
            let command = ReserveUpload {
                dataset: dataset.unwrap_or(DatasetId(Uuid::nil())),
                upload: *upload,
                bytes: 1_000,
                sha256: None,
                until: process.ports().clock.now() + RESERVED,
            };
            process.request(id, &command).await
        }
        UserAction::Start(job, model) => start(process, user, *job, *model).await,
        UserAction::Cancel(_)
        | UserAction::Pause(_)
        | UserAction::Resume(_)
        | UserAction::Restart(_)
        | UserAction::Move(..) => control(process, user, action).await,
    }
}

async fn session(process: &Process, user: UserId, action: &UserAction) -> Answer {
    match action {
        UserAction::Login(session) => {
            let command = OpenSession {
                session: *session,
                user,
                proven: PASSWORD.to_owned(),
                rehashed: None,
                refresh_hash: "refresh-0".to_owned(),
                expires_at: OffsetDateTime::UNIX_EPOCH + time::Duration::days(30_000),
                device: None,
            };
            process.run(&Principal::Anonymous, &command).await
        }
        UserAction::Refresh(session, number) => {
            let command = RefreshSession {
                session: *session,
                presented_hash: format!("refresh-{number}"),
                next_hash: format!("refresh-{}", number + 1),
            };
            process.run(&Principal::Anonymous, &command).await
        }
        UserAction::Logout(session) => {
            let command = EndSession {
                session: *session,
                cause: "logout",
            };
            process.request(user, &command).await
        }
        _ => Answer::Done,
    }
}

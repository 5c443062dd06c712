//! The first chapter: an administrator from the set-up token, and an engineer whose address is proven.
//!
//! One rule: each step looks whether it is done before it does it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    client::{CallError, Client},
    credentials::{self, Account, Credentials},
    recipe,
    session::Session,
    show::Show,
};
use crate::system::{SETUP_TOKEN_FILE, outbox};

const SERVER: &str = "{ answer: server { setUp selfRegistration version } }";
const CREATE: &str = "mutation($input: CreateFirstAdministratorInput!) \
     { answer: createFirstAdministrator(input: $input) { position userErrors { path message code } } }";
const REGISTER: &str = "mutation($input: RegisterInput!) \
     { answer: register(input: $input) { position userErrors { path message code } } }";
const VERIFY: &str = "mutation($input: VerifyEmailInput!) \
     { answer: verifyEmail(input: $input) { position userErrors { path message code } } }";
const GRANT: &str = "mutation($input: RoleChangeInput!) \
     { answer: grantRole(input: $input) { position userErrors { path message code } } }";
const USERS: &str = "query($after: String) { answer: users(first: 100, after: $after) \
     { edges { node { id username verified roles { role } } } pageInfo { hasNextPage endCursor } } }";

/// Both people, signed in.
pub(super) struct People {
    /// May read the audit log.
    pub(super) administrator: Session,
    /// Trains.
    pub(super) engineer: Session,
    /// Ids and names of all accounts, to name actors.
    pub(super) names: Vec<(String, String)>,
    /// Where the passwords are.
    pub(super) file: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    set_up: bool,
    self_registration: bool,
    version: String,
}

#[derive(Deserialize)]
struct Role {
    role: String,
}

#[derive(Deserialize)]
struct User {
    id: String,
    username: String,
    verified: bool,
    roles: Vec<Role>,
}

/// Brings both accounts to where the story can begin.
pub(super) async fn ready(client: &Client, data_dir: &Path, show: &Show) -> anyhow::Result<People> {
    let server: Server = client.call(None, SERVER, Value::Null).await?;
    show.line(&format!("  Anneal {} answers.", server.version))?;
    let file = credentials::path(data_dir);
    let credentials = known_or_new(data_dir, &server)?;
    if !server.set_up {
        create_administrator(client, data_dir, &credentials.administrator).await?;
        show.line(&format!(
            "  Administrator {} was created with the set-up token.",
            credentials.administrator.username
        ))?;
    }
    let administrator = sign_in(client, &credentials.administrator, &file).await?;
    let (wanted, open) = (&credentials.engineer, server.self_registration);
    let user = registered(client, &administrator, wanted, open).await?;
    if !user.verified {
        verify(client, data_dir, wanted).await?;
        show.line(&format!(
            "  {} registered and proved its address with the token from the mail.",
            user.username
        ))?;
    }
    grant_role(&administrator, &user, show).await?;
    let engineer = sign_in(client, wanted, &file).await?;
    show.line(&format!(
        "  Signed in as {} and {}.",
        administrator.username(),
        engineer.username()
    ))?;
    let users: Vec<User> = administrator.list(USERS, json!({})).await?;
    let names = users.into_iter().map(|user| (user.id, user.username)).collect();
    Ok(People {
        administrator,
        engineer,
        names,
        file,
    })
}

/// The credentials of an earlier run, or new ones for a system that nobody has set up.
fn known_or_new(data_dir: &Path, server: &Server) -> anyhow::Result<Credentials> {
    match credentials::load(data_dir)? {
        Some(credentials) => Ok(credentials),
        None if server.set_up => bail!(
            "this system has an administrator already, and there is no {}; the demo makes its own accounts, so \
             run it on a fresh folder: anneal up --demo --data <folder> --listen 127.0.0.1:8081",
            credentials::path(data_dir).display()
        ),
        None => credentials::create(data_dir),
    }
}

/// Gives the engineer its role, if it has not got it.
async fn grant_role(administrator: &Session, user: &User, show: &Show) -> anyhow::Result<()> {
    if user.roles.iter().any(|held| held.role == recipe::ROLE) {
        return Ok(());
    }
    let reason = "trains the models of the demonstration";
    let input = json!({ "userId": user.id, "role": recipe::ROLE, "reason": reason });
    let granted = administrator.change::<Value>(GRANT, input).await;
    granted.context("granting the engineer's role")?;
    show.line(&format!(
        "  {} granted it the role {}.",
        administrator.username(),
        recipe::ROLE
    ))?;
    Ok(())
}

/// The engineer's account, which is made if it is not there.
async fn registered(
    client: &Client,
    administrator: &Session,
    wanted: &Account,
    open: bool,
) -> anyhow::Result<User> {
    if let Some(user) = find(administrator, &wanted.username).await? {
        return Ok(user);
    }
    ensure!(
        open,
        "registration is switched off; switch it on for the demo: auth.self_registration = true"
    );
    let input = json!({
        "username": wanted.username, "email": wanted.email, "password": wanted.password,
        "firstName": "Demo", "lastName": "Engineer", "company": "Demonstration Ltd",
    });
    let done = client.change::<Value>(None, REGISTER, input).await;
    done.context("registering the engineer")?;
    let found = find(administrator, &wanted.username).await?;
    found.context("the engineer's account is not readable yet; run the demo again")
}

async fn verify(client: &Client, data_dir: &Path, wanted: &Account) -> anyhow::Result<()> {
    let token = mailed_token(&outbox(data_dir), &wanted.email).await?;
    let done = client
        .change::<Value>(None, VERIFY, json!({ "token": token }))
        .await;
    done.context("verifying the engineer's address")?;
    Ok(())
}

/// How long a mail may take.
const MAIL: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The most that is read of a token or a mail, in bytes.
const LARGEST: u64 = 1 << 20;

async fn create_administrator(client: &Client, data_dir: &Path, account: &Account) -> anyhow::Result<()> {
    let path = data_dir.join(SETUP_TOKEN_FILE);
    let token = small_files::read_text(&path, LARGEST).with_context(|| {
        format!(
            "cannot read the set-up token in {}; give the system's data folder with --data",
            path.display()
        )
    })?;
    let account = json!({
        "username": account.username, "email": account.email, "password": account.password,
        "firstName": "Demo", "lastName": "Administrator",
    });
    let input = json!({ "setupToken": token.trim(), "account": account });
    client
        .change::<Value>(None, CREATE, input)
        .await
        .context("creating the first administrator")?;
    Ok(())
}

async fn sign_in(client: &Client, account: &Account, file: &Path) -> anyhow::Result<Session> {
    let opened = Session::open(client, account).await;
    opened.map_err(|error| match error {
        error if error.is("LOGIN_FAILED") => anyhow::anyhow!(
            "{} cannot log in with the password in {}: the file belongs to another system, or the password was \
             changed; use the right data folder (--data)",
            account.username,
            file.display()
        ),
        error => error.into(),
    })
}

async fn find(administrator: &Session, username: &str) -> Result<Option<User>, CallError> {
    let users: Vec<User> = administrator.list(USERS, json!({})).await?;
    Ok(users.into_iter().find(|user| user.username == username))
}

/// The token in the newest mail to `address`, which comes a moment after the registration.
async fn mailed_token(outbox: &Path, address: &str) -> anyhow::Result<String> {
    let begun = tokio::time::Instant::now();
    loop {
        match verification_token(outbox, address) {
            Err(_) if begun.elapsed() < MAIL => tokio::time::sleep(LOOK_AGAIN).await,
            found => return found,
        }
    }
}

/// The token in the newest mail to `address`: the line that is indented.
fn verification_token(outbox: &Path, address: &str) -> anyhow::Result<String> {
    let missing = || {
        format!(
            "no verification mail to {address} in {}; give the system's data folder with --data",
            outbox.display()
        )
    };
    let mut mails = Vec::new();
    for entry in std::fs::read_dir(outbox).with_context(missing)? {
        mails.push(entry.with_context(missing)?.path());
    }
    // Mails are named by their time.
    mails.sort();
    for path in mails.iter().rev() {
        let mail = small_files::read_text(path, LARGEST)?;
        let token = mail
            .lines()
            .find_map(|line| line.strip_prefix("    ").map(str::trim));
        match token.filter(|token| !token.is_empty()) {
            Some(token) if mail.lines().next() == Some(&format!("To: {address}")) => {
                return Ok(token.to_owned());
            }
            _ => {}
        }
    }
    bail!(missing())
}

#[cfg(test)]
mod tests {
    use super::verification_token;

    #[test]
    fn the_newest_mail_to_the_address_counts() {
        let outbox = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, to: &str, token: &str| {
            let mail =
                format!("To: {to}\nSubject: Verify\n\nWelcome.\n\nYour token:\n\n    {token}\n\nBye.\n");
            std::fs::write(outbox.path().join(name), mail).expect("written");
        };
        write("1.txt", "a@x.example", "old");
        write("2.txt", "a@x.example", "new");
        write("3.txt", "b@x.example", "other");
        assert_eq!(
            verification_token(outbox.path(), "a@x.example").expect("found"),
            "new"
        );
        let error = verification_token(outbox.path(), "c@x.example").expect_err("no such mail");
        assert!(error.to_string().contains("--data"), "{error}");
    }
}

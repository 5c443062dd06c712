//! The people of a fresh installation, made as people make themselves: set-up token, registration, mail, role.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Client, credentials::PASSWORD};

/// How long a mail may take.
const MAIL: Duration = Duration::from_secs(30);

/// The first administrator of the installation at `url` whose data folder is `data`, signed in.
///
/// # Panics
/// With the answer, when there is one already or it is refused.
pub async fn administrator(url: &str, data: &Path) -> Client {
    let token = std::fs::read_to_string(data.join("setup-token")).expect("a set-up token");
    let input = json!({
        "setupToken": token.trim(),
        "account": { "username": "root", "email": "root@example.org", "password": PASSWORD },
    });
    let client = Client::new(url.to_owned());
    let created = client
        .run("mutation($i: CreateFirstAdministratorInput!) { createFirstAdministrator(input: $i) { user { id } userErrors { message } } }", json!({ "i": input }))
        .await;
    assert_eq!(
        created.data("createFirstAdministrator")["userErrors"],
        json!([]),
        "{created:?}"
    );
    client.login("root").await
}

/// Registers a person where `admin` is, verifies the address by the mailed token, grants the role and signs in.
///
/// # Panics
/// When any of it is refused.
pub async fn person(admin: &Client, data: &Path, name: &str, role: &str) -> Client {
    let client = Client::new(admin.url.clone());
    let email = format!("{name}@example.org");
    let registered = client
        .run(
            "mutation($i: RegisterInput!) { register(input: $i) { user { id } userErrors { message } } }",
            json!({ "i": { "username": name, "email": email, "password": PASSWORD, "company": "Example" } }),
        )
        .await;
    let user = registered.data("register")["user"]["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{registered:?}"))
        .to_owned();
    let verified = client
        .run(
            "mutation($t: String!) { verifyEmail(input: { token: $t }) { userErrors { message } } }",
            json!({ "t": mailed_token(data, &email).await }),
        )
        .await;
    assert_eq!(
        verified.data("verifyEmail")["userErrors"],
        json!([]),
        "{verified:?}"
    );
    if role != "guest" {
        let granted = admin
            .run(
                "mutation($i: RoleChangeInput!) { grantRole(input: $i) { userErrors { message } } }",
                json!({ "i": { "userId": user, "role": role, "reason": "test" } }),
            )
            .await;
        assert_eq!(granted.data("grantRole")["userErrors"], json!([]), "{granted:?}");
    }
    let mut client = client.login(name).await;
    client.user_id = user;
    client
}

/// The newest verification token that was mailed to `email`, which is waited for.
///
/// # Panics
/// When none comes.
pub async fn mailed_token(data: &Path, email: &str) -> String {
    let begun = Instant::now();
    loop {
        let mail = mails(data)
            .into_iter()
            .rfind(|text| text.starts_with(&format!("To: {email}\n")));
        let token = mail
            .as_deref()
            .and_then(|text| text.lines().find(|line| line.starts_with("    ")));
        if let Some(token) = token {
            return token.trim().to_owned();
        }
        assert!(begun.elapsed() < MAIL, "no mail to {email}: {:?}", mails(data));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every mail in the outbox of the installation whose data folder is `data`, the oldest first.
///
/// # Panics
/// When one cannot be read.
#[must_use]
pub fn mails(data: &Path) -> Vec<String> {
    let Ok(folder) = std::fs::read_dir(data.join("outbox")) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.expect("a mail").path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    files.sort();
    // One may be removed in between: that of a person who is erased.
    files
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect()
}

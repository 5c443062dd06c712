//! SE-6 and ID-1: what names, addresses and passwords may look like.

use super::{COMMON, FieldProblem, email, password, registration, username};

fn codes<T: std::fmt::Debug>(result: Result<T, Vec<FieldProblem>>) -> Vec<&'static str> {
    result
        .err()
        .unwrap_or_default()
        .into_iter()
        .map(|problem| problem.code)
        .collect()
}

/// SE-6
#[test]
fn good_passwords_are_accepted() {
    let good = [
        "correct horse battery",
        "xK9$mQ2!vL7p",
        "my aunt keeps 7 bees",
        "Grünkohl mit Pinkel",
        "tr0mbone-ladder",
        "ひらがなとカタカナの合言葉",
        "4821-9930-1177-6",
        &"lamp and river ".repeat(17)[..250],
    ];
    for text in good {
        assert_eq!(codes(password("password", text, "ada")), [""; 0], "{text}");
    }
}

/// SE-6
#[test]
fn the_length_counts_characters_from_ten_to_256() {
    assert_eq!(codes(password("p", "xK9mQ2vLp", "ada")), ["TOO_SHORT"]);
    assert_eq!(codes(password("p", "äöüßéèñçøœ", "ada")), [""; 0]);
    let long: String = "river lamp knot ".repeat(16);
    assert_eq!(codes(password("p", &long, "ada")), [""; 0], "{}", long.len());
    assert_eq!(codes(password("p", &format!("{long}x"), "ada")), ["TOO_LONG"]);
    assert_eq!(codes(password("p", &"x".repeat(1 << 20), "ada")), ["TOO_LONG"]);
    assert_eq!(codes(password("p", "", "ada")), ["TOO_SHORT", "TOO_COMMON"]);
}

/// SE-6
#[test]
fn common_passwords_are_refused_however_they_are_dressed_up() {
    let common = [
        "password123",
        "Password123!",
        "P@ssw0rd2024",
        "passwordpassword",
        "drowssap123",
        "  password  1",
        "1234567890",
        "0123456789",
        "9876543210",
        "12345678901234567890",
        "1234512345",
        "1q2w3e4r5t6y",
        "qwertyuiop",
        "QWERTYUIOP",
        "qwertzuiop",
        "azertyuiop",
        "asdfghjkl;1",
        "qwertyuiop123",
        "1qaz2wsx3edc",
        "aaaaaaaaaa",
        "1111111111",
        "abababababab",
        "abcabcabcabc",
        "abcdefghij",
        "zyxwvutsrqp",
        "qwerty123456",
        "iloveyou12",
        "I love you 2",
        "letmein1234",
        "Welcome2024!",
        "administrator",
        "Administrator1",
        "changeme123",
        "sunshine99!",
        "football2023",
        "123456password",
        "dragon123456",
        "Michael1985",
        "p4ssw0rd1!",
        "starwars1977",
        "trustno1trustno1",
        "master-2025",
        "Summer2025!",
        "monkey monkey",
        "princess!!!",
        "superman1234",
    ];
    for text in common {
        assert!(
            codes(password("p", text, "zoe")).contains(&"TOO_COMMON"),
            "{text}"
        );
    }
}

/// SE-6
#[test]
fn a_password_does_not_contain_the_username_in_any_case() {
    for text in ["xx-Ada-9281-quill", "ADA lovelace engine", "lovelace.ada!"] {
        assert_eq!(codes(password("p", text, "Ada")), ["CONTAINS_USERNAME"], "{text}");
    }
    assert_eq!(codes(password("p", "lovelace engine", "")), [""; 0]);
}

#[test]
fn all_problems_are_told_at_once_and_none_shows_the_password() {
    assert_eq!(
        codes(password("p", "admin1", "admin")),
        ["TOO_SHORT", "TOO_COMMON", "CONTAINS_USERNAME"]
    );
    let problems = registration("A b", "no at", "Hunter2").expect_err("all wrong");
    let told: Vec<_> = problems.iter().map(|p| (p.path.as_str(), p.code)).collect();
    assert_eq!(
        told,
        [
            ("username", "INVALID_CHARACTERS"),
            ("email", "INVALID_CHARACTERS"),
            ("email", "INVALID_FORMAT"),
            ("password", "TOO_SHORT"),
            ("password", "TOO_COMMON"),
        ]
    );
    assert!(
        problems
            .iter()
            .all(|p| !p.message.contains("Hunter2") && !p.message.is_empty())
    );
}

/// ID-1
#[test]
fn usernames_are_lower_case_and_of_few_characters() {
    assert_eq!(username("u", "Ada.Love_lace-9"), Ok("ada.love_lace-9".to_owned()));
    assert_eq!(username("u", "abc"), Ok("abc".to_owned()));
    assert_eq!(username("u", &"a".repeat(32)), Ok("a".repeat(32)));
    for (bad, expected) in [
        ("", vec!["TOO_SHORT"]),
        ("ab", vec!["TOO_SHORT"]),
        (&"a".repeat(33), vec!["TOO_LONG"]),
        ("a b c", vec!["INVALID_CHARACTERS"]),
        ("ädä", vec!["INVALID_CHARACTERS"]),
        ("ad\u{430}", vec!["INVALID_CHARACTERS"]),
        ("K\u{212a}el", vec!["INVALID_CHARACTERS"]),
        ("abc\n", vec!["INVALID_CHARACTERS"]),
        ("@", vec!["TOO_SHORT", "INVALID_CHARACTERS"]),
        ("...", vec!["NO_LETTER_OR_DIGIT"]),
        ("---", vec!["NO_LETTER_OR_DIGIT"]),
        ("_", vec!["TOO_SHORT", "NO_LETTER_OR_DIGIT"]),
    ] {
        assert_eq!(codes(username("u", bad)), expected, "{bad:?}");
    }
}

/// ID-1
#[test]
fn email_addresses_are_checked_and_put_in_lower_case() {
    for (good, normalised) in [
        ("Ada@Example.ORG", "ada@example.org"),
        (
            "a+tag.b_c-d'e@mail.example.co.uk",
            "a+tag.b_c-d'e@mail.example.co.uk",
        ),
        ("1@xn--bcher-kva.example", "1@xn--bcher-kva.example"),
    ] {
        assert_eq!(email("e", good), Ok(normalised.to_owned()));
    }
    let label = "a".repeat(63);
    let long = format!("{}@{label}.{label}.{}.org", "a".repeat(64), "a".repeat(57));
    assert_eq!(long.len(), 254);
    assert!(email("e", &long).is_ok());
    assert_eq!(codes(email("e", &long.replace(".org", ".orgs"))), ["TOO_LONG"]);
    for bad in [
        "a",
        "@",
        "a@",
        "@example.org",
        "a@example",
        "a@.org",
        "a@example.",
        "a@-example.org",
        "a@example-.org",
        "a..b@example.org",
        ".a@example.org",
        "a.@example.org",
        "a@b@example.org",
        "a@exa_mple.org",
        "a@[127.0.0.1]",
        "a@127.0.0.1",
        "\"a\"@example.org",
        "a,b@example.org",
        "<a@example.org>",
        &format!("{}@example.org", "a".repeat(65)),
        &format!("a@{}.org", "a".repeat(64)),
    ] {
        assert_eq!(codes(email("e", bad)), ["INVALID_FORMAT"], "{bad}");
    }
    for bad in [
        "a b@example.org",
        "a@example.org\n",
        "a@example.org\r\nBcc: b@example.org",
        "ä@example.org",
        "a\0@example.org",
    ] {
        assert!(codes(email("e", bad)).contains(&"INVALID_CHARACTERS"), "{bad:?}");
    }
    assert_eq!(codes(email("e", "")), ["REQUIRED"]);
}

#[test]
fn the_shipped_list_is_lower_case_sorted_and_large() {
    let lines: Vec<&str> = include_str!("../common_passwords.txt")
        .lines()
        .filter(|l| !l.starts_with('#'))
        .collect();
    assert!(COMMON.len() >= 1_000, "{}", COMMON.len());
    assert_eq!(lines.len(), COMMON.len(), "no entry twice, none empty");
    assert!(
        lines.is_sorted(),
        "sorted, so that two changes of it meet in one place"
    );
    assert!(lines.iter().all(|line| *line == line.to_lowercase().trim()));
}

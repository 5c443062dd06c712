//! Organizations: found or created by company and division (ID-1).

use uuid::Uuid;

use crate::{
    aggregate::{Aggregate, event},
    id::OrganizationId,
};

/// Namespace of organization ids; never changes, because ids are derived in it.
const NAMESPACE: Uuid = Uuid::from_u128(0x8a6f_1f0e_52c4_4f6b_9f0e_3d2b_7c41_a905);

/// A company's division.
#[derive(Clone, Debug, Default)]
pub struct Organization {
    /// Whether it is recorded.
    pub exists: bool,
}

/// Facts about an organization.
#[event(context = "identity", subject = nobody)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrganizationEvent {
    /// Its first user registered.
    #[event(name = "OrganizationCreated")]
    Created {
        /// Its id.
        organization: OrganizationId,
        /// The company, as first written.
        #[plain]
        company: String,
        /// The division, as first written.
        #[plain]
        division: Option<String>,
    },
}

impl Aggregate for Organization {
    const CATEGORY: &'static str = "identity.organization";
    type Event = OrganizationEvent;
    fn evolve(&mut self, _: &OrganizationEvent) {
        self.exists = true;
    }
}

/// The id of the organization of that company and division: the same for every spelling in case and
/// surrounding space, so that two registrations at once meet in one organization.
#[must_use]
pub fn id_of(company: &str, division: Option<&str>) -> OrganizationId {
    let fold = |text: &str| text.trim().to_lowercase();
    let name = format!(
        "{}\u{1f}{}",
        fold(company),
        division.map(fold).unwrap_or_default()
    );
    OrganizationId(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::id_of;

    /// ID-1
    #[test]
    fn spelling_does_not_split_an_organization() {
        assert_eq!(id_of("Acme", Some("Labs")), id_of(" acme ", Some("LABS")));
        assert_ne!(id_of("Acme", Some("Labs")), id_of("Acme", None));
        assert_ne!(id_of("ab", Some("c")), id_of("a", Some("bc")));
    }
}

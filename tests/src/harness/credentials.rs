//! What people log in with in tests.
//!
//! One rule: everybody has the same password, so that a test needs to know no more than a name.

/// Password of everybody in tests.
pub const PASSWORD: &str = "Quartz-lamp under forty maples";

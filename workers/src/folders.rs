//! Where jobs lie on the disk: `<jobs>/<job>/<attempt>/`, a folder of its own for each attempt.
//!
//! One rule: an attempt writes into its own folder only, so that one that should be dead cannot damage
//! what a newer one works with.

mod attempt;
mod listing;
mod tidy;

pub(crate) use attempt::AttemptFolder;
pub(crate) use listing::{remove, saved, step};
pub(crate) use tidy::{jobs, tidy};

#[cfg(test)]
mod tests {
    use domain::{id::JobId, jobs::job::JobState};
    use uuid::Uuid;

    use super::{AttemptFolder, jobs, saved, tidy};

    fn job() -> JobId {
        JobId(Uuid::from_u128(7))
    }

    fn save(attempt: &AttemptFolder, step: u32) {
        std::fs::create_dir_all(attempt.checkpoints().join(format!("step-{step:08}"))).expect("a folder");
    }

    /// JB-3: a cancelled job keeps one usable checkpoint, the newest.
    #[test]
    fn of_a_cancelled_job_the_newest_checkpoint_stays() {
        let room = tempfile::tempdir().expect("a folder");
        let attempts = [2, 10].map(|number| AttemptFolder::new(room.path(), job(), number));
        attempts
            .iter()
            .for_each(|attempt| attempt.create().expect("created"));
        save(&attempts[0], 5);
        save(&attempts[1], 6);
        save(&attempts[1], 12);
        tidy(room.path(), job(), JobState::Cancelled, 10).expect("tidied");
        assert_eq!(
            saved(&attempts[0].checkpoints()),
            Vec::<std::path::PathBuf>::new()
        );
        assert_eq!(
            saved(&attempts[1].checkpoints()),
            [attempts[1].checkpoints().join("step-00000012")]
        );
        assert!(!attempts[1].inputs().exists());
    }

    /// JB-3: tidying up after a job that is just being restarted leaves the new attempt alone, and that one goes
    /// on from what was saved, unless it begins from scratch.
    #[test]
    fn a_restarted_attempt_is_left_alone_and_looks_down_to_its_floor() {
        let room = tempfile::tempdir().expect("a folder");
        let [first, second] = [1, 2].map(|number| AttemptFolder::new(room.path(), job(), number));
        first.create().expect("created");
        second.create().expect("created");
        save(&first, 5);
        save(&second, 3);
        tidy(room.path(), job(), JobState::Failed, 1).expect("tidied");
        assert!(second.inputs().exists() && !first.inputs().exists());
        assert_eq!(
            saved(&first.checkpoints()).len() + saved(&second.checkpoints()).len(),
            2
        );
        assert_eq!(second.earlier(), [first.checkpoints()]);
        assert_eq!(second.above(1).earlier(), Vec::<std::path::PathBuf>::new());
    }

    #[test]
    fn nothing_stays_of_a_completed_job() {
        let room = tempfile::tempdir().expect("a folder");
        AttemptFolder::new(room.path(), job(), 1)
            .create()
            .expect("created");
        assert_eq!(jobs(room.path()).expect("listed"), [job()]);
        tidy(room.path(), job(), JobState::Completed, 1).expect("tidied");
        assert_eq!(jobs(room.path()).expect("listed"), []);
    }

    #[test]
    fn a_recorded_place_cannot_lead_out_of_the_folder() {
        let attempt = AttemptFolder::new(std::path::Path::new("/jobs"), job(), 3);
        let inside = attempt.checkpoints().join("step-00000001");
        let location = attempt.location(&inside).expect("inside");
        assert_eq!(attempt.at(&location), Some(inside));
        assert_eq!(attempt.at("../etc"), None);
        assert_eq!(attempt.at("/etc"), None);
    }
}

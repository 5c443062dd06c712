//! What owners, workers and the system do about jobs.

use super::*;

impl Scenario {
    pub(super) async fn start_job(&mut self) {
        let experiment = self.random.pick(&self.participants.experiments);
        let dataset = self.random.pick(&self.participants.datasets);
        let (Some((experiment, owner)), Some((dataset, _))) = (experiment, dataset) else {
            return self.experiment().await;
        };
        let shape = Architecture {
            layers: 1,
            heads: 2,
            width: 32,
            context: 32,
            vocabulary: 300,
        };
        let parameters = HyperParameters {
            steps: 100,
            sequence_length: 32,
            ..HyperParameters::default()
        };
        let job = JobId(SystemIds.next());
        let command = StartJob {
            job,
            model: ModelId(SystemIds.next()),
            owner,
            name: format!("job {}", self.participants.jobs.len()),
            experiment,
            dataset: (dataset, None),
            base: None,
            base_shape: None,
            spec: TrainingSpec {
                outputs: Outputs::default(),
                method: Method::Scratch(shape),
                objective: Objective::default(),
                parameters,
            },
            max_attempts: 2,
            requirements: JobRequirements {
                priority: -i8::try_from(self.random.below(3)).expect("small"),
                ..JobRequirements::default()
            },
            longest_run_seconds: None,
            cloned_from: None,
        };
        self.attempt(&self.principal(owner).await, command).await;
        self.participants.jobs.push(job);
    }

    pub(super) async fn lease(&mut self) {
        let Some((id, _)) = self.job().await else { return };
        let worker = WorkerId(SystemIds.next());
        let command = LeaseJob {
            job: id,
            worker,
            worker_name: format!("worker {}", self.random.below(3)),
            capabilities: WorkerCapabilities::default(),
        };
        self.attempt(&Principal::Worker(worker), command).await;
    }

    pub(super) async fn report(&mut self) {
        let Some((id, job)) = self.job().await else { return };
        let step = u32::try_from(self.random.below(100)).expect("small");
        let report = match self.random.below(6) {
            0 | 1 => AttemptReport::Started {
                from_step: step / 2,
                total_steps: 100,
                trained_parameters: 1_000,
            },
            2 | 3 => AttemptReport::Checkpoint(Checkpoint {
                step,
                location: "1/step".to_owned(),
                sha256: "00".repeat(32),
            }),
            4 => AttemptReport::Completed {
                merged: None,
                artifact: "artifact".to_owned(),
                sha256: "11".repeat(32),
                files: Vec::new(),
                metrics: [("loss".to_owned(), "1.5".to_owned())].into(),
                code_version: "test".to_owned(),
                worker: "worker".to_owned(),
            },
            _ => AttemptReport::Failed {
                code: "NO_LUCK".to_owned(),
                message: "it did not work".to_owned(),
            },
        };
        let Some(worker) = job.worker else { return };
        let attempt = job.attempt;
        let command = Report {
            job: id,
            attempt,
            report,
        };
        self.attempt(&Principal::Worker(worker), command).await;
    }

    pub(super) async fn progress(&mut self) {
        let Some((id, job)) = self.job().await else { return };
        let Some(worker) = job.worker else { return };
        let step = u32::try_from(self.random.below(100)).expect("small");
        let point = Point {
            step,
            loss: f64::from(step) / 8.0,
            learning_rate: 0.5,
            gradient_norm: 1.0,
            tokens_per_second: 1_000.0 + f64::from(step),
        };
        let line = LogLine {
            level: "info".to_owned(),
            message: "on it".to_owned(),
        };
        let batch = Batch {
            step,
            total_steps: 100,
            eta_seconds: (step > 20).then_some(100 - step),
            points: (step % 3 > 0).then_some(point).into_iter().collect(),
            log: (step % 2 > 0).then_some(line).into_iter().collect(),
            ..Batch::default()
        };
        let command = ReportProgress {
            job: id,
            attempt: job.attempt,
            id: SystemIds.next(),
            batch,
        };
        self.attempt(&Principal::Worker(worker), command).await;
    }

    pub(super) async fn interrupt(&mut self) {
        let Some((id, job)) = self.job().await else { return };
        let command = InterruptJob {
            job: id,
            attempt: job.attempt,
            cause: "lost".to_owned(),
            counts: self.random.below(2) == 0,
        };
        self.attempt(&Principal::System("reaper"), command).await;
    }

    pub(super) async fn cancel(&mut self) {
        let Some((job, _)) = self.job().await else { return };
        let (_, principal) = self.anybody().await;
        let (reason, priority) = (String::new(), -i8::try_from(self.random.below(4)).expect("small"));
        match self.random.below(8) {
            0 | 1 => self.attempt(&principal, PauseJob { job, reason }).await,
            2 => self.attempt(&principal, ResumeJob { job }).await,
            3 | 4 => {
                let from = match priority {
                    0 => RestartFrom::Scratch,
                    _ => RestartFrom::Checkpoint,
                };
                self.attempt(&principal, RestartJob { job, from }).await;
            }
            5 => {
                self.attempt(&principal, ChangeJobPriority { job, priority })
                    .await;
            }
            _ => self.attempt(&principal, CancelJob { job, reason }).await,
        }
    }
}

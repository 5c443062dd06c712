//! That batches repeat, that epochs are complete, and that packed rows keep samples apart.

use super::*;

fn text(tokens: std::ops::Range<u32>) -> Document {
    Document {
        loss_mask: vec![true; tokens.len()],
        tokens: tokens.collect(),
        splittable: true,
    }
}

/// Tokens `start..start + length`, all but the first learnt.
fn chat(start: u32, length: u32) -> Document {
    Document {
        tokens: (start..start + length).collect(),
        loss_mask: (0..length).map(|place| place > 0).collect(),
        splittable: false,
    }
}

fn hyperparameters(rows: u32) -> HyperParameters {
    HyperParameters {
        sequence_length: 16,
        batch_size: rows,
        gradient_accumulation: 2,
        seed: 1,
        ..HyperParameters::default()
    }
}

fn by_epochs(packing: bool) -> HyperParameters {
    HyperParameters {
        epochs: Some(2.0),
        packing,
        ..hyperparameters(3)
    }
}

#[test]
fn each_target_is_the_token_after_its_place() {
    let batches = Sampler::new(vec![text(0..500)], &hyperparameters(4)).step(2);
    assert_eq!(batches.len(), 2);
    for batch in batches {
        assert_eq!((batch.inputs.len(), batch.target_positions.len()), (64, 64));
        for (place, target) in batch.target_positions.iter().zip(&batch.targets) {
            assert_eq!(batch.inputs[*place as usize] + 1, *target);
        }
    }
}

#[test]
fn batches_repeat_for_a_step_and_differ_between_steps_micro_batches_and_seeds() {
    let sampler =
        |hyperparameters: &HyperParameters| Sampler::new(vec![text(0..500), text(500..900)], hyperparameters);
    for hyperparameters in [hyperparameters(4), by_epochs(false), by_epochs(true)] {
        let mut first = sampler(&hyperparameters);
        let third = first.step(3);
        assert_ne!(third[0], third[1]);
        assert_ne!(first.step(2), third);
        // Asked out of order, and by another, it is the same.
        assert_eq!(first.step(3), third);
        assert_eq!(sampler(&hyperparameters).step(3), third);
        let other = HyperParameters {
            seed: 2,
            ..hyperparameters
        };
        assert_ne!(sampler(&other).step(3), third);
    }
}

/// JB-1: epochs.
#[test]
fn a_pass_sees_every_token_once_and_the_next_one_in_another_order() {
    for packing in [false, true] {
        let documents = vec![
            text(0..100),
            chat(200, 5),
            chat(300, 9),
            chat(400, 30),
            chat(500, 2),
        ];
        let hyperparameters = HyperParameters {
            batch_size: 1,
            gradient_accumulation: 1,
            ..by_epochs(packing)
        };
        let mut sampler = Sampler::new(documents, &hyperparameters);
        let rows = sampler.sequences();
        let epoch = |sampler: &mut Sampler, number: u64| -> Vec<i32> {
            let steps = number * rows..(number + 1) * rows;
            steps
                .flat_map(|step| sampler.step(step))
                .flat_map(|batch| batch.targets)
                .collect()
        };
        let (first, second) = (epoch(&mut sampler, 0), epoch(&mut sampler, 1));
        assert_ne!(first, second);
        // The conversation of 30 is cut at the sequence length.
        let expected: Vec<i32> = (1..100)
            .chain(201..205)
            .chain(301..309)
            .chain(401..417)
            .chain(501..502)
            .collect();
        for mut seen in [first, second] {
            seen.sort_unstable();
            assert_eq!(seen, expected, "packing {packing}");
        }
    }
}

#[test]
fn packed_rows_restart_positions_and_say_where_each_sample_begins() {
    let documents = vec![chat(0, 5), chat(100, 9), chat(200, 4)];
    let mut sampler = Sampler::new(
        documents,
        &HyperParameters {
            batch_size: 1,
            gradient_accumulation: 1,
            ..by_epochs(true)
        },
    );
    assert_eq!(sampler.sequences(), 1, "4 + 8 + 3 tokens fit into one row of 16");
    let batch = sampler.step(0).remove(0);
    let packed = batch.packed.expect("packed");
    assert_eq!(batch.inputs.len(), 15);
    for (place, (position, first)) in packed.positions.iter().zip(&packed.first_visible).enumerate() {
        assert_eq!(*position as usize, place - *first as usize);
        // The tokens of a sample count up from a multiple of 100.
        assert_eq!(batch.inputs[place] as u32 % 100, *position);
    }
    assert_eq!(
        packed.first_visible.iter().filter(|first| **first == 0).count(),
        8,
        "the longest is first"
    );
}

#[test]
fn packing_leaves_little_room() {
    let sizes = [3, 14, 7, 9, 5, 11, 2, 16, 8, 8, 13, 4];
    let documents: Vec<_> = sizes.iter().map(|size| chat(0, size + 1)).collect();
    let sampler = Sampler::new(documents, &by_epochs(true));
    assert_eq!(
        sampler.sequences(),
        u64::from(sizes.iter().sum::<u32>().div_ceil(16))
    );
}

//! Reference models and what PyTorch, transformers and PEFT compute with them, compiled into the program.

use std::path::Path;

use safetensors::SafeTensors;

use crate::{data::batch::Batch, failure::Failure};

/// Files of a folder: name and content.
type Files = &'static [(&'static str, &'static [u8])];

/// A model with an adapter and the tensors that the reference implementation computes.
pub(super) struct Fixture {
    /// The model's family.
    pub(super) name: &'static str,
    files: Files,
    adapter: Files,
    reference: &'static [u8],
}

macro_rules! files {
    ($folder:literal: $($name:literal),*) => {
        &[$(($name, include_bytes!(concat!("../../fixtures/", $folder, "/", $name)))),*]
    };
}

/// Small models of the GPT-2 and Llama families.
pub(super) const FIXTURES: [Fixture; 2] = [
    Fixture {
        name: "GPT-2",
        files: files!("base": "config.json", "tokenizer.json", "model.safetensors"),
        adapter: files!("adapter": "adapter_config.json", "adapter_model.safetensors"),
        reference: include_bytes!("../../fixtures/reference.safetensors"),
    },
    Fixture {
        name: "Llama",
        files: files!("llama/llama": "config.json", "tokenizer.json", "model.safetensors"),
        adapter: files!("llama/llama/adapter": "adapter_config.json", "adapter_model.safetensors"),
        reference: include_bytes!("../../fixtures/llama/llama.safetensors"),
    },
];

impl Fixture {
    /// Writes the model to the folder `base` and the adapter to the folder `adapter`.
    pub(super) fn write(&self, base: &Path, adapter: &Path) -> Result<(), Failure> {
        let failed = |error| Failure::internal("write the fixtures of the self-test", error);
        for (files, folder) in [(self.files, base), (self.adapter, adapter)] {
            std::fs::create_dir_all(folder).map_err(failed)?;
            for (name, content) in files {
                std::fs::write(folder.join(name), content).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The reference tensor `name`.
    pub(super) fn tensor(&self, name: &str) -> Result<Vec<f32>, Failure> {
        Ok(self.words(name)?.into_iter().map(f32::from_le_bytes).collect())
    }

    /// The two sequences of the reference; every token but the first of a sequence is a target.
    pub(super) fn batch(&self) -> Result<Batch, Failure> {
        let ids: Vec<i32> = self.words("ids")?.into_iter().map(i32::from_le_bytes).collect();
        let length = ids.len() / 2;
        let is_input = |position: &usize| !(position + 1).is_multiple_of(length);
        let positions: Vec<usize> = (0..ids.len()).filter(is_input).collect();
        Ok(Batch {
            rows: 2,
            length,
            targets: positions.iter().map(|position| ids[position + 1]).collect(),
            target_positions: positions.into_iter().map(|position| position as i32).collect(),
            inputs: ids,
            packed: None,
        })
    }

    fn words(&self, name: &str) -> Result<Vec<[u8; 4]>, Failure> {
        let failed = |error| Failure::internal("read the references of the self-test", error);
        let file = SafeTensors::deserialize(self.reference).map_err(failed)?;
        let tensor = file.tensor(name).map_err(failed)?;
        let words = tensor.data().chunks_exact(4);
        Ok(words.map(|word| [word[0], word[1], word[2], word[3]]).collect())
    }
}

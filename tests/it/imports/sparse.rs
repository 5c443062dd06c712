//! Models of any size that take no room on the disk: the base of the fixtures with embeddings of zeros.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use serde_json::{Map, Value, json};

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../workers/ml/fixtures/base");
/// Width of the fixture; a number takes four bytes.
const WIDTH: u64 = 32;

/// Makes a GPT-2 with so many rows of the embedding of tokens and of positions, 128 bytes each, in three shards: the rest,
/// positions, tokens.
pub(super) fn model(folder: &Path, vocabulary: u64, context: u64) {
    fs::create_dir_all(folder).expect("a folder");
    for name in ["tokenizer.json", "generation_config.json"] {
        fs::copy(format!("{BASE}/{name}"), folder.join(name)).expect("copied");
    }
    let config = fs::read(format!("{BASE}/config.json")).expect("there");
    let mut config: Value = serde_json::from_slice(&config).expect("JSON");
    config["vocab_size"] = vocabulary.into();
    config["n_positions"] = context.into();
    fs::write(folder.join("config.json"), config.to_string()).expect("written");
    shards(folder, vocabulary, context);
}

fn shards(folder: &Path, vocabulary: u64, context: u64) {
    let whole = fs::read(format!("{BASE}/model.safetensors")).expect("there");
    let (size, rest) = whole.split_at(8);
    let size = usize::try_from(u64::from_le_bytes(size.try_into().expect("eight"))).expect("small");
    let (header, data) = rest.split_at(size);
    let header: Map<String, Value> = serde_json::from_slice(header).expect("JSON");
    let (mut small, mut bytes, mut map) = (Map::new(), Vec::new(), Map::new());
    for (name, about) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let (number, rows) = match name {
            name if name.ends_with("wpe.weight") => (2, context),
            name if name.ends_with("wte.weight") => (3, vocabulary),
            _ => (1, 0),
        };
        map.insert(name.clone(), shard(number).into());
        if number == 1 {
            let at = |end: usize| {
                let offset = about["data_offsets"][end].as_u64().expect("a number");
                usize::try_from(offset).expect("small")
            };
            let from = bytes.len();
            bytes.extend_from_slice(&data[at(0)..at(1)]);
            let mut about = about.clone();
            about["data_offsets"] = json!([from, bytes.len()]);
            small.insert(name.clone(), about);
        } else {
            let length = rows * WIDTH * 4;
            let about =
                json!({ name: { "dtype": "F32", "shape": [rows, WIDTH], "data_offsets": [0, length] } });
            write(&folder.join(shard(number)), &about, &[], length);
        }
    }
    let length = bytes.len() as u64;
    write(&folder.join(shard(1)), &Value::Object(small), &bytes, length);
    let index = json!({ "metadata": {}, "weight_map": map });
    fs::write(folder.join("model.safetensors.index.json"), index.to_string()).expect("written");
}

fn shard(number: u32) -> String {
    format!("model-0000{number}-of-00003.safetensors")
}

/// A file of this header and these bytes, and zeros up to `length` after the header.
fn write(path: &Path, header: &Value, bytes: &[u8], length: u64) {
    let header = header.to_string();
    let mut file = File::create(path).expect("made");
    file.write_all(&(header.len() as u64).to_le_bytes())
        .expect("written");
    file.write_all(header.as_bytes()).expect("written");
    file.write_all(bytes).expect("written");
    file.set_len(8 + header.len() as u64 + length).expect("long");
}

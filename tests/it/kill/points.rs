//! The list of fail points is the list of places in the sources, and the one way to arm them is complete.

use std::collections::BTreeSet;

use anneal::fail_points::POINTS;

/// The names in `fail_point!("…"` of every source outside of the tests.
fn used() -> Vec<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("readable").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let skipped = name.starts_with('.') || name == "target" || path == root.join("tests");
            if path.is_dir() && !skipped {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).expect("readable");
                let places = text.split("fail_point!(").skip(1);
                found.extend(places.filter_map(|rest| {
                    rest.trim_start()
                        .strip_prefix('"')?
                        .split('"')
                        .next()
                        .map(str::to_owned)
                }));
            }
        }
    }
    found
}

#[test]
fn every_place_is_listed_once_and_every_listed_place_is_there() {
    let mut places = used();
    places.sort();
    let mut listed: Vec<String> = POINTS.iter().map(|point| point.name.to_owned()).collect();
    listed.sort();
    assert_eq!(places, listed);
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len());
    assert!(listed.len() >= 25, "{}", listed.len());
}

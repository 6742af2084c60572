//! Random logs: whatever was published, a delta comes to the same as a snapshot.

use super::*;

/// A random number below another, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Of so many of the names, of which the last is one that only a pointer can name.
    fn path(&mut self, names: u64) -> String {
        let depth = self.below(4);
        (0..depth)
            .map(|_| format!("/{}", ["a", "b", "l", "0", ""][self.below(names) as usize]))
            .collect()
    }

    fn value(&mut self) -> Value {
        match self.below(5) {
            0 => json!({}),
            1 => json!([1, {"a": 1}]),
            2 => json!({"a": {"b": self.below(9)}, "l": [self.below(9)]}),
            3 => json!({"b": [[0], 1]}),
            _ => json!({"a": self.below(9)}),
        }
    }

    fn entry(&mut self) -> Value {
        let path = self.path(4);
        match self.below(8) {
            0 => json!({ "dst_path": path, "url": "http://h/x" }),
            1..5 => put(&path, self.value()),
            _ => {
                let operations = (0..=self.below(2)).map(|_| {
                    let op = ["add", "remove", "replace"][self.below(3) as usize];
                    json!({ "op": op, "path": self.path(5), "value": self.value() })
                });
                let operations: Value = operations.collect::<Vec<_>>().into();
                patch(&path, operations)
            }
        }
    }
}

/// What OPA does with a delta's operation; it fails if it cannot.
fn activate(data: &mut Value, operation: &Value) {
    let path = operation["path"].as_str().unwrap().trim_matches('/');
    let path: Vec<&str> = path.split('/').collect();
    let (last, above) = path.split_last().unwrap();
    let makes = operation["op"] == "upsert";
    let mut at = data;
    for segment in above {
        let members = at.as_object_mut().expect("what is above has members");
        at = if makes {
            members.entry(*segment).or_insert_with(|| json!({}))
        } else {
            members.get_mut(*segment).expect("what is above is there")
        };
    }
    let members = at.as_object_mut().expect("what is above has members");
    if makes {
        members.insert((*last).to_owned(), operation["value"].clone());
    } else {
        members.remove(*last).expect("what is removed is there");
    }
}

#[test]
fn a_delta_leads_from_the_old_snapshot_to_the_new_one() {
    let recipe = recipe("data=true");
    let policy = policy(&FILES);
    let (mut deltas, mut snapshots) = (0, 0);
    for seed in 1..=500 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        let count = 2 + dice.below(8);
        let updates: Vec<_> = (1..=count).map(|seq| (seq, dice.entry())).collect();
        let known = dice.below(count) as usize;
        let at = |updates: &[(u64, Value)]| made(&recipe, Some(&policy), log(0, updates));
        let before = at(&updates[..known]);
        let tag = before.tag.clone();
        let data_of = |made: Made<'_>| {
            json_of(&files(made.answer(None, false, None).unwrap()).1, "data.json")
        };
        let mut data = data_of(before);
        let expected = data_of(at(&updates));
        match at(&updates).answer(Some(&tag), true, None).unwrap() {
            Answer::Unchanged(_) => {}
            answer @ Answer::Bundle(..) => {
                let (_, files) = files(answer);
                if !files.contains_key("patch.json") {
                    snapshots += 1;
                    continue;
                }
                deltas += 1;
                let patch = json_of(&files, "patch.json");
                let operations = patch["data"].as_array().unwrap();
                assert!(!operations.is_empty());
                operations.iter().for_each(|operation| activate(&mut data, operation));
            }
        }
        assert_eq!(data, expected, "seed {seed}: {updates:?} after {known}");
    }
    assert!(deltas > 150 && snapshots > 15, "{deltas} deltas, {snapshots} snapshots");
}

use std::fs;
use std::path::PathBuf;

use super::{pixels, Curve, Metrics, Sight};

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("pylm-metrics-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn of(name: &str, text: &str) -> Metrics {
    let path = folder(name).join("metrics.jsonl");
    fs::write(&path, text).unwrap();
    Metrics::open(&path, true).unwrap()
}

#[test]
fn keys_are_columns_and_a_torn_line_is_left_out() {
    let text = "{\"step\": 1, \"loss\": 2.5, \"phase\": {\"data\": 0.5}, \"clock\": [[1, 2]], \"text\": \"a\\\"b\"}\n\
                {\"step\": 2, \"loss\": null, \"phase\": {}}\n{\"step\": 2, \"val\\u005floss\": -1e-3}\n{\"step\": 3, \"lo";
    let mut read = of("keys", text);
    assert_eq!((read.lines(), read.keys()), (3, vec!["step", "loss", "phase.data", "val_loss"]));
    let loss = read.curve("loss", "step", false);
    assert_eq!((loss.x, loss.y[0], loss.y[1].is_nan()), (vec![1.0, 2.0], 2.5, true));
    assert_eq!(read.curve("val_loss", "step", false), Curve { x: vec![2.0], y: vec![-1e-3] });
    assert_eq!(read.curve("nothing", "step", false), Curve::default());
}

#[test]
fn what_is_no_record_is_named_by_its_line() {
    for line in
        ["", "7", "[1]", "{\"step\": 1.5}", "{\"step\": \"1\"}", "{\"step\": 1,}", "{\"a\": 1.2.3}", "{\"a\": 1}}"]
    {
        let path = folder("bad").join("metrics.jsonl");
        fs::write(&path, format!("{{\"step\": 1}}\n{line}\n{{\"step\": 2}}\n")).unwrap();
        let error = Metrics::open(&path, true).err().unwrap_or_else(|| panic!("{line} was read"));
        assert!(error.message.ends_with("metrics.jsonl: line 2 is no record"), "{}", error.message);
    }
}

#[test]
fn lines_that_were_taken_back_are_apart() {
    let steps = [1, 2, 3, 4, 3, 4, 5, 2, 3];
    let line = |at: usize| format!("{{\"step\": {}, \"loss\": {at}}}\n", steps[at]);
    let mut read = of("back", &(0..steps.len()).map(line).collect::<String>());
    assert_eq!(read.cuts(), [3.0, 2.0]);
    assert_eq!(read.curve("loss", "step", false), Curve { x: vec![1.0, 2.0, 3.0], y: vec![0.0, 7.0, 8.0] });
    assert_eq!(read.curve("loss", "step", true).y, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn a_file_that_grows_or_is_cut_is_followed() {
    let path = folder("grows").join("metrics.jsonl");
    fs::write(&path, "").unwrap();
    let mut read = Metrics::open(&path, true).unwrap();
    for (text, fresh, lines) in [("{\"step\": 1}\n{\"st", true, 1), ("{\"step\": 1}\n{\"step\": 2}\n", true, 2)] {
        fs::write(&path, text).unwrap();
        assert_eq!((read.refresh().unwrap(), read.lines()), (fresh, lines));
    }
    assert!(!read.refresh().unwrap());
    fs::write(&path, "{\"step\": 7}\n").unwrap();
    assert!(read.refresh().unwrap());
    assert_eq!(read.curve("step", "step", false).x, [7.0]);
}

#[test]
fn an_index_says_what_the_lines_say_until_they_change() {
    let path = folder("index").join("metrics.jsonl");
    let line =
        |at: usize| format!("{{\"step\": {at}, \"loss\": {}, \"exact\": {}}}\n", 0.5 * at as f64, 0.1 * at as f64);
    let text: String = (0..120_000).map(line).collect();
    fs::write(&path, &text).unwrap();
    let index = path.with_extension("idx");
    let _ = fs::remove_file(&index);
    let first = |path| Metrics::open(path, true).unwrap().curve("exact", "step", false);
    let read = first(&path);
    assert!(index.exists() && read.y[3].to_bits() == (0.1f64 * 3.0).to_bits());
    assert_eq!(first(&path), read);
    // what was added since is read from the lines
    fs::write(&path, format!("{text}{}", line(120_000))).unwrap();
    assert_eq!(first(&path).y.len(), 120_001);
    // lines that were taken back, and others in their place
    let cut: String = (0..119_000).map(line).chain((0..1200).map(|at| line(119_000 + 2 * at))).collect();
    fs::write(&path, &cut).unwrap();
    assert_eq!(*first(&path).x.last().unwrap() as u64, 119_000 + 2398);
    // every byte of an index may be damaged: never another number, never a panic
    let sound = fs::read(&index).unwrap();
    let whole = first(&path);
    for at in (0..sound.len()).step_by(sound.len() / 50).chain([0, 8, 9, 15, 17, 40]) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x5a;
        fs::write(&index, &damaged).unwrap();
        assert!(first(&path) == whole, "byte {at}");
        fs::write(&index, &sound[..at]).unwrap();
        assert!(first(&path) == whole, "cut at {at}");
    }
}

#[test]
fn a_column_of_pixels_keeps_its_ends_and_extremes() {
    let y = [3.0, 9.0, 1.0, 2.0, f64::NAN, 4.0, f64::NAN, 5.0];
    let x: Vec<f64> = (0..8).map(f64::from).collect();
    assert_eq!(pixels(&x, &y, 1, 0.0, 7.0), [0, 1, 2, 4, 6, 7]);
    assert_eq!(pixels(&x, &y, 4, 0.0, 3.0), [0, 1, 2, 3]);
    assert_eq!(pixels(&x, &y, 1, 5.0, 5.0), [5]);
    assert_eq!(pixels(&[], &[], 3, 0.0, 1.0), [0usize; 0]);
}

#[test]
fn smoothing_has_no_bias_at_its_start_and_passes_over_gaps() {
    let lines = [(1, "2"), (2, "2"), (3, "null"), (4, "4")].map(|(x, y)| format!("{{\"step\": {x}, \"loss\": {y}}}\n"));
    let sight = Sight { columns: 4, smooth: 0.5, ..Sight::default() };
    let y = of("smooth", &lines.concat()).drawn("loss", "step", false, sight).y;
    assert_eq!(y[..2], [2.0, 2.0]);
    assert!(y[2].is_nan() && (y[3] - (0.5 * 4.0 + 0.25 * 2.0 + 0.125 * 2.0) / 0.875).abs() < 1e-12);
}

#[test]
fn places_between_points_lie_on_the_line() {
    let curve = Curve { x: vec![0.0, 10.0, 20.0], y: vec![1.0, f64::NAN, 3.0] };
    let values = [0.0, 5.0, 20.0].map(|place| curve.at(place));
    assert_eq!(values[..], [1.0, 1.5, 3.0]);
    assert!(curve.at(21.0).is_nan() && curve.at(-1.0).is_nan());
    let lines = [(0, "1"), (10, "null"), (20, "3")].map(|(x, y)| format!("{{\"step\": {x}, \"loss\": {y}}}\n"));
    assert_eq!(of("sums", &lines.concat()).sums("loss", "step", 2, 0.0, 20.0), [1.0, 3.0]);
}

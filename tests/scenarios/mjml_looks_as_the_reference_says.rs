//! What our pages look like, as the reference renderer of MJML (npm `mjml` 5.4.1) has it: the same
//! words, links, images and sizes, column widths, alignments, colours, paddings and font sizes, in
//! the same order, and the widths that Outlook alone reads. `tests/foreign/mjml_features.cjs` puts
//! the same questions to both.
//!
//! Ours are the pages kept in `tests/foreign/mjml`, which a test of `shared/content` renders anew.
//! Not compared, since they differ: white space, digits after the point, the order of declarations
//! in a style, and web fonts, which ours never has.

use std::process::Command;

use parcours_tests::{foreign, foreign_scripts};

#[test]
fn every_template_of_the_corpus_looks_the_same() {
    let name = "every_template_of_the_corpus_looks_the_same";
    let Some(package) = foreign("node/node_modules/mjml/package.json", name) else { return };
    let modules = package.ancestors().nth(2).unwrap();
    let corpus = foreign_scripts().join("mjml");
    let output = Command::new("node")
        .arg(foreign_scripts().join("mjml_features.cjs"))
        .args([&corpus, &corpus])
        .env("NODE_PATH", modules)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let answers = answers.as_object().unwrap();
    assert!(answers.len() >= 12, "{} templates", answers.len());
    for (template, differences) in answers {
        assert_eq!(differences, &serde_json::json!({}), "{template}");
    }
    println!("{} templates look as the reference renders them", answers.len());
}

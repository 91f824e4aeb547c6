//! Test items that stand in documents: n-grams of evaluation files, looked up in every text.

//! tiktoken's ranks files: a line a token, its bytes in base64 and its rank, which is its id.

use std::collections::HashMap;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;

use crate::bpe::alphabet;
use crate::bpe::model::pair_ranks::{PairRanksBuilder, LIMIT};
use crate::bpe::vocab::{AddedTokens, Vocab};
use crate::error::{Error, Result};
use crate::pattern::Pattern;

impl Vocab {
    /// Reads ranks. They say which tokens there are, not which pairs make them: tiktoken joins two parts whenever
    /// their bytes together are a token, the lowest rank first, and takes a pre-token that is a token whole.
    pub fn from_ranks(file: &[u8], pattern: Pattern, specials: Vec<(String, u32)>) -> Result<Self> {
        let mut tokens: Vec<Vec<u8>> = Vec::new();
        for (number, line) in (1..).zip(file.split(|&byte| byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let (token, rank) = parse(line).ok_or_else(|| {
                Error::tokenizer(format!("line {number} of the ranks is not a token in base64, a space and a rank"))
                    .hint("a ranks file looks like `IHRoZQ== 262`; a tokenizer.json or a .model is read by its name")
            })?;
            if tokens.len() <= rank {
                tokens.resize(rank + 1, Vec::new());
            }
            if !tokens[rank].is_empty() {
                return Err(Error::tokenizer(format!("line {number} of the ranks gives rank {rank} a second time")));
            }
            tokens[rank] = token;
        }
        let (merges, results) = merges_of_ranks(&tokens)?;
        Self::from_parts(tokens, merges, results, AddedTokens { specials, ..AddedTokens::default() }, pattern, true)
    }

    /// Ranks that tiktoken loads and agrees with; special tokens and pattern are given to it apart.
    pub fn to_ranks(&self) -> Result<Vec<u8>> {
        let refuse = |why: &str| {
            Err(Error::tokenizer(format!("this tokenizer cannot be written as ranks: {why}"))
                .hint("keep tokenizer.json, which says all of it"))
        };
        if !self.results.windows(2).all(|pair| pair[0] < pair[1]) {
            return refuse("its ids do not follow the order of its merges");
        }
        if !self.model.regular {
            return refuse("some of its tokens are made in more ways than one, or in none");
        }
        let made = 256 + self.merges.len();
        if !self.whole_first && self.ordinary().count() != made {
            return refuse("some of its tokens are never used, and tiktoken would use them");
        }
        let mut out = Vec::new();
        for (id, token) in self.ordinary() {
            out.extend_from_slice(STANDARD.encode(token).as_bytes());
            out.extend_from_slice(format!(" {id}\n").as_bytes());
        }
        Ok(out)
    }
}

fn parse(line: &[u8]) -> Option<(Vec<u8>, usize)> {
    let space = line.iter().position(|&byte| byte == b' ')?;
    let token = STANDARD.decode(&line[..space]).ok().filter(|token| !token.is_empty())?;
    let rank = std::str::from_utf8(&line[space + 1..]).ok()?.parse().ok()?;
    (rank <= LIMIT).then_some((token, rank))
}

type Merges = (Vec<(u32, u32)>, Vec<u32>);

/// The one merge that makes each token, in the order of ranks.
///
/// One is enough: whatever surrounds a token's bytes, the merges inside them come in the same order as for these bytes
/// alone, so the last two parts are always the same. A token that its own bytes do not lead to gets none.
fn merges_of_ranks(tokens: &[Vec<u8>]) -> Result<Merges> {
    let mut ranks: HashMap<&[u8], u32> = HashMap::with_capacity(tokens.len());
    for (rank, token) in (0_u32..).zip(tokens).filter(|(_, token)| !token.is_empty()) {
        if let Some(first) = ranks.insert(token, rank) {
            let name = alphabet::to_printable(token);
            return Err(Error::tokenizer(format!("ranks {first} and {rank} are the same token, {name}")));
        }
    }
    let (mut merges, mut results) = (Vec::new(), Vec::new());
    let mut known = PairRanksBuilder::with_capacity(tokens.len());
    let mut parts: Vec<u32> = Vec::new();
    for (rank, token) in (0_u32..).zip(tokens).filter(|(_, token)| token.len() > 1) {
        let byte = |byte: &u8| ranks.get([*byte].as_slice()).copied();
        let Some(bytes) = token.iter().map(byte).collect::<Option<Vec<u32>>>() else {
            continue; // the compiler of the vocabulary names the byte that is missing
        };
        parts.clone_from(&bytes);
        join_known(&known, &mut parts);
        if parts.len() > 2 {
            // a part of higher rank may be needed on the way: join by bytes, as tiktoken does
            parts = join_all(&ranks, token, rank);
        }
        if let [left, right] = parts[..] {
            known.insert(left, right, rank);
            merges.push((left, right));
            results.push(rank);
        }
    }
    Ok((merges, results))
}

/// Joins by the merges of lower ranks, which is all that most tokens need, until two parts are left.
fn join_known(known: &PairRanksBuilder, parts: &mut Vec<u32>) {
    while parts.len() > 2 {
        let pairs = parts.windows(2).enumerate();
        let Some((rank, at)) = pairs.filter_map(|(at, pair)| known.get(pair[0], pair[1]).map(|rank| (rank, at))).min()
        else {
            return;
        };
        parts[at] = rank;
        parts.remove(at + 1);
    }
}

/// Joins by bytes until nothing joins or what joins is the whole token.
fn join_all(ranks: &HashMap<&[u8], u32>, token: &[u8], whole: u32) -> Vec<u32> {
    let mut cuts: Vec<usize> = (0..=token.len()).collect();
    while cuts.len() > 3 {
        let pairs = cuts.windows(3).enumerate();
        let Some((_, at)) =
            pairs.filter_map(|(at, cut)| ranks.get(&token[cut[0]..cut[2]]).map(|&rank| (rank, at))).min()
        else {
            break;
        };
        cuts.remove(at + 1);
    }
    debug_assert!(ranks[token] == whole);
    cuts.windows(2).map(|cut| ranks[&token[cut[0]..cut[1]]]).collect()
}

//! Reads one Rust file: its tokens without comments and strings, its functions, and the paths it names.
//!
//! A text pass and no parser: good enough for code that rustfmt has formatted and rustc has accepted. What a macro makes is not seen.

use std::collections::HashMap;
use std::ops::Range;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Ident(String),
    Punct(char),
}

/// One file of the tree.
#[derive(Debug)]
pub struct Source {
    /// From the tree's root: `src/bus/plan.rs`.
    pub path: String,
    pub lines: usize,
    tokens: Vec<(Token, usize)>,
    /// Ranges of `tokens` that stand under `#[cfg(test)]`.
    tests: Vec<Range<usize>>,
}

#[derive(Debug)]
pub struct Function {
    pub name: String,
    /// Where `fn` stands.
    pub line: usize,
    /// From that line to the closing brace, both counted.
    pub lines: usize,
}

/// A path that the code names, by `use` or in place, with names that `use` made resolved and `self` and `super` taken away.
#[derive(Debug)]
pub struct PathUse {
    pub segments: Vec<String>,
    pub line: usize,
    /// Stands under `#[cfg(test)]`.
    pub in_test: bool,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let tokens = lex(text);
        let tests = test_ranges(&tokens);
        Self { path: path.to_owned(), lines: text.lines().count(), tokens, tests }
    }

    /// The path of the file's module: `src/bus/plan.rs` is `[bus, plan]`, `src/lib.rs` is `[]`.
    pub fn module(&self) -> Vec<String> {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path).trim_end_matches(".rs");
        let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        module
    }

    /// Modules `mod x;` under `#[cfg(test)]`, as full paths.
    pub fn test_modules(&self) -> Vec<Vec<String>> {
        let declared = (0..self.tokens.len()).filter(|&i| self.in_test(i) && self.ident(i) == Some("mod") && self.punct(i + 2, ';'));
        declared
            .filter_map(|i| {
                let mut module = self.module();
                module.push(self.ident(i + 1)?.to_owned());
                Some(module)
            })
            .collect()
    }

    pub fn functions(&self) -> Vec<Function> {
        (0..self.tokens.len()).filter_map(|i| self.function(i)).collect()
    }

    fn function(&self, at: usize) -> Option<Function> {
        if self.ident(at) != Some("fn") {
            return None;
        }
        let name = self.ident(at + 1)?.to_owned();
        let body = self.body(at)?;
        let line = self.tokens[at].1;
        Some(Function { name, line, lines: self.tokens[body.end - 1].1 - line + 1 })
    }

    /// The next `{ … }` after `at` that no bracket encloses; none if a `;` comes first.
    fn body(&self, at: usize) -> Option<Range<usize>> {
        let start = skip_to(&self.tokens, at, |c| c == '{' || c == ';')?;
        (self.tokens[start].0 == Token::Punct('{')).then(|| start..matching(&self.tokens, start))
    }

    /// Every path of two segments or more, each `use` leaf and each path in place.
    pub fn paths(&self) -> Vec<PathUse> {
        let mut found = Vec::new();
        let mut names = HashMap::new();
        let mut modules = Modules::new(self.module());
        let mut i = 0;
        let mut inline = Vec::new();
        while i < self.tokens.len() {
            modules.step(self, i);
            if self.ident(i) == Some("use") && !self.punct(i + 1, '<') {
                let end = skip_to(&self.tokens, i, |c| c == ';').unwrap_or(self.tokens.len());
                for leaf in use_leaves(&self.tokens[i + 1..end]) {
                    let segments = modules.absolute(&leaf.segments);
                    names.insert(leaf.local, segments.clone());
                    found.push(PathUse { segments, line: leaf.line, in_test: self.in_test(i) });
                }
                // The braces of a group close again, so the module's depth is not touched by it.
                i = end;
            } else if let Some((segments, next)) = self.inline_path(i) {
                inline.push((modules.absolute(&segments), segments[0].clone(), i));
                i = next;
            } else {
                i += 1;
            }
        }
        for (mut segments, first, at) in inline {
            if let Some(full) = names.get(&first)
                && segments[0] == first
            {
                segments.splice(0..1, full.iter().cloned());
            }
            found.push(PathUse { segments, line: self.tokens[at].1, in_test: self.in_test(at) });
        }
        found
    }

    /// `a::b::c` that begins at `at`, and the token behind it.
    fn inline_path(&self, at: usize) -> Option<(Vec<String>, usize)> {
        let continues = |i: usize| i >= 2 && self.punct(i - 1, ':') && self.punct(i - 2, ':');
        if continues(at) && at >= 3 && (self.ident(at - 3).is_some() || self.punct(at - 3, '>')) {
            return None;
        }
        let mut segments = vec![self.ident(at)?.to_owned()];
        let mut i = at + 1;
        while self.punct(i, ':') && self.punct(i + 1, ':') {
            let Some(next) = self.ident(i + 2) else { break };
            segments.push(next.to_owned());
            i += 3;
        }
        (segments.len() > 1).then_some((segments, i))
    }

    fn in_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    fn ident(&self, at: usize) -> Option<&str> {
        match self.tokens.get(at) {
            Some((Token::Ident(name), _)) => Some(name),
            _ => None,
        }
    }

    fn punct(&self, at: usize, c: char) -> bool {
        matches!(self.tokens.get(at), Some((Token::Punct(p), _)) if *p == c)
    }
}

/// The module that a token stands in: the file's own, and `mod x { … }` around it.
struct Modules {
    path: Vec<String>,
    /// The depth of braces outside of each inline module.
    inline: Vec<usize>,
    depth: usize,
}

impl Modules {
    fn new(path: Vec<String>) -> Self {
        Self { path, inline: Vec::new(), depth: 0 }
    }

    fn step(&mut self, source: &Source, at: usize) {
        if source.punct(at, '{') {
            if at >= 2 && source.ident(at - 2) == Some("mod") {
                self.path.extend(source.ident(at - 1).map(str::to_owned));
                self.inline.push(self.depth);
            }
            self.depth += 1;
        } else if source.punct(at, '}') {
            self.depth = self.depth.saturating_sub(1);
            if self.inline.last() == Some(&self.depth) {
                self.inline.pop();
                self.path.pop();
            }
        }
    }

    /// `crate::…` for what begins with `crate`, `tidegate`, `self` or `super`; anything else as it is.
    fn absolute(&self, segments: &[String]) -> Vec<String> {
        let mut base = match segments[0].as_str() {
            "crate" | "tidegate" => Vec::new(),
            "self" | "super" => self.path.clone(),
            _ => return segments.to_vec(),
        };
        let mut rest = segments;
        while let Some((first, tail)) = rest.split_first()
            && matches!(first.as_str(), "crate" | "tidegate" | "self" | "super")
        {
            if first == "super" {
                base.pop();
            }
            rest = tail;
        }
        std::iter::once("crate".to_owned()).chain(base).chain(rest.iter().cloned()).collect()
    }
}

struct Leaf {
    segments: Vec<String>,
    /// The name that it has in this file.
    local: String,
    line: usize,
}

/// The leaves of a `use` tree: `a::{b, c as d, e::*}` are `a::b`, `a::c`, `a::e::*`.
fn use_leaves(tokens: &[(Token, usize)]) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    let mut prefix: Vec<String> = Vec::new();
    // The length of the prefix outside of each open group.
    let mut groups = vec![0];
    let mut renamed = None;
    let mut i = 0;
    let mut finish = |prefix: &mut Vec<String>, outer: usize, renamed: &mut Option<String>, line: usize| {
        if prefix.len() > outer {
            let mut segments = prefix.clone();
            segments.pop_if(|last| last == "self");
            let local = renamed.take().or_else(|| segments.last().cloned()).unwrap_or_default();
            leaves.push(Leaf { segments, local, line });
            prefix.truncate(outer);
        }
    };
    while let Some((token, line)) = tokens.get(i) {
        let outer = *groups.last().unwrap_or(&0);
        match token {
            Token::Ident(name) if name == "as" => {
                if let Some((Token::Ident(new), _)) = tokens.get(i + 1) {
                    renamed = Some(new.clone());
                }
                i += 1;
            }
            Token::Ident(name) => prefix.push(name.clone()),
            Token::Punct('*') => prefix.push("*".to_owned()),
            Token::Punct('{') => groups.push(prefix.len()),
            Token::Punct(',') => finish(&mut prefix, outer, &mut renamed, *line),
            Token::Punct('}') => {
                finish(&mut prefix, outer, &mut renamed, *line);
                groups.pop();
                // The group itself is no leaf: what stands before it goes with it.
                prefix.truncate(*groups.last().unwrap_or(&0));
            }
            Token::Punct(_) => {}
        }
        i += 1;
    }
    let line = tokens.last().map_or(0, |(_, line)| *line);
    finish(&mut prefix, 0, &mut renamed, line);
    leaves
}

/// What stands under `#[cfg(test)]`: from the attribute to the end of the item behind it.
fn test_ranges(tokens: &[(Token, usize)]) -> Vec<Range<usize>> {
    let is = |i: usize, word: &str| matches!(tokens.get(i), Some((Token::Ident(name), _)) if name == word);
    let mut ranges = Vec::new();
    for start in 0..tokens.len() {
        let attribute = tokens[start].0 == Token::Punct('#') && is(start + 2, "cfg");
        if !attribute {
            continue;
        }
        let close = matching(tokens, start + 1);
        let named = (start..close).any(|i| is(i, "test")) && !(start..close).any(|i| is(i, "not") || is(i, "any"));
        if named && let Some(at) = skip_to(tokens, close, |c| c == '{' || c == ';') {
            ranges.push(start..matching(tokens, at));
        }
    }
    ranges
}

/// The first token from `at` on that `wanted` accepts and that no bracket encloses. A brace is tried before it is skipped.
fn skip_to(tokens: &[(Token, usize)], at: usize, wanted: impl Fn(char) -> bool) -> Option<usize> {
    let mut i = at;
    while let Some((token, _)) = tokens.get(i) {
        match token {
            Token::Punct(c) if wanted(*c) => return Some(i),
            Token::Punct('(' | '[' | '{') => i = matching(tokens, i),
            _ => i += 1,
        }
    }
    None
}

/// The index behind the bracket that closes the one at `open`; behind `open` itself if it is none.
fn matching(tokens: &[(Token, usize)], open: usize) -> usize {
    let mut depth = 0_usize;
    for (i, (token, _)) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Punct('(' | '[' | '{') => depth += 1,
            Token::Punct(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// The tokens of `text` with their lines, from 1. Comments and literals are left out.
fn lex(text: &str) -> Vec<(Token, usize)> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut i = 0;
    while let Some(&c) = chars.get(i) {
        let start = i;
        if c.is_alphabetic() || c == '_' {
            i = word_end(&chars, i);
            match string_end(&chars, start, i) {
                Some(end) => i = end,
                None => tokens.push((Token::Ident(chars[start..i].iter().collect()), line)),
            }
        } else {
            i = match (c, chars.get(i + 1)) {
                ('/', Some('/')) => chars[i..].iter().position(|&c| c == '\n').map_or(chars.len(), |n| i + n),
                ('/', Some('*')) => comment_end(&chars, i),
                ('"', _) => quoted_end(&chars, i + 1, '"'),
                ('\'', _) => char_end(&chars, i),
                _ if c.is_ascii_digit() => word_end(&chars, i),
                _ => {
                    if !c.is_whitespace() {
                        tokens.push((Token::Punct(c), line));
                    }
                    i + 1
                }
            };
        }
        line += chars[start..i.min(chars.len())].iter().filter(|&&c| c == '\n').count();
    }
    tokens
}

fn word_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| !c.is_alphanumeric() && *c != '_').map_or(chars.len(), |n| at + n)
}

/// The end of `b"…"`, `c"…"`, `b'…'`, `r"…"`, `r#"…"#` and so on, if the word `start..end` is such a prefix.
fn string_end(chars: &[char], start: usize, end: usize) -> Option<usize> {
    let prefix: String = chars[start..end].iter().collect();
    let hashes = chars[end..].iter().take_while(|&&c| c == '#').count();
    match (prefix.as_str(), chars.get(end + hashes)?) {
        ("b" | "c", '"') if hashes == 0 => Some(quoted_end(chars, end + 1, '"')),
        ("b", '\'') if hashes == 0 => Some(quoted_end(chars, end + 1, '\'')),
        ("r" | "br" | "cr", '"') => {
            let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let body = end + hashes + 1;
            Some(chars[body..].windows(close.len()).position(|w| w == close).map_or(chars.len(), |n| body + n + close.len()))
        }
        _ => None,
    }
}

/// Behind the quote that ends a literal whose body begins at `at`.
fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut i = at;
    while let Some(&c) = chars.get(i) {
        match c {
            '\\' => i += 2,
            _ if c == quote => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// A character's literal, or the apostrophe of a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted_end(chars, at + 1, '\''),
        _ => at + 1,
    }
}

fn comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = at;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

//! Option parsing as Kafka's tools do it (joptsimple): `--name value`, `--name=value`, unambiguous abbreviations, options that
//! repeat. A table per tool gives names, arguments and what is not implemented here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Whether an option takes an argument; the text is what the help calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    None,
    Required(&'static str),
    Optional(&'static str),
}

/// One option of a tool.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    pub name: &'static str,
    pub argument: Argument,
    pub help: &'static str,
    /// Kafka has it, this tool refuses it by name.
    pub refused: Option<&'static str>,
}

pub const fn flag(name: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name, argument: Argument::None, help, refused: None }
}

pub const fn with(name: &'static str, argument: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name, argument: Argument::Required(argument), help, refused: None }
}

pub const fn maybe(name: &'static str, argument: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name, argument: Argument::Optional(argument), help, refused: None }
}

/// An option of Kafka's that has no meaning here or is not implemented; `why` ends the sentence "--name: ...".
pub const fn refused(name: &'static str, argument: Argument, why: &'static str) -> OptionSpec {
    OptionSpec { name, argument, help: "Not implemented.", refused: Some(why) }
}

/// Options every tool has.
pub const COMMON: [OptionSpec; 2] = [flag("help", "Print usage information."), flag("version", "Display the version.")];

const OPTION_COLUMN: usize = 41;
const HELP_COLUMN: usize = 60;

/// What was given.
#[derive(Debug, Default)]
pub struct Parsed {
    given: BTreeMap<&'static str, Vec<Option<String>>>,
    pub empty: bool,
}

/// Parses arguments by a tool's table.
///
/// # Errors
/// joptsimple's sentence for unknown options and missing arguments, or that an option is not implemented.
pub fn parse(specs: &[OptionSpec], args: &[String]) -> Result<Parsed, String> {
    let mut parsed = Parsed { given: BTreeMap::new(), empty: args.is_empty() };
    let mut rest = args.iter().peekable();
    while let Some(arg) = rest.next() {
        let Some(body) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')).filter(|b| !b.is_empty()) else {
            return Err(format!("{arg} is not an option: every argument of this tool starts with --"));
        };
        let (name, attached) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let spec = find(specs, name)?;
        if let Some(why) = spec.refused {
            return Err(format!("--{}: {why}", spec.name));
        }
        let value = match spec.argument {
            Argument::None if attached.is_some() => return Err(format!("Option {} does not allow an argument", spec.name)),
            Argument::None => None,
            Argument::Required(_) => {
                Some(attached.or_else(|| rest.next().cloned()).ok_or_else(|| format!("Option {} requires an argument", spec.name))?)
            }
            Argument::Optional(_) => attached.or_else(|| rest.next_if(|next| !next.starts_with('-')).cloned()),
        };
        parsed.given.entry(spec.name).or_default().push(value);
    }
    Ok(parsed)
}

fn find<'a>(specs: &'a [OptionSpec], name: &str) -> Result<&'a OptionSpec, String> {
    let all = || specs.iter().chain(&COMMON);
    if let Some(exact) = all().find(|s| s.name == name) {
        return Ok(exact);
    }
    let mut matching = all().filter(|s| s.name.starts_with(name));
    match (matching.next(), matching.next()) {
        (Some(only), None) => Ok(only),
        (Some(one), Some(other)) => Err(format!("{name} is not a recognized option: it could be {} or {}", one.name, other.name)),
        (None, _) => Err(format!("{name} is not a recognized option")),
    }
}

impl Parsed {
    pub fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The value of an option that may be given once.
    pub fn value(&self, name: &str) -> Result<Option<&str>, String> {
        match self.given.get(name).map(Vec::as_slice) {
            None => Ok(None),
            Some([one]) => Ok(one.as_deref()),
            Some(_) => Err(format!("Found multiple arguments for option {name}, but you asked for only one")),
        }
    }

    /// All values of an option that may repeat.
    pub fn values(&self, name: &str) -> Vec<String> {
        self.given.get(name).into_iter().flatten().flatten().cloned().collect()
    }

    /// A number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        match self.value(name)? {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| format!("Cannot parse argument '{text}' of option {name}")),
        }
    }

    /// Fails with Kafka's sentence when an option is missing.
    pub fn require(&self, names: &[&str]) -> Result<(), String> {
        match names.iter().find(|n| !self.has(n)) {
            Some(missing) => Err(format!("Missing required argument \"[{missing}]\"")),
            None => Ok(()),
        }
    }

    /// Fails with Kafka's sentence when `used` is given together with one of `excluded`.
    pub fn exclude(&self, used: &str, excluded: &[&str]) -> Result<(), String> {
        if self.has(used)
            && let Some(other) = excluded.iter().find(|e| self.has(e))
        {
            return Err(format!("Option \"[{used}]\" can't be used with option \"[{other}]\""));
        }
        Ok(())
    }
}

/// The table a person reads: option, argument, meaning. Refused options are left out.
pub fn usage(specs: &[OptionSpec]) -> String {
    let mut sorted: Vec<&OptionSpec> = specs.iter().chain(&COMMON).filter(|s| s.refused.is_none()).collect();
    sorted.sort_by_key(|s| s.name);
    let mut out = format!("{:<OPTION_COLUMN$}Description\n{:<OPTION_COLUMN$}-----------\n", "Option", "------");
    for spec in sorted {
        let option = match spec.argument {
            Argument::None => format!("--{}", spec.name),
            Argument::Required(argument) => format!("--{} <{argument}>", spec.name),
            Argument::Optional(argument) => format!("--{} [{argument}]", spec.name),
        };
        let mut lines = wrap(spec.help, HELP_COLUMN).into_iter();
        let first = lines.next().unwrap_or_default();
        if option.len() < OPTION_COLUMN {
            let _ = writeln!(out, "{option:<OPTION_COLUMN$}{first}");
        } else {
            let _ = writeln!(out, "{option}\n{:OPTION_COLUMN$}{first}", "");
        }
        for line in lines {
            let _ = writeln!(out, "{:OPTION_COLUMN$}{line}", "");
        }
    }
    out
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let current = lines.last_mut().expect("never empty");
        if !current.is_empty() && current.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: [OptionSpec; 5] = [
        with("topic", "topic", "The topic."),
        flag("topics-with-overrides", "x"),
        maybe("state", "state", "x"),
        with("partitions", "n", "x"),
        refused("line-reader", Argument::Required("class"), "Java classes cannot be loaded"),
    ];

    fn parsed(args: &[&str]) -> Result<Parsed, String> {
        parse(&SPECS, &args.iter().map(|a| a.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn values_attached_and_separate_abbreviated_and_repeated() {
        let p = parsed(&["--topic=a=b", "--topic", "c", "--part", "3", "--state", "--topics"]).unwrap();
        assert_eq!(p.values("topic"), ["a=b", "c"]);
        assert_eq!(p.number::<i32>("partitions"), Ok(Some(3)));
        assert!(p.has("state") && p.has("topics-with-overrides"));
        assert_eq!(p.value("state"), Ok(None));
        assert_eq!(parsed(&["--state", "stable"]).unwrap().value("state"), Ok(Some("stable")));
    }

    #[test]
    fn sentences_are_those_of_kafkas_tools() {
        let error = |args: &[&str]| parsed(args).unwrap_err();
        assert_eq!(error(&["--bogus"]), "bogus is not a recognized option");
        assert_eq!(error(&["--topic"]), "Option topic requires an argument");
        assert_eq!(error(&["--line-reader", "x"]), "--line-reader: Java classes cannot be loaded");
        assert_eq!(
            parsed(&["--partitions", "abc"]).unwrap().number::<i32>("partitions").unwrap_err(),
            "Cannot parse argument 'abc' of option partitions"
        );
        assert_eq!(
            parsed(&["--topic", "x", "--topic", "y"]).unwrap().value("topic").unwrap_err(),
            "Found multiple arguments for option topic, but you asked for only one"
        );
        assert_eq!(parsed(&[]).unwrap().require(&["topic"]).unwrap_err(), "Missing required argument \"[topic]\"");
    }

    #[test]
    fn usage_lists_what_works() {
        let text = usage(&SPECS);
        assert!(text.contains("--topic <topic>                          The topic."), "{text}");
        assert!(text.contains("--help") && !text.contains("line-reader"));
    }
}
